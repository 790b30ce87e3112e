"""From events to frames: noise filter, down-sampling and 1 ms counts, as in the original.

A recording is a list of events (t, x, y, p). The pipeline of the original:

1. `denoise`: an event is dropped unless one of the 4 side neighbours of its pixel was active in the last 100 ms;
2. `downsample`: x and y times 0.25, truncated (DVS128 Gesture and CIFAR10-DVS; not N-MNIST);
3. `to_frames`: counts per polarity and pixel in windows of 1 ms from the first event on; the incomplete tail is
   dropped.

Counts are neither clipped nor normalised. Frames are almost empty (N-MNIST: 0.6 % of the cells), so they are
stored as a list of the non-empty cells, `SparseFrames`, 8 bytes per cell, and made dense batch by batch.

Source: the transforms Denoise, Downsample and ToFrame of tonic, with which the original reads its data; the arrays of
`unit_events.npz` were recorded with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from reprokit import UserError
from torch import Tensor

from dalton.checks import whole

DENOISE_US = 100_000
WINDOW_US = 1_000

Events = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # t (us), x, y, p of one recording


@dataclass(frozen=True)
class FrameOptions:
    """How recordings become frames.

    Args:
        denoise_us: Time for which an event lets its neighbours pass, microseconds; None keeps all events.
        spatial_factor: Factor of x and y before truncation; in (0, 1].
        window_us: Duration of a frame, microseconds.
        tail: Whether the last, incomplete frame is kept; the original drops it.

    Raises:
        UserError: A value outside its range.
    """

    denoise_us: int | None = DENOISE_US
    spatial_factor: float = 1.0
    window_us: int = WINDOW_US
    tail: bool = False

    def __post_init__(self) -> None:
        if self.denoise_us is not None and (whole(self.denoise_us) or 0) < 1:
            raise UserError(
                f"denoise_us is {self.denoise_us}; give microseconds from 1 on, or None for no filter"
            )
        if not 0 < self.spatial_factor <= 1:
            raise UserError(f"spatial_factor is {self.spatial_factor}; it must be above 0 and at most 1")
        if (whole(self.window_us) or 0) < 1:
            raise UserError(f"window_us is {self.window_us}; a frame lasts at least 1 microsecond")

    def frame_shape(self, sensor: tuple[int, int]) -> tuple[int, int, int]:
        """Return (2, height, width) of the frames of a sensor (height, width)."""
        height, width = (int((side - 1) * self.spatial_factor) + 1 for side in sensor)
        return 2, height, width


@dataclass(frozen=True)
class SparseFrames:
    """The cells of a recording's frames that hold events.

    Args:
        frame: int32 (cell,), ascending.
        place: int32 (cell,), (polarity x height + row) x width + column, ascending within a frame.
        count: uint16 (cell,), events of that frame, polarity and pixel; from 1.
        frames: Number of frames, empty ones included; at least 1.
        shape: (2, height, width).
    """

    frame: np.ndarray
    place: np.ndarray
    count: np.ndarray
    frames: int
    shape: tuple[int, int, int]

    def dense(self) -> np.ndarray:
        """Return all frames as int16 (frame, polarity, height, width), as the original stores them."""
        full = np.zeros((self.frames, int(np.prod(self.shape))), np.int16)
        full[self.frame, self.place] = self.count
        return full.reshape(self.frames, *self.shape)


def check_events(events: Events, sensor: tuple[int, int], where: str = "the recording") -> None:
    """Check that a recording can be processed.

    Args:
        events: t (us), x, y, p.
        sensor: (height, width).
        where: Name of the recording for messages.

    Raises:
        UserError: No events, columns of different length, an address outside the sensor, a polarity other than
            0 and 1, or a time that is negative or runs backwards.
    """
    t, x, y, p = events
    if not len(t):
        raise UserError(f"{where}: the recording is empty; remove it or get it again")
    if not len(t) == len(x) == len(y) == len(p):
        raise UserError(f"{where}: has {len(t)} times, {len(x)} x, {len(y)} y and {len(p)} polarities")
    height, width = sensor
    for name, column, end in (("x", x, width), ("y", y, height), ("polarity", p, 2)):
        if column.min() < 0 or column.max() >= end:
            index = int(np.argmax((column < 0) | (column >= end)))
            place = "outside the sensor" if name != "polarity" else "unknown"
            raise UserError(
                f"{where}: event {index} has {name} {column[index]}, {place}; allowed: 0 to {end - 1}"
            )
    if t[0] < 0:
        raise UserError(f"{where}: event 0 is at {t[0]} us; times must not be negative")
    backwards = np.flatnonzero(t[1:] < t[:-1])
    if backwards.size:
        index = int(backwards[0]) + 1
        raise UserError(
            f"{where}: event {index} at {t[index]} us comes after one at {t[index - 1]} us; sort the events by time"
        )


def denoise(events: Events, filter_us: int = DENOISE_US) -> np.ndarray:
    """Tell which events are kept by the neighbourhood filter.

    The original scans the events in order. A memory M per pixel starts at `filter_us`; event i at pixel q and time
    t_i first sets M[q] = t_i + filter_us and is kept iff one of the 4 side neighbours n of q has M[n] > t_i. The array
    is as large as the largest x and y of the recording, so a neighbour beyond them does not exist. While
    t_i < filter_us every event with a neighbour inside the array passes, because M starts at `filter_us`.

    Times ascend, so only the *latest* event of any neighbour matters, and it can be found without a scan. Each
    event is entered once as a query at its own pixel and four times as a mark at its neighbours; after a stable
    sort by pixel, each query is preceded by the latest mark made before it.

    Args:
        events: t (us, ascending), x, y, p of one recording, not negative.
        filter_us: Filter time in microseconds.

    Returns:
        bool (event,), True for the kept ones.

    Source: tonic's `denoise_numpy`, in O(events) instead of a loop over events.
    """
    t, x, y, _ = events
    if not len(t):
        return np.zeros(0, bool)
    rows, columns = int(y.max()) + 1, int(x.max()) + 1
    if rows == columns == 1:
        return np.zeros(len(t), bool)  # the only pixel has no neighbours
    keep = t < filter_us
    width = columns + 2  # a border of one pixel receives the marks that fall outside
    pixel = ((y.astype(np.int32) + 1) * width + x + 1).astype(_unsigned((rows + 2) * width))
    entries = np.stack([pixel - width, pixel - 1, pixel, pixel + 1, pixel + width], axis=1).reshape(-1)
    order = np.argsort(entries, kind="stable").astype(np.int32, copy=False)
    event, kind = np.divmod(order, 5)
    position = np.arange(len(order), dtype=np.int32)
    mark = np.maximum.accumulate(np.where(kind != 2, position, -1))
    question = np.flatnonzero((kind == 2) & ~keep[event])
    before = mark[question]
    asked, marked = event[question], event[before]
    answered = (before >= 0) & (entries[order[before]] == pixel[asked]) & (t[asked] < t[marked] + filter_us)
    keep[asked[answered]] = True
    return keep


def downsample(x: np.ndarray, y: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y times `factor`, truncated to integers; no event is dropped."""
    return (x * factor).astype(x.dtype), (y * factor).astype(y.dtype)


def to_frames(
    events: Events, shape: tuple[int, int, int], window_us: int = WINDOW_US, *, tail: bool = False
) -> SparseFrames:
    """Count events in consecutive windows [t_0 + i w, t_0 + (i + 1) w), t_0 the first event, w the window.

    There are F = max(1, floor((t_last - t_0) / w)) frames; later events are dropped, or kept in one more frame
    with `tail`. A recording without events gives one empty frame.

    Args:
        events: t (us, ascending), x, y, p.
        shape: (2, height, width); x, y and p must lie within.
        window_us: Duration of a frame in microseconds.
        tail: Whether the last, incomplete frame is kept.

    Source: tonic's ToFrame with `time_window`.
    """
    t, x, y, p = events
    cells = int(np.prod(shape))
    if not len(t):
        nothing = np.zeros(0, np.int32)
        return SparseFrames(nothing, nothing, np.zeros(0, np.uint16), 1, shape)
    frames = int(t[-1] - t[0]) // window_us + 1 if tail else max(1, int(t[-1] - t[0]) // window_us)
    last = int(np.searchsorted(t, t[0] + frames * window_us))
    frame = (t[:last] - t[0]) // window_us
    place = (p[:last].astype(np.int64) * shape[1] + y[:last]) * shape[2] + x[:last]
    key, count = np.unique(frame * cells + place, return_counts=True)
    frame, place = np.divmod(key, cells)
    if count.max(initial=0) > np.iinfo(np.uint16).max:
        raise UserError(
            f"a frame holds {count.max()} events of one pixel, at most 65535 can be counted; shorten window_us"
        )
    return SparseFrames(
        frame.astype(np.int32), place.astype(np.int32), count.astype(np.uint16), frames, shape
    )


def frames_of(
    events: Events,
    sensor: tuple[int, int],
    options: FrameOptions | None = None,
    where: str = "the recording",
) -> SparseFrames:
    """Run a recording through the whole pipeline.

    Args:
        events: t (us, ascending), x (column), y (row), p (0 or 1), integers.
        sensor: (height, width) of the sensor.
        options: The steps; the original's N-MNIST values when None.
        where: Name of the recording for messages.

    Raises:
        UserError: The recording is empty, unordered or outside the sensor.
    """
    options = options or FrameOptions()
    check_events(events, sensor, where)
    if options.denoise_us is not None:
        kept = denoise(events, options.denoise_us)
        events = tuple(column[kept] for column in events)  # pyright: ignore[reportAssignmentType]
    t, x, y, p = events
    if options.spatial_factor != 1:
        x, y = downsample(x, y, options.spatial_factor)
    return to_frames((t, x, y, p), options.frame_shape(sensor), options.window_us, tail=options.tail)


def collate(samples: list[np.ndarray]) -> np.ndarray:
    """Pad frames with empty ones to the longest sample.

    Args:
        samples: (frame, polarity, height, width) each, of different length.

    Returns:
        float32 (sample, frame, polarity, height, width): sample first, as the original's loader returns it.
    """
    longest = max(len(sample) for sample in samples)
    batch = np.zeros((len(samples), longest, *samples[0].shape[1:]), np.float32)
    for row, sample in zip(batch, samples, strict=True):
        row[: len(sample)] = sample
    return batch


def _unsigned(values: int) -> type[np.unsignedinteger]:
    """Return the smallest integer type for numbers below `values`; NumPy sorts 16-bit numbers in linear time."""
    return np.uint16 if values <= 1 << 16 else np.uint32


@dataclass(frozen=True)
class FrameSet:
    """Sparse frames of many recordings, concatenated; recording i owns cells ``offsets[i]:offsets[i + 1]``.

    Args:
        frame: int32 (cell,), frame number within the recording, ascending.
        place: int32 (cell,), place within (polarity, height, width).
        count: uint16 (cell,), events.
        offsets: int64 (recording + 1,).
        frames: int32 (recording,), number of frames of each.
        labels: int64 (recording,).
        shape: (2, height, width).
        largest: Largest count.
    """

    frame: np.ndarray
    place: np.ndarray
    count: np.ndarray
    offsets: np.ndarray
    frames: np.ndarray
    labels: np.ndarray
    shape: tuple[int, int, int]
    largest: int

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> SparseFrames:
        """Return the frames of one recording."""
        own = slice(self.offsets[index], self.offsets[index + 1])
        return SparseFrames(
            self.frame[own], self.place[own], self.count[own], int(self.frames[index]), self.shape
        )

    def dense(
        self, index: np.ndarray, start: np.ndarray, steps: int, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Return `steps` frames of some recordings, each from its own start, padded with empty frames.

        Args:
            index: int64 (batch,), the recordings.
            start: int64 (batch,), the first frame of each.
            steps: Number of frames.
            device: Device of the frames; only the cells are copied to it.

        Returns:
            (time, batch, polarity, height, width), uint8, or int32 where a count of the data set exceeds 255.
        """
        cells, batch = int(np.prod(self.shape)), len(index)
        where, counts = [], []
        for row, (recording, first) in enumerate(zip(index.tolist(), start.tolist(), strict=True)):
            low, high = self.offsets[recording : recording + 2].tolist()
            frame = self.frame[low:high]
            low, high = low + np.searchsorted(frame, (first, first + steps))
            time = self.frame[low:high].astype(np.int64) - first
            where.append((time * batch + row) * cells + self.place[low:high])
            counts.append(self.count[low:high])
        dtype = torch.uint8 if self.largest <= 255 else torch.int32
        full = torch.zeros(steps * batch * cells, dtype=dtype, device=device)
        place = torch.from_numpy(np.concatenate(where)).to(device)
        full[place] = torch.from_numpy(np.concatenate(counts).astype(np.int32)).to(device, dtype)
        return full.view(steps, batch, *self.shape)


@dataclass(frozen=True)
class FrameSplits:
    """The frames of a data set.

    Args:
        train: Training recordings.
        test: Test recordings.
        name: The data set really used.
        class_names: One name per class.
        content: Hash of the data's content.
        given: Events of each part before filter and frames; empty if not recorded.
        notes: The notes of `dalton.data.recordings` on own recordings, as plain values.
    """

    train: FrameSet
    test: FrameSet
    name: str
    class_names: tuple[str, ...]
    content: str = ""
    given: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str | Sequence[str | int]] = ()
