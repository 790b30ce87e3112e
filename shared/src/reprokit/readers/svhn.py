"""SVHN's cropped digits: MATLAB 5 files with X (32, 32, 3, sample) and y (sample, 1), 10 meaning digit 0."""

from pathlib import Path

import numpy as np

from reprokit.data.fetch import fetch
from reprokit.errors import UserError, refuse
from reprokit.files.reading import guarded
from reprokit.readers.mat5 import read_arrays
from reprokit.types import ImageSet, ImageSplits


def read_svhn(path: str | Path) -> ImageSet:
    """Read one MATLAB file of cropped digits.

    Args:
        path: ``train_32x32.mat`` or alike.

    Returns:
        Images (sample, 3, 32, 32) and labels 0 to 9, label 0 for digit 0.

    Raises:
        UserError: The file is damaged, or holds something else.

    Source: Netzer et al. 2011, the data set's page.
    """
    path = Path(path)
    with guarded(path, "SVHN's MATLAB file"):
        content = read_arrays(path, ("X", "y"))
        images, labels = content["X"], content["y"]
    if images.ndim != 4 or images.shape[:3] != (32, 32, 3) or images.dtype != np.uint8:
        raise UserError(f"{path}: X is {images.dtype} {images.shape}, expected uint8 (32, 32, 3, sample)")
    if labels.size != images.shape[3] or labels.dtype.kind not in "iu":
        raise UserError(f"{path}: y is {labels.dtype} {labels.shape}, expected {images.shape[3]} integers")
    labels = labels.reshape(-1).astype(np.int64)
    outside = (labels < 1) | (labels > 10)
    refuse(outside, lambda i: f"{path}: label {labels[i]} at {i}; allowed: 1 to 10")
    return ImageSet(np.ascontiguousarray(images.transpose(3, 2, 0, 1)), labels % 10)


def load_svhn() -> ImageSplits:
    """Fetch and load SVHN: 73,257 training and 26,032 test digits, 3 x 32 x 32."""
    folder = fetch("svhn")
    train, test = (read_svhn(folder / f"{split}_32x32.mat") for split in ("train", "test"))
    return ImageSplits(train, test, "svhn", tuple("0123456789"))
