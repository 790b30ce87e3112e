"""STL-10, binary version: images of 3 x 96 x 96 bytes stored column by column, labels from 1."""

from pathlib import Path

import numpy as np

from reprokit.data.fetch import fetch
from reprokit.errors import UserError, refuse
from reprokit.files.reading import guarded
from reprokit.types import ImageSet, ImageSplits

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
_PIXELS = 3 * 96 * 96


def read_stl10(images_path: str | Path, labels_path: str | Path) -> ImageSet:
    """Read one split.

    Args:
        images_path: ``train_X.bin`` or ``test_X.bin``.
        labels_path: ``train_y.bin`` or ``test_y.bin``.

    Returns:
        Images (sample, 3, 96, 96), rows and columns in the usual order, and labels from 0.

    Raises:
        UserError: Sizes that do not agree, or a label outside 1 to 10.

    Source: Coates, Ng and Lee 2011, the data set's page.
    """
    images_path, labels_path = Path(images_path), Path(labels_path)
    with guarded(labels_path, "an STL-10 label file"):
        labels = np.fromfile(labels_path, np.uint8)
    with guarded(images_path, "an STL-10 image file"):
        size = images_path.stat().st_size
        if size == 0 or size != len(labels) * _PIXELS:
            raise UserError(
                f"{images_path}: {size} bytes, expected {_PIXELS} for each of the {len(labels)} labels in "
                f"{labels_path.name}; get both again"
            )
        images = np.fromfile(images_path, np.uint8).reshape(-1, 3, 96, 96)
    outside = (labels < 1) | (labels > len(CLASSES))
    refuse(outside, lambda i: f"{labels_path}: label {labels[i]} at {i}; allowed: 1 to {len(CLASSES)}")
    return ImageSet(np.ascontiguousarray(images.transpose(0, 1, 3, 2)), labels.astype(np.int64) - 1)


def load_stl10() -> ImageSplits:
    """Fetch and load STL-10's labelled part: 5,000 training and 8,000 test images, 3 x 96 x 96."""
    folder = fetch("stl10") / "stl10_binary" / "stl10_binary"
    train, test = (
        read_stl10(folder / f"{split}_X.bin", folder / f"{split}_y.bin") for split in ("train", "test")
    )
    return ImageSplits(train, test, "stl10", CLASSES)
