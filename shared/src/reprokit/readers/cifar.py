"""CIFAR-10 and CIFAR-100, binary version: records of label byte(s) and 3 x 32 x 32 image bytes."""

from pathlib import Path

import numpy as np

from reprokit.data.fetch import fetch
from reprokit.errors import UserError, refuse
from reprokit.files.reading import guarded
from reprokit.types import ImageSet, ImageSplits

_PIXELS = 3 * 32 * 32
_LIMIT = 2 << 30  # bytes


def read_cifar_binary(path: str | Path, *, classes: int = 10, label_bytes: int = 1) -> ImageSet:
    """Read one binary batch.

    Args:
        path: ``data_batch_1.bin`` or alike.
        classes: Upper limit of the labels.
        label_bytes: 1 for CIFAR-10; 2 for CIFAR-100, whose second (fine) label is used.

    Returns:
        The images (sample, 3, 32, 32) and their labels.

    Raises:
        UserError: The size is not a whole number of records, or a label is out of range.

    Source: Krizhevsky 2009, the data set's page.
    """
    path = Path(path)
    record = label_bytes + _PIXELS
    with guarded(path, "a CIFAR binary file"):
        size = path.stat().st_size
        if size == 0 or size % record or size > _LIMIT:
            raise UserError(
                f"{path}: {size} bytes are not a whole number of {record}-byte records; get it again"
            )
        data = np.fromfile(path, np.uint8).reshape(-1, record)
    labels = data[:, label_bytes - 1].astype(np.int64)
    last = classes - 1
    refuse(labels > last, lambda i: f"{path}: record {i} has label {labels[i]}; allowed: 0 to {last}")
    return ImageSet(data[:, label_bytes:].reshape(-1, 3, 32, 32).copy(), labels)


def load_cifar10() -> ImageSplits:
    """Fetch and load CIFAR-10: 50,000 training and 10,000 test images, 3 x 32 x 32."""
    folder = _inside(fetch("cifar10") / "cifar-10-binary", "test_batch.bin")
    batches = [read_cifar_binary(folder / f"data_batch_{number}.bin") for number in range(1, 6)]
    train = ImageSet(
        np.concatenate([batch.images for batch in batches]),
        np.concatenate([batch.labels for batch in batches]),
    )
    test = read_cifar_binary(folder / "test_batch.bin")
    return ImageSplits(train, test, "cifar10", _names(folder / "batches.meta.txt", 10))


def load_cifar100() -> ImageSplits:
    """Fetch and load CIFAR-100 with its 100 fine labels: 50,000 training and 10,000 test images."""
    folder = _inside(fetch("cifar100") / "cifar-100-binary", "test.bin")
    train, test = (
        read_cifar_binary(folder / f"{split}.bin", classes=100, label_bytes=2) for split in ("train", "test")
    )
    return ImageSplits(train, test, "cifar100", _names(folder / "fine_label_names.txt", 100))


def _inside(folder: Path, name: str) -> Path:
    """Return the folder below `folder` that contains the file `name`."""
    found = next(iter(sorted(folder.rglob(name))), None)
    if found is None:
        raise UserError(f"{folder}: holds no {name}; delete the folder and fetch the data set again")
    return found.parent


def _names(path: Path, classes: int) -> tuple[str, ...]:
    """Read one class name per line."""
    with guarded(path, "a list of class names"):
        names = tuple(line.strip() for line in path.read_text("ascii").splitlines() if line.strip())
    if len(names) != classes:
        raise UserError(f"{path}: lists {len(names)} class names, expected {classes}")
    return names
