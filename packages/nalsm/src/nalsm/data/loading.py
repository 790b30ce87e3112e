"""Data sets as sources of input events, split into train, validation and test.

MNIST, Fashion-MNIST and the whole N-MNIST (whose files bear MNIST's numbers): the first 50,000 training samples train,
the last 10,000 validate, as in the paper. Other sets: a seeded sixth of the training set validates.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from reprokit import EventSet, EventSplits, ImageSplits, UserError, load_events, load_images

from nalsm.data.encoding import image_shares, noisy_images, rate_probabilities, recordings_to_events
from nalsm.data.recordings import holds_events, load_event_arrays
from nalsm.data.sources import Events, Rates
from nalsm.names import DATA, IMAGE_SETS, SPLITS, Split

STREAM = {"train": 0, "validation": 1 << 40, "test": 2 << 40}  # keys of random streams never meet


class Dataset(Protocol):
    """What the pipeline needs of a data set."""

    @property
    def name(self) -> str:
        """The data really used."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes."""
        ...

    @property
    def inputs(self) -> int:
        """Number of input channels."""
        ...

    def labels(self, split: Split) -> np.ndarray:
        """Return int64 (sample,)."""
        ...

    def source(self, split: Split, index: np.ndarray, seed: int, *, noise: float = 0.0) -> Rates | Events:
        """Return the input events of samples; `noise` is the deviation of the kernel-quality noise."""
        ...

    def window(self, index: np.ndarray, places: np.ndarray, seed: int, duration: int) -> Rates | Events:
        """Return `duration` milliseconds of training samples `index` for the initialisation phase.

        What is random about a presentation is keyed by its place in the phase, `places`.
        """
        ...


@dataclass(frozen=True)
class RateImages:
    """Images presented as Bernoulli events with p = share of brightness / largest share."""

    name: str
    classes: int
    images: dict[Split, np.ndarray]
    label: dict[Split, np.ndarray]
    maximum: dict[Split, float]

    @property
    def inputs(self) -> int:
        """Pixels of an image."""
        return int(np.prod(self.images["train"].shape[1:]))

    def labels(self, split: Split) -> np.ndarray:
        """Return int64 (sample,)."""
        return self.label[split]

    def source(self, split: Split, index: np.ndarray, seed: int, *, noise: float = 0.0) -> Rates:
        """Return firing probabilities of samples."""
        images = self.images[split][index]
        maximum: float | None = self.maximum[split]
        if noise > 0:
            images = np.stack(
                [noisy_images(image, noise, seed + int(k)) for image, k in zip(images, index, strict=True)]
            )
        probability, _ = rate_probabilities(images, maximum)
        return Rates(probability, index.astype(np.int64) + STREAM[split], seed)

    def window(self, index: np.ndarray, places: np.ndarray, seed: int, duration: int) -> Rates:  # noqa: ARG002
        """Return firing probabilities of training samples; any stretch of a stationary code is as good."""
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
    """Milliseconds that windows of the initialisation phase are taken from."""

    @property
    def inputs(self) -> int:
        """Channels: 2 polarities x height x width."""
        return 2 * self.events.sensor[0] * self.events.sensor[1]

    def _part(self, split: Split) -> EventSet:
        return self.events.test if split == "test" else self.events.train

    def labels(self, split: Split) -> np.ndarray:
        """Return int64 (sample,)."""
        return self._part(split).labels[self.index[split]]

    def _binned(self, split: Split, index: np.ndarray, duration: int, seed: int, noise: float) -> Events:
        part = self._part(split)
        chosen = [part[int(k)] for k in self.index[split][index]]
        t, x, y, p = (np.concatenate([c[k] for c in chosen]) for k in range(4))
        offsets = np.concatenate([[0], np.cumsum([len(c[0]) for c in chosen])])
        return recordings_to_events(
            t, x, y, p, offsets, duration, sensor=self.events.sensor, jitter=noise,
            jitter_per_sample=self.jitter_per_sample, seed=seed, keys=self.index[split][index],
        )  # fmt: skip

    def source(self, split: Split, index: np.ndarray, seed: int, *, noise: float = 0.0) -> Events:
        """Return the first `duration` milliseconds of recordings."""
        return self._binned(split, index, self.duration, seed, noise)

    def window(self, index: np.ndarray, places: np.ndarray, seed: int, duration: int) -> Events:
        """Return a window of each recording, starting at a random millisecond of 1..(span - duration - 2)."""
        last = self.span - duration - 2
        if last < 1:
            raise UserError(
                f"initial_duration is {duration} ms; with recordings of {self.span} ms it can be "
                f"{self.span - 3} at most."
            )
        start = np.array([np.random.default_rng((seed, int(k))).integers(1, last + 1) for k in places])
        return self._binned("train", index, self.span, seed, 0.0).window(start, duration)


def load_dataset(
    data: str,
    *,
    seed: int = 0,
    duration: int = 250,
    own_test_scaling: bool = False,
    jitter_per_sample: bool = False,
    limits: dict[Split, int | None] | None = None,
) -> RateImages | EventRecordings:
    """Load a data set by name or path.

    Args:
        data: mnist, fashion-mnist, digits and other image sets of reprokit; n-mnist, digits-events; a path to
            an image folder, an .npz file of images or of events (`nalsm.save_event_arrays`), or a folder or .zip of
            N-MNIST recordings.
        seed: of the validation split where the set has none.
        duration: milliseconds of a sample, for recordings.
        own_test_scaling: DEV-4.
        jitter_per_sample: DEV-5.
        limits: largest number of samples of each split.

    Raises:
        UserError: unknown or damaged data, images of constant zero.
    """
    limits = limits or {}
    data = DATA.get(data, data)
    if data not in (*IMAGE_SETS, "n-mnist", "digits-events") and not Path(data).exists():
        raise UserError(
            f"data is {data!r}: neither a path that exists nor one of {', '.join(IMAGE_SETS)}, n-mnist, digits-events."
        )
    if _is_events(data):
        own = Path(data).suffix == ".npz"
        events = load_event_arrays(data) if own else load_events(data)
        return _event_recordings(events, seed, duration, jitter_per_sample, limits, own)
    return _rate_images(load_images(data), seed, own_test_scaling, limits)


def _event_recordings(
    events: EventSplits,
    seed: int,
    duration: int,
    jitter_per_sample: bool,
    limits: dict[Split, int | None],
    own: bool,
) -> EventRecordings:
    train, validation = _split(len(events.train), "n-mnist", seed)
    index: dict[Split, np.ndarray] = {
        "train": train,
        "validation": validation,
        "test": np.arange(len(events.test)),
    }
    chosen: dict[Split, np.ndarray] = {s: index[s][: limits.get(s)] for s in SPLITS}
    classes = int(max(events.train.labels.max(), events.test.labels.max())) + 1
    span = int(events.train.t.max(initial=0)) // 1000 + 1 if own else 300
    return EventRecordings(events.name, classes, events, chosen, duration, jitter_per_sample, span)


def _rate_images(
    images: ImageSplits, seed: int, own_test_scaling: bool, limits: dict[Split, int | None]
) -> RateImages:
    train, validation = _split(len(images.train), images.name, seed)
    top = _largest_share(images.train.images)
    maximum = {
        "train": top,
        "validation": top,
        "test": _largest_share(images.test.images) if own_test_scaling else top,
    }
    pictures = {"train": images.train.images[train], "validation": images.train.images[validation]}
    labels = {"train": images.train.labels[train], "validation": images.train.labels[validation]}
    pictures["test"], labels["test"] = images.test.images, images.test.labels
    return RateImages(
        images.name,
        images.classes,
        {s: pictures[s][: limits.get(s)] for s in SPLITS},
        {s: labels[s][: limits.get(s)] for s in SPLITS},
        maximum,  # pyright: ignore[reportArgumentType]
    )


def _largest_share(images: np.ndarray) -> float:
    return max(float(image_shares(images[k : k + 4096]).max()) for k in range(0, len(images), 4096))


def _split(samples: int, name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    if name in ("mnist", "fashion-mnist", "n-mnist") and samples == 60_000:
        return np.arange(50_000), np.arange(50_000, 60_000)
    order = np.random.default_rng(seed).permutation(samples)
    held = max(samples // 6, 1)
    return np.sort(order[held:]), np.sort(order[:held])


def _is_events(data: str) -> bool:
    if data in ("n-mnist", "digits-events"):
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
