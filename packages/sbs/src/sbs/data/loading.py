"""Where images come from: a name, a folder, a file, or the original's four files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import reprokit
from reprokit import UserError
from reprokit.run.identity import DataIdentity

from sbs.data.images import Dataset, Images, largest_value
from sbs.data.storage import STORAGE_NAMES, read_storage

NAMED_SETS = ("mnist", "fashion-mnist", "cifar10", "cifar100", "svhn", "stl10", "digits")


def load_dataset(source: str, limit_train: int = 0, limit_test: int = 0, seed: int = 0) -> Dataset:
    """Load images by name or path.

    Args:
        source: "mnist", "fashion-mnist", "cifar10", "digits", ...; an image folder or .zip; an .npz file; or
            a folder with the original's four files ``TrainPatternStorage.npy``, ``TrainLabelStorage.npy``,
            ``TestPatternStorage.npy``, ``TestLabelStorage.npy``.
        limit_train: Keep only this many training images, 0 keeps all: the first ones of a published set; own
            data, which may be sorted, are chosen by ``seed`` and keep each class's share.
        limit_test: Keep only this many test images, 0 keeps all.
        seed: Seed of that choice.

    Raises:
        UserError: Unknown source or damaged files.
    """
    path = Path(source)
    if path.is_dir() and any((path / name).exists() for name in STORAGE_NAMES):
        found = _dataset(path.resolve().name, *read_storage(path), own=True)
    else:
        splits = reprokit.load_images(source)
        largest = largest_value(splits.train.images, source)
        train, test = (Images(part.images, part.labels, largest) for part in (splits.train, splits.test))
        own = source.lower() not in NAMED_SETS
        found = replace(_dataset(splits.name, train, test, own), whole=DataIdentity.of(splits))
    return found.limited(limit_train, limit_test, seed)


def _dataset(name: str, train: Images, test: Images, own: bool) -> Dataset:
    if not len(train) or not len(test):
        raise UserError(
            f"data set {name}: {len(train)} training and {len(test)} test images; both must be present"
        )
    if train.images.shape[1:] != test.images.shape[1:]:
        raise UserError(
            f"data set {name}: training images are {train.images.shape[1:]} "
            f"but test images {test.images.shape[1:]}"
        )
    mean = train.images.mean((0, 2, 3), dtype=np.float64) / train.largest
    return Dataset(
        name=name,
        train=train,
        test=test,
        classes=int(max(train.labels.max(), test.labels.max())) + 1,
        mean=tuple(float(value) for value in mean),
        own=own,
    )
