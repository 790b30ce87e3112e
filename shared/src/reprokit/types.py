"""One form for each kind of data set, whatever its origin: labelled images, camera events, spike recordings."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reprokit.errors import UserError, refuse

Recording = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # t (us), x, y, p of one recording
CHANNELS = 700  # of a recording in SHD's layout
MOST_CHANNELS = 1 << 16  # of own recordings in that layout
TimeUnit = Literal["s", "ms", "us"]


class _Named:
    """A data set with class names."""

    class_names: tuple[str, ...]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


@dataclass(frozen=True)
class ImageSet:
    """Images and their labels.

    Args:
        images: uint8 (sample, channel, height, width), 0 to 255; channel 1 (grey) or 3 (red, green, blue).
        labels: int64 (sample,), from 0.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise UserError(
                f"images must be uint8 (sample, channel, height, width), got {self.images.dtype} "
                f"{self.images.shape}"
            )
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != np.int64:
            raise UserError(
                f"labels must be int64 ({len(self.images)},) for {len(self.images)} images, got "
                f"{self.labels.dtype} {self.labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageSplits(_Named):
    """A training and a test set of images.

    Args:
        train: The training images.
        test: The test images, of the same channel, height and width.
        name: The data set really used, as in a ledger row.
        class_names: One name per class; labels index it.
    """

    train: ImageSet
    test: ImageSet
    name: str
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise UserError(
                f"{self.name}: training images are {self.train.images.shape[1:]} but test images "
                f"{self.test.images.shape[1:]}; both must agree in channel, height and width"
            )
        for split, part in (("train", self.train), ("test", self.test)):
            if len(part) == 0:
                raise UserError(f"{self.name}: the {split} set has no images")
            check_labels(self.name, part.labels, f"{split} image", self.classes)


@dataclass(frozen=True)
class EventSet:
    """Events of many recordings, concatenated; recording i owns ``offsets[i]:offsets[i + 1]``.

    Args:
        t: int64 (event,), microseconds from the start of the recording, ascending within one.
        x: int16 (event,), column from 0.
        y: int16 (event,), row from 0, downwards.
        p: int8 (event,), polarity: 1 brighter (ON), 0 darker (OFF).
        offsets: int64 (recording + 1,), from 0 to the number of events.
        labels: int64 (recording,), from 0.
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Recording:
        """Return t (us), x, y and p of recording `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"recording {index} of {len(self)}")
        window = slice(self.offsets[index], self.offsets[index + 1])
        return self.t[window], self.x[window], self.y[window], self.p[window]

    @classmethod
    def join(cls, recordings: Iterable[tuple[Recording, int]]) -> "EventSet":
        """Concatenate single recordings.

        Args:
            recordings: (t, x, y, p) and label of each; at least one.
        """
        found = list(recordings)
        lengths = [len(recording[0]) for recording, _ in found]
        t, x, y, p = (np.concatenate([recording[column] for recording, _ in found]) for column in range(4))
        return cls(
            t.astype(np.int64, copy=False),
            x.astype(np.int16, copy=False),
            y.astype(np.int16, copy=False),
            p.astype(np.int8, copy=False),
            np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int64),
            np.array([label for _, label in found], np.int64),
        )


@dataclass(frozen=True)
class EventSplits(_Named):
    """A training and a test set of event recordings.

    Args:
        train: The training recordings.
        test: The test recordings.
        sensor: (height, width) in pixels.
        name: The data set really used, as in a ledger row.
        class_names: One name per class; labels index it.
    """

    train: EventSet
    test: EventSet
    sensor: tuple[int, int]
    name: str
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Recordings:
    """Spikes of many recordings, concatenated; recording i owns ``offsets[i]:offsets[i + 1]``.

    Args:
        times: float32 (spike,), seconds from the start of the recording, ascending within one.
        units: int32 (spike,), the channel that fired, from 0.
        offsets: int64 (recording + 1,), from 0 to the number of spikes.
        labels: int64 (recording,), from 0.
        speakers: int64 (recording,), or None if unknown.
    """

    times: np.ndarray
    units: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return times (s) and units of recording `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"recording {index} of {len(self)}")
        window = slice(self.offsets[index], self.offsets[index + 1])
        return self.times[window], self.units[window]


@dataclass(frozen=True)
class RecordingSplits(_Named):
    """A training and a test set of recordings.

    Args:
        train: The training recordings.
        test: The test recordings.
        name: The data set really used, as in a ledger row.
        channels: Number of input channels, above every unit.
        class_names: One name per class; labels index it.
        validation: Recordings that the data set reserves for validation, None if it does not.
    """

    train: Recordings
    test: Recordings
    name: str
    channels: int
    class_names: tuple[str, ...]
    validation: Recordings | None = None


def check_labels(where: str, labels: np.ndarray, what: str, classes: int) -> None:
    """Refuse the first label of `what` (such as "test image") that is not one of the classes."""
    known = f"the {classes} classes 0 to {classes - 1}"
    outside = (labels < 0) | (labels >= classes)
    refuse(outside, lambda i: f"{where}: label {labels[i]} of {what} {i} is outside {known}")
