"""Images: one split as arrays, and a data set of two splits."""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from reprokit import UserError
from reprokit.data.subset import choose
from reprokit.run.identity import DataIdentity, digest_arrays
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """One split.

    Attributes:
        images: uint8 or float32 ``(sample, channel, height, width)``.
        labels: int64 ``(sample,)``, from 0.
        largest: The value of full intensity.

    Raises:
        UserError: Wrong axes, labels that are not whole numbers of 0 or more, or an invalid largest value.
    """

    images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    largest: float

    def __post_init__(self) -> None:
        """Refuse anything but labelled images; values are checked where they are used."""
        if self.images.ndim != 4 or self.images.dtype.kind not in "uif":
            raise UserError(
                f"images are {self.images.dtype} {self.images.shape}; they must be uint8 or float32 "
                "(sample, channel, height, width)"
            )
        labels = np.asarray(self.labels)
        labels = labels if labels.size else labels.astype(np.int64)  # NumPy makes an empty list float64
        if (
            labels.shape != self.images.shape[:1]
            or labels.dtype.kind not in "iu"
            or labels.min(initial=0) < 0
        ):
            raise UserError(
                f"labels are {labels.dtype} {labels.shape}; they must be {len(self.images)} whole numbers of 0 or more"
            )
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))
        if not (math.isfinite(self.largest) and self.largest > 0):
            raise UserError(f"largest is {self.largest!r}; it must be a finite number greater than 0")

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: npt.NDArray[np.int64] | slice) -> tuple[Tensor, Tensor]:
        """Return images scaled to 0..1 as float32, and their labels."""
        images = torch.from_numpy(np.ascontiguousarray(self.images[index])).to(torch.float32)
        return images / self.largest, torch.from_numpy(np.ascontiguousarray(self.labels[index]))

    def first(self, count: int) -> "Images":
        """Return the first ``count`` samples (all of them for 0)."""
        return Images(self.images[:count], self.labels[:count], self.largest) if count else self

    def chosen(self, count: int, seed: int, option: str) -> "Images":
        """Return ``count`` samples that keep each class's share (all of them for 0), see `choose`."""
        if not count:
            return self
        kept = choose(self.labels, count, seed=seed, option=option)
        return Images(self.images[kept], self.labels[kept], self.largest)


@dataclass(frozen=True)
class Dataset:
    """Training and test images of one data set.

    Attributes:
        name: Its name in ledger rows.
        train: Training images.
        test: Test images.
        classes: Number of classes; labels are below it.
        mean: Training mean per channel, of images scaled to 0..1.
        own: Whether these are a user's own images; a published set is shuffled and keeps its first samples.
        whole: Identity of the data before any limit; None: of these images themselves.

    Raises:
        UserError: A label that is not a class, or a mean that does not fit the channels.
    """

    name: str
    train: Images
    test: Images
    classes: int
    mean: tuple[float, ...]
    own: bool = True
    whole: DataIdentity | None = None

    def __post_init__(self) -> None:
        """Refuse labels beyond the classes and a mean with a wrong number of channels."""
        largest = int(max(self.train.labels.max(initial=0), self.test.labels.max(initial=0)))
        if largest >= self.classes:
            raise UserError(
                f"data set {self.name}: a label is {largest} and there are {self.classes} classes; labels count from 0"
            )
        if len(self.mean) != self.channels:
            raise UserError(
                f"data set {self.name}: mean has {len(self.mean)} entries and the images {self.channels} channels"
            )

    def identity(self) -> DataIdentity:
        """Return the identity of the data: name, digest of all arrays, samples of each part, classes."""
        if self.whole is not None:
            return self.whole
        parts = {"train": self.train, "test": self.test}
        digest = digest_arrays({name: (part.images, part.labels) for name, part in parts.items()})
        return DataIdentity(
            self.name, digest, {name: len(part) for name, part in parts.items()}, self.classes
        )

    def limited(self, limit_train: int, limit_test: int, seed: int) -> "Dataset":
        """Return a subset of the images; 0 keeps all.

        A published set keeps its first samples. Own files are often sorted by class, so their samples are
        chosen by ``seed`` and each class keeps its share.

        Raises:
            UserError: Own data have fewer samples, or more classes, than requested.
        """
        if not limit_train and not limit_test:
            return self
        train = self.part("train", limit_train, seed, "data.limit_train")
        test = self.part("test", limit_test, seed, "data.limit_test")
        return replace(self, train=train, test=test, whole=self.identity())

    def part(self, split: str, count: int, seed: int, option: str) -> Images:
        """Return ``count`` images of "train" or "test", see `limited`; ``option`` is the user's name for it."""
        images = self.train if split == "train" else self.test
        return images.chosen(count, seed, option) if self.own else images.first(count)

    def kept(self, height: int, width: int) -> str:
        """Say in one line what training uses of the data: images, classes, and the size that the first layer sees."""
        there = self.identity().samples
        size = " x ".join(map(str, (self.channels, *self.size)))
        seen = (
            ""
            if (height, width) == self.size
            else f", of which {height} x {width} are seen (augmentation.crop)"
        )
        return (
            f"data set {self.name}: {len(self.train)} of {there['train']} training and {len(self.test)} of "
            f"{there['test']} test images, {self.classes} classes, {size}{seen}"
        )

    def check_classes(self) -> None:
        """Refuse own data in which a class has no training image, because its output could never be learned.

        Raises:
            UserError: Labels count from 1 or have gaps, or a class is only in the test images.
        """
        missing = sorted(set(range(self.classes)) - set(self.train.labels.tolist()))
        if self.own and missing:
            shown = ", ".join(map(str, missing[:5])) + (", ..." if missing[5:] else "")
            raise UserError(
                f"data set {self.name}: no training image has the label {shown} and labels reach {self.classes - 1}; "
                "number the classes 0, 1, 2, ... without a gap"
            )

    @property
    def channels(self) -> int:
        """Channels per image."""
        return self.train.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        height, width = self.train.images.shape[-2:]
        return height, width


def largest_value(images: npt.NDArray, source: str) -> float:
    """Return the value of full intensity.

    Args:
        images: Numbers of any shape.
        source: Where they come from; the message begins with this.

    Raises:
        UserError: Every pixel is 0.
    """
    largest = float(images.max(initial=0))
    if largest <= 0:
        raise UserError(f"{source}: every pixel is 0; there is nothing to learn from")
    return largest
