"""Sources of the input events of presentations: firing probabilities or ready event lists.

Both engines read the same sources and draw the same events from the same seed. Event times of a channel come
from uniform numbers of a counter-based generator (Philox4x32-10) keyed by (seed, sample, channel), so they do
not depend on batch size, order or thread count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from reprokit import UserError

from nalsm.checks import numbers, whole


@dataclass(frozen=True)
class Rates:
    """Bernoulli rate code: channel c emits an event in each millisecond with probability p[c].

    Attributes:
        probability: float64 (sample, input), values in [0, 1].
        sample: int64 (sample), the number that keys the random stream of each sample.
        seed: key of all streams.
    """

    probability: np.ndarray
    sample: np.ndarray
    seed: int = 0

    def __post_init__(self) -> None:
        """Check shapes, types and ranges."""
        object.__setattr__(self, "probability", numbers("probability", self.probability, 2))
        object.__setattr__(self, "sample", numbers("sample", self.sample, 1, whole=True))
        object.__setattr__(self, "seed", whole("seed", self.seed, 0))
        p = self.probability
        if p.ndim != 2 or self.sample.shape != (len(p),):
            raise UserError(
                f"probability has shape {p.shape} and sample {self.sample.shape}; give (sample, input) and (sample,)."
            )
        if p.size and not (np.isfinite(p).all() and p.min() >= 0.0 and p.max() <= 1.0):
            raise UserError("probability holds values outside [0, 1] or not finite; rescale the input.")
        if self.seed >= 2**64:
            raise UserError(f"seed is {self.seed}; it must lie in [0, 2**64).")

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.probability)

    @property
    def inputs(self) -> int:
        """Number of input channels."""
        return self.probability.shape[1]

    def __getitem__(self, index: np.ndarray | slice) -> Rates:
        """Return the chosen samples; each keeps its random stream.

        Raises:
            UserError: if index is a single number.
        """
        _check_index(index)
        return Rates(self.probability[index], self.sample[index], self.seed)

    def events(self, duration: int) -> Events:
        """Draw the events of `duration` milliseconds, as the compiled engine draws them.

        Raises:
            UserError: if duration is not a whole number of 1 or more.
        """
        duration = whole("duration", duration, 1, unit=" ms")
        lists = [
            _draw(self.probability[k], duration, self.seed, int(self.sample[k])) for k in range(len(self))
        ]
        return Events.from_lists(lists, self.inputs, duration)


@dataclass(frozen=True)
class Events:
    """Ready event lists.

    Attributes:
        first: int64 (sample, duration + 1); events of sample k in millisecond t are first[k, t]:first[k, t + 1].
        channels: int32 (event), input channel; a channel that occurs twice in a millisecond counts twice.
        inputs: number of input channels.
    """

    first: np.ndarray
    channels: np.ndarray
    inputs: int

    def __post_init__(self) -> None:
        """Check shapes, types, order and ranges."""
        object.__setattr__(self, "first", numbers("first", self.first, 2, whole=True))
        object.__setattr__(self, "channels", numbers("channels", self.channels, 1, whole=True))
        object.__setattr__(self, "inputs", whole("inputs", self.inputs, 1))
        f = self.first
        if f.ndim != 2 or f.shape[1] < 2 or (f.size and (np.diff(f, axis=1) < 0).any()):
            raise UserError("first must be (sample, duration + 1) and must not decrease along time.")
        if f.size and (f.min() < 0 or f.max() > len(self.channels)):
            raise UserError(f"first points outside the {len(self.channels)} events.")
        if len(self.channels) and not (self.channels.min() >= 0 and self.channels.max() < self.inputs):
            raise UserError(
                f"channels range from {self.channels.min()} to {self.channels.max()}; allowed is "
                f"0 to {self.inputs - 1}."
            )

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.first)

    def __getitem__(self, index: np.ndarray | slice) -> Events:
        """Return the chosen samples (the event array is shared).

        Raises:
            UserError: if index is a single number.
        """
        _check_index(index)
        return Events(np.ascontiguousarray(self.first[index]), self.channels, self.inputs)

    def events(self, duration: int) -> Events:
        """Return the first `duration` milliseconds.

        Raises:
            UserError: if the recordings are shorter, or duration is not a whole number of 1 or more.
        """
        duration = whole("duration", duration, 1, unit=" ms")
        if duration > self.first.shape[1] - 1:
            raise UserError(f"events span {self.first.shape[1] - 1} ms; {duration} ms were asked for.")
        return Events(np.ascontiguousarray(self.first[:, : duration + 1]), self.channels, self.inputs)

    def at(self, t: int) -> np.ndarray:
        """Return the number of events of each channel in millisecond `t`, float32 (sample, input)."""
        counts = np.zeros((len(self), self.inputs), np.float32)
        for k in range(len(self)):
            np.add.at(counts[k], self.channels[self.first[k, t] : self.first[k, t + 1]], 1.0)
        return counts

    def window(self, start: np.ndarray, duration: int) -> Events:
        """Return a window of `duration` ms per sample, from `start` (sample), int."""
        span = start[:, None] + np.arange(duration + 1)[None, :]
        if span.size and (span.min() < 0 or span.max() > self.first.shape[1] - 1):
            raise UserError(
                f"windows of {duration} ms exceed the {self.first.shape[1] - 1} ms of the recordings."
            )
        return Events(np.take_along_axis(self.first, span, axis=1), self.channels, self.inputs)

    @classmethod
    def from_lists(cls, lists: list[tuple[np.ndarray, np.ndarray]], inputs: int, duration: int) -> Events:
        """Build from one (millisecond, channel) pair of integer arrays a sample, in any order.

        Raises:
            UserError: if a time is outside [0, duration), or times and channels are not whole numbers; the
                message names the sample.
        """
        duration = whole("duration", duration, 1, unit=" ms")
        first = np.zeros((len(lists), duration + 1), np.int64)
        parts = []
        offset = 0
        for k, (times, channels) in enumerate(lists):
            time = numbers(f"sample {k}: times", times, 1, whole=True).astype(np.int64)
            channel = numbers(f"sample {k}: channels", channels, 1, whole=True).astype(np.int64)
            if len(time) != len(channel):
                raise UserError(
                    f"sample {k}: {len(time)} times and {len(channel)} channels; give one of each an event."
                )
            if len(time) and (time.min() < 0 or time.max() >= duration):
                raise UserError(
                    f"sample {k}: event times range from {time.min()} to {time.max()} ms; "
                    f"allowed is 0 to {duration - 1}."
                )
            order = np.lexsort((channel, time))
            parts.append(channel[order].astype(np.int32))
            first[k] = offset + np.concatenate([[0], np.cumsum(np.bincount(time, minlength=duration))])
            offset += len(time)
        events = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        return cls(first, events, inputs)

    @classmethod
    def from_raster(cls, raster: np.ndarray) -> Events:
        """Build from event counts (sample, input, millisecond).

        Raises:
            UserError: if they are not whole numbers of 0 or more, or have other axes.
        """
        raster = numbers("raster", raster, 3)
        if raster.size and not (np.isfinite(raster).all() and raster.min() >= 0 and (raster % 1 == 0).all()):
            raise UserError("raster holds values that are not whole numbers of 0 or more; it counts events.")
        raster = raster.astype(np.int64) if raster.dtype.kind == "f" else raster
        count, inputs, duration = raster.shape
        lists = []
        for k in range(count):
            time, channel = np.nonzero(raster[k].T)
            repeat = raster[k].T[time, channel].astype(np.int64)
            lists.append((np.repeat(time, repeat), np.repeat(channel, repeat)))
        return cls.from_lists(lists, inputs, duration)


def _check_index(index: object) -> None:
    if np.ndim(index) == 0 and not isinstance(index, slice):  # pyright: ignore[reportArgumentType]
        raise UserError(
            f"index is {index!r}; choose samples by a slice or an array; for a single one, [k : k + 1]."
        )


def philox(counter: np.ndarray, key: int) -> np.ndarray:
    """Philox4x32-10: uint32 (..., 4) counters to uint32 (..., 4) random words (Salmon et al. 2011)."""
    c0, c1, c2, c3 = (counter[..., k].astype(np.uint64) for k in range(4))
    k0, k1 = key & 0xFFFFFFFF, (key >> 32) & 0xFFFFFFFF
    mask = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        a = np.uint64(0xD2511F53) * c0
        b = np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (b >> np.uint64(32)) ^ c1 ^ np.uint64(k0),
            b & mask,
            (a >> np.uint64(32)) ^ c3 ^ np.uint64(k1),
            a & mask,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def _draw(probability: np.ndarray, duration: int, seed: int, sample: int) -> tuple[np.ndarray, np.ndarray]:
    """Waiting times are geometric: gap = floor(ln u / ln(1 - p)), u uniform in (0, 1]."""
    channel = np.nonzero(probability > 0)[0]
    p = probability[channel]
    with np.errstate(divide="ignore"):
        scale = np.where(p < 1.0, 1.0 / np.log1p(-np.minimum(p, 1.0 - 1e-300)), 0.0)
        scale[p >= 1.0] = 0.0
    times, channels = [], []
    time = np.full(len(channel), -1.0)
    block = 0
    alive = np.arange(len(channel))
    while len(alive):
        counter = np.zeros((len(alive), 4), np.uint32)
        counter[:, 0], counter[:, 1] = block, channel[alive]
        counter[:, 2], counter[:, 3] = sample & 0xFFFFFFFF, (sample >> 32) & 0xFFFFFFFF
        uniform = (philox(counter, seed).astype(np.float64) + 1.0) * 2.0**-32
        for word in range(4):
            time[alive] += 1.0 + np.floor(np.log(uniform[:, word]) * scale[alive])
            inside = time[alive] < duration
            times.append(time[alive][inside].astype(np.int64))
            channels.append(channel[alive][inside])
        alive = alive[time[alive] < duration]
        block += 1
    return (
        np.concatenate(times) if times else np.zeros(0, np.int64),
        np.concatenate(channels) if channels else np.zeros(0, np.int64),
    )
