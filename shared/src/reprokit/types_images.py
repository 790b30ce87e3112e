"""Labelled images in one shape, wherever they come from: a catalogue name, a folder, a zip or an npz file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reprokit.errors import UserError


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
class ImageSplits:
    """A training and a test set of images.

    Args:
        train: The training images.
        test: The test images, of the same channel, height and width.
        name: The data set really used, as it goes into a ledger row.
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
            low, high = int(part.labels.min()), int(part.labels.max())
            if low < 0 or high >= len(self.class_names):
                index = int(np.argmax((part.labels < 0) | (part.labels >= len(self.class_names))))
                raise UserError(
                    f"{self.name}: label {part.labels[index]} of {split} image {index} is outside the "
                    f"{len(self.class_names)} classes 0 to {len(self.class_names) - 1}"
                )

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def load_images(source: str | Path) -> ImageSplits:
    """Load an image data set.

    Args:
        source: A catalogue name (``mnist``, ``fashion-mnist``, ``cifar10``, ``cifar100``, ``svhn``,
            ``stl10``), the embedded ``digits``, or a path: an image folder or .zip of it
            (``train/<class>/*.jpg``, ``test/<class>/*.jpg``), or an .npz file.

    Returns:
        The two splits. `name` is the catalogue name, or the stem of the path.

    Raises:
        UserError: Unknown source, missing or damaged files.
    """
    known = _known()
    name = str(source).lower()
    if isinstance(source, str) and name in known:
        return known[name]()
    path = Path(source)
    if not path.exists():
        raise UserError(
            f"unknown image source {str(source)!r}: neither a path that exists nor one of {', '.join(known)}"
        )
    if path.suffix == ".npz":
        from reprokit.readers.npz import read_npz

        return read_npz(path)
    from reprokit.readers.image_folder import read_image_folder

    return read_image_folder(path)


def _known() -> dict[str, Callable[[], ImageSplits]]:
    """Return the loader of every image data set known by name."""
    from reprokit.embedded.digits import load_digits
    from reprokit.readers import cifar, mnist, stl10, svhn

    return {
        "mnist": mnist.load_mnist,
        "fashion-mnist": mnist.load_fashion_mnist,
        "cifar10": cifar.load_cifar10,
        "cifar100": cifar.load_cifar100,
        "svhn": svhn.load_svhn,
        "stl10": stl10.load_stl10,
        "digits": load_digits,
    }
