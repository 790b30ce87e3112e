"""MNIST and Fashion-MNIST from their four IDX files."""

from pathlib import Path

import numpy as np

from reprokit.data.fetch import fetch
from reprokit.errors import UserError
from reprokit.readers.idx import read_idx
from reprokit.types import ImageSet, ImageSplits

DIGITS = tuple("0123456789")
GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def load_mnist() -> ImageSplits:
    """Load MNIST: 60,000 training and 10,000 test digits, 1 x 28 x 28.

    Source: LeCun, Bottou, Bengio and Haffner 1998.
    """
    return read_mnist_folder(fetch("mnist"), "mnist", DIGITS)


def load_fashion_mnist() -> ImageSplits:
    """Load Fashion-MNIST: 60,000 training and 10,000 test garments, 1 x 28 x 28.

    Source: Xiao, Rasul and Vollgraf 2017.
    """
    return read_mnist_folder(fetch("fashion-mnist"), "fashion-mnist", GARMENTS)


def read_mnist_folder(folder: Path, name: str, class_names: tuple[str, ...]) -> ImageSplits:
    """Read a folder with MNIST's four file names.

    Args:
        folder: Holds ``train-images-idx3-ubyte.gz`` and the other three.
        name: Name of the result.
        class_names: One name per class.

    Raises:
        UserError: A file is missing, damaged or of the wrong shape.
    """
    return ImageSplits(_read_split(folder, "train"), _read_split(folder, "t10k"), name, class_names)


def _read_split(folder: Path, prefix: str) -> ImageSet:
    """Read the images and labels whose names start with `prefix`."""
    images_path = folder / f"{prefix}-images-idx3-ubyte.gz"
    labels_path = folder / f"{prefix}-labels-idx1-ubyte.gz"
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise UserError(
            f"{images_path}: expected uint8 (sample, height, width), got {images.dtype} {images.shape}"
        )
    if labels.shape != images.shape[:1] or labels.dtype != np.uint8:
        raise UserError(
            f"{labels_path}: expected {len(images)} uint8 labels, got {labels.dtype} {labels.shape}"
        )
    return ImageSet(images[:, None], labels.astype(np.int64))
