"""Data sets as sources of input events, split into train, validation and test.

For MNIST, Fashion-MNIST and the whole N-MNIST (whose files carry MNIST's numbers), the first 50,000 training
samples are for training and the last 10,000 for validation, as in the paper. For other sets, a sixth of the
training set, chosen by seed, is for validation; own data keep the share of each class (`data/own.py`).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from reprokit import EventSet, EventSplits, ImageSplits, UserError, load_events, load_images
from reprokit.data.clock import Start, window_lines, with_clock
from reprokit.run.identity import DataIdentity

from nalsm.data import own
from nalsm.data.encoding import (
    InputScale,
    image_scale,
    noisy_images,
    rate_probabilities,
    recordings_to_events,
)
from nalsm.data.recordings import holds_events, load_event_arrays
from nalsm.data.sources import Events, Rates
from nalsm.names import DATA, EVENT_SETS, IMAGE_SETS, SPLITS, Split, is_own

STREAM = {"train": 0, "validation": 1 << 40, "test": 2 << 40}  # so that keys of random streams never collide


class Dataset(Protocol):
    """What the pipeline needs from a data set."""

    @property
    def name(self) -> str:
        """The name of the data really used."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes."""
        ...

    @property
    def inputs(self) -> int:
        """Number of input channels."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user about the data: what was kept, what is odd; one line each."""
        ...

    @property
    def identity(self) -> DataIdentity | None:
        """Digest of the whole set, and the number of samples used of each split."""
        ...

    @property
    def usual_noise(self) -> float:
        """Default deviation of the kernel-quality noise."""
        ...

    def labels(self, split: Split) -> np.ndarray:
        """Return int64 (sample,)."""
        ...

    def some(self, split: Split, count: int) -> np.ndarray:
        """Return the samples that represent a split if up to `count` are recorded, int64."""
        ...

    def source(self, split: Split, index: np.ndarray, seed: int, *, noise: float = 0.0) -> Rates | Events:
        """Return the input events of samples; `noise` is the deviation of the kernel-quality noise."""
        ...

    def window(self, index: np.ndarray, places: np.ndarray, seed: int, duration: int) -> Rates | Events:
        """Return `duration` milliseconds of training samples `index` for the initialisation phase.

        The randomness of a presentation is keyed by its place in the phase, `places`.
        """
        ...


@dataclass(frozen=True)
class RateImages:
    """Images presented as Bernoulli events with p = min(share of brightness / divisor, 1) times the highest rate.

    Attributes:
        maximum: the divisor of each split.
        highest: probability of an event in a millisecond at shares that reach the divisor.
        top: brightest value that a pixel may have, for the kernel-quality noise.
        own: whether these are your own data, in which images may be blank and classes sorted.
        seed: seed of choices among own data.
    """

    name: str
    classes: int
    images: dict[Split, np.ndarray]
    label: dict[Split, np.ndarray]
    maximum: dict[Split, float]
    highest: float = 1.0
    top: float = 255.0
    own: bool = False
    seed: int = 0
    notes: tuple[str, ...] = ()
    identity: DataIdentity | None = None

    @property
    def inputs(self) -> int:
        """Pixels of an image."""
        return int(np.prod(self.images["train"].shape[1:]))

    @property
    def usual_noise(self) -> float:
        """The paper's 125 of 255, in proportion to the brightest pixel."""
        return 125.0 * self.top / 255.0

    def some(self, split: Split, count: int) -> np.ndarray:
        """Return the first `count` samples, or some of every class of own data."""
        return _some(self.label[split], count, self.own, self.seed)

    def labels(self, split: Split) -> np.ndarray:
        """Return int64 (sample,)."""
        return self.label[split]

    def source(self, split: Split, index: np.ndarray, seed: int, *, noise: float = 0.0) -> Rates:
        """Return firing probabilities of samples."""
        images = self.images[split][index]
        maximum: float | None = self.maximum[split]
        if noise > 0:
            images = np.stack(
                [
                    noisy_images(image, noise, seed + int(k), self.top)
                    for image, k in zip(images, index, strict=True)
                ]
            )
        probability, _ = rate_probabilities(images, maximum, blank=self.own)
        return Rates(probability * self.highest, index.astype(np.int64) + STREAM[split], seed)

    def window(self, index: np.ndarray, places: np.ndarray, seed: int, duration: int) -> Rates:  # noqa: ARG002
        """Return firing probabilities of training samples; the code is stationary, so any period will do."""
        return Rates(self.source("train", index, seed).probability, places.astype(np.int64), seed)


@dataclass(frozen=True)
class EventRecordings:
    """Event-camera recordings, binned to milliseconds."""

    name: str
    classes: int
    events: EventSplits
    index: dict[Split, np.ndarray]
    duration: int
    jitter_per_sample: bool = False
    span: int = 300
    """Milliseconds from which windows of the initialisation phase are taken."""
    polarities: int = 2
    """1 if all events of own recordings have the same polarity: the other gets no channel."""
    own: bool = False
    seed: int = 0
    notes: tuple[str, ...] = ()
    identity: DataIdentity | None = None

    @property
    def inputs(self) -> int:
        """Channels: polarities x height x width."""
        return self.polarities * self.events.sensor[0] * self.events.sensor[1]

    @property
    def usual_noise(self) -> float:
        """The paper's 10 ms."""
        return 10.0

    def some(self, split: Split, count: int) -> np.ndarray:
        """Return the first `count` samples, or some of every class of own data."""
        return _some(self.labels(split), count, self.own, self.seed)

    def _part(self, split: Split) -> EventSet:
        return self.events.test if split == "test" else self.events.train

    def labels(self, split: Split) -> np.ndarray:
        """Return int64 (sample,)."""
        return self._part(split).labels[self.index[split]]

    def _binned(
        self,
        split: Split,
        index: np.ndarray,
        duration: int,
        seed: int,
        *,
        noise: float = 0.0,
        start: np.ndarray | None = None,
    ) -> Events:
        part = self._part(split)
        chosen = [part[int(k)] for k in self.index[split][index]]
        t, x, y, p = (np.concatenate([c[k] for c in chosen]) for k in range(4))
        offsets = np.concatenate([[0], np.cumsum([len(c[0]) for c in chosen])])
        return recordings_to_events(
            t, x, y, p, offsets, duration, sensor=self.events.sensor, jitter=noise,
            jitter_per_sample=self.jitter_per_sample, seed=seed, keys=self.index[split][index], start=start,
            polarities=self.polarities,
        )  # fmt: skip

    def source(self, split: Split, index: np.ndarray, seed: int, *, noise: float = 0.0) -> Events:
        """Return the first `duration` milliseconds of recordings."""
        return self._binned(split, index, self.duration, seed, noise=noise)

    def window(self, index: np.ndarray, places: np.ndarray, seed: int, duration: int) -> Events:
        """Return a window of each recording, starting at a random millisecond of 1..(span - duration - 2)."""
        last = self.span - duration - 2
        if last < 1:
            raise UserError(
                f"initial_duration is {duration} ms; with recordings of {self.span} ms it can be at most "
                f"{self.span - 3}."
            )
        start = np.array([np.random.default_rng((seed, int(k))).integers(1, last + 1) for k in places])
        return self._binned("train", index, duration, seed, start=start)


@dataclass(frozen=True)
class Reading:
    """How a data set is read; see the fields of `Config` of the same names.

    Attributes:
        limits: maximum number of samples of each split.
        faithful: whether your own images are scaled by their largest share, as the original scales MNIST (DEV-11).
        revision: 1 reads your own data as older versions did: first samples, largest share.
    """

    seed: int = 0
    duration: int = 250
    own_test_scaling: bool = False
    jitter_per_sample: bool = False
    limits: Mapping[Split, int | None] | None = None
    input_scale: InputScale | None = None
    input_rate: float | None = None
    start: Start = "zero"
    allow_loss: bool = False
    faithful: bool = False
    revision: int = 2

    def limit(self, split: Split) -> int | None:
        """Return the maximum number of samples of a split; None: all."""
        return (self.limits or {}).get(split)


def load_dataset(data: str, **how: Any) -> RateImages | EventRecordings:
    """Load a data set by name or path.

    Args:
        data: mnist, fashion-mnist, digits and other image sets of reprokit; n-mnist, digits-events; a path to
            an image folder, an .npz file of images or of events (`nalsm.save_event_arrays`), or a folder or .zip of
            N-MNIST recordings.
        **how: the fields of `Reading`.

    Raises:
        UserError: for unknown or damaged data, or a loss above 5 % of your own data that is not allowed.
    """
    reading = Reading(**how)
    data = DATA.get(data, data)
    if is_own(data) and not Path(data).exists():
        raise UserError(
            f"data is {data!r}: neither a path that exists nor one of {', '.join((*IMAGE_SETS, *EVENT_SETS))}."
        )
    ours = is_own(data) and reading.revision > 1
    if _is_events(data):
        for name in ("input_scale", "input_rate"):
            if getattr(reading, name) is not None:
                raise UserError(f"{name} is for images, and {data} has event recordings; leave it out.")
        return _event_recordings(data, reading, ours)
    if reading.start != "zero":
        raise UserError(f"start is for event recordings, and {data} has images; leave it out.")
    return _rate_images(load_images(data), reading, ours)


def _event_recordings(data: str, reading: Reading, ours: bool) -> EventRecordings:
    arrays = Path(data).suffix == ".npz"
    if arrays:
        events = with_clock(load_event_arrays(data), reading.start)
    else:
        events = load_events(data, start=reading.start) if is_own(data) else load_events(data)
    notes: list[str] = []
    if ours:
        # N-MNIST's recordings last 300 ms, of which the paper uses 250
        window = reading.duration if arrays else max(reading.duration, 300)
        notes += window_lines(events, window * 1000, start=reading.start, allow_loss=reading.allow_loss)
        notes += own.class_note(events.name, events.train.labels, events.classes)
    train, validation = _split(events.train.labels, "" if arrays and ours else "n-mnist", reading.seed, ours)
    index = _limited(
        {"train": train, "validation": validation, "test": np.arange(len(events.test))},
        {"train": events.train.labels, "validation": events.train.labels, "test": events.test.labels},
        reading, ours,
    )  # fmt: skip
    one = ours and arrays and len(np.unique(np.concatenate([events.train.p, events.test.p]))) == 1
    return EventRecordings(
        events.name,
        int(max(events.train.labels.max(), events.test.labels.max())) + 1,
        events,
        index,
        reading.duration,
        reading.jitter_per_sample,
        int(events.train.t.max(initial=0)) // 1000 + 1 if arrays else 300,
        polarities=1 if one else 2,
        own=ours,
        seed=reading.seed,
        notes=tuple(notes),
        identity=_identity(events, index),
    )


def _rate_images(images: ImageSplits, reading: Reading, ours: bool) -> RateImages:
    train, validation = _split(images.train.labels, images.name, reading.seed, ours)
    labels: dict[Split, np.ndarray] = {
        "train": images.train.labels, "validation": images.train.labels, "test": images.test.labels
    }  # fmt: skip
    whole: dict[Split, np.ndarray] = {
        "train": images.train.images, "validation": images.train.images, "test": images.test.images
    }  # fmt: skip
    parts: dict[Split, np.ndarray] = {
        "train": train, "validation": validation, "test": np.arange(len(images.test))
    }  # fmt: skip
    index = _limited(parts, labels, reading, ours)
    chosen: dict[Split, np.ndarray] = {s: _rows(whole[s], index[s]) for s in SPLITS}
    kind = reading.input_scale or ("quantile" if ours and not reading.faithful else "max")
    # the original's maximum covers all non-test data; held-out samples do not affect the scale of own data
    common = image_scale(chosen["train"] if ours else images.train.images, kind)
    tested = chosen["test"] if ours else images.test.images
    maximum: dict[Split, float] = {
        "train": common,
        "validation": common,
        "test": image_scale(tested, kind) if reading.own_test_scaling else common,
    }
    notes: list[str] = []
    if ours:
        for split in SPLITS:
            blank = int((~chosen[split].reshape(len(chosen[split]), -1).any(axis=1)).sum())
            notes += own.blank_note(
                f"{images.name} {split}", blank, len(chosen[split]), allow_loss=reading.allow_loss
            )
        notes += own.class_note(images.name, images.train.labels, images.classes)
    return RateImages(
        images.name,
        images.classes,
        chosen,
        {s: labels[s][index[s]] for s in SPLITS},
        maximum,
        highest=1.0 if reading.input_rate is None else reading.input_rate / 1000.0,
        top=float(chosen["train"].max(initial=0)) or 255.0 if ours else 255.0,
        own=ours,
        seed=reading.seed,
        notes=tuple(notes),
        identity=_identity(images, index),
    )


def _rows(images: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return chosen images, without a copy if they are contiguous."""
    if len(index) and index[-1] - index[0] == len(index) - 1:
        return images[int(index[0]) : int(index[-1]) + 1]
    return images[index]


def _limited(
    index: dict[Split, np.ndarray], labels: Mapping[Split, np.ndarray], reading: Reading, ours: bool
) -> dict[Split, np.ndarray]:
    """Return the requested number of samples of each split: the first ones, or some of every class of own data."""
    if not ours:
        return {s: index[s][: reading.limit(s)] for s in SPLITS}
    return {
        s: own.limited(index[s], labels[s], reading.limit(s), reading.seed, f"{s}_samples") for s in SPLITS
    }


def _identity(splits: ImageSplits | EventSplits, index: Mapping[Split, np.ndarray]) -> DataIdentity:
    return replace(DataIdentity.of(splits), samples={s: len(index[s]) for s in SPLITS})


def _some(labels: np.ndarray, count: int, ours: bool, seed: int) -> np.ndarray:
    return own.some(labels, count, seed) if ours else np.arange(min(count, len(labels)))


def _split(labels: np.ndarray, name: str, seed: int, ours: bool) -> tuple[np.ndarray, np.ndarray]:
    samples = len(labels)
    ordered = ours and bool((np.diff(labels) >= 0).all())  # a folder of that name, read class by class
    if name in ("mnist", "fashion-mnist", "n-mnist") and samples == 60_000 and not ordered:
        return np.arange(50_000), np.arange(50_000, 60_000)
    if ours:
        return own.held_out(labels, seed)
    order = np.random.default_rng(seed).permutation(samples)
    held = max(samples // 6, 1)
    return np.sort(order[held:]), np.sort(order[:held])


def _is_events(data: str) -> bool:
    if data in EVENT_SETS:
        return True
    path = Path(data)
    if path.suffix == ".npz":
        return holds_events(path)
    if path.suffix == ".zip" and path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith(".bin") for name in archive.namelist())
        except zipfile.BadZipFile as error:
            raise UserError(f"{path}: not a readable .zip file; get it again.") from error
    return path.is_dir() and any(True for _ in path.glob("[Tt]*/*/*.bin"))
