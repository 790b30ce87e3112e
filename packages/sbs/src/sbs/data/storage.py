"""The data-set files of the original program: ``TrainPatternStorage.npy`` and its three neighbours."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from reprokit import UserError
from reprokit.files import write_array
from reprokit.files.reading import array_of

from sbs.data.images import Dataset, Images, largest_value

STORAGE_NAMES = tuple(
    f"{split}{kind}Storage.npy" for split in ("Train", "Test") for kind in ("Pattern", "Label")
)


def read_storage(folder: str | Path) -> tuple[Images, Images]:
    """Read the original's four data-set files.

    Patterns are float ``(sample, height, width)`` or ``(sample, height, width, 3)``, labels whole numbers;
    like the original, each file is divided by its largest value.

    Raises:
        UserError: A file is missing, unreadable, of the wrong rank, negative, not finite, or counts disagree.
    """
    folder = Path(folder)
    parts = []
    for split in ("Train", "Test"):
        patterns = _load(folder / f"{split}PatternStorage.npy")
        labels = _load(folder / f"{split}LabelStorage.npy")
        file = folder / f"{split}PatternStorage.npy"
        if patterns.ndim not in (3, 4) or patterns.dtype.kind not in "fiu":
            raise UserError(
                f"{file}: expected numbers of shape (n, h, w) or (n, h, w, 3), found {_describe(patterns)}"
            )
        whole = labels.dtype.kind in "iu" and labels.min(initial=0) >= 0
        if labels.shape != patterns.shape[:1] or not whole:
            raise UserError(
                f"{folder}/{split}LabelStorage.npy: expected {len(patterns)} whole numbers of 0 or more, "
                f"found {_describe(labels)}"
            )
        images = patterns[:, None] if patterns.ndim == 3 else np.moveaxis(patterns, 3, 1)
        images = np.ascontiguousarray(images, dtype=np.float32)
        if not np.isfinite(images).all() or images.min(initial=0.0) < 0:
            raise UserError(f"{file}: holds negative or non-finite values; intensities must be 0 or more")
        parts.append(Images(images, labels.astype(np.int64), largest_value(images, str(file))))
    return parts[0], parts[1]


def stored_channels(folder: str | Path) -> int:
    """Return the channels of the training patterns in a folder with the original's files; reads no pattern.

    Raises:
        UserError: The file is missing, unreadable or of the wrong rank.
    """
    file = Path(folder) / "TrainPatternStorage.npy"
    patterns = _load(file, mapped=True)
    if patterns.ndim not in (3, 4):
        raise UserError(
            f"{file}: expected numbers of shape (n, h, w) or (n, h, w, 3), found {_describe(patterns)}"
        )
    return 1 if patterns.ndim == 3 else patterns.shape[3]


def write_storage(dataset: Dataset, folder: str | Path) -> list[Path]:
    """Write the original's four data-set files (float32 in 0..1, labels uint64), see `read_storage`.

    Returns:
        The paths written.
    """
    folder = Path(folder)
    written = []
    for split, part in (("Train", dataset.train), ("Test", dataset.test)):
        images = part.images.astype(np.float32) / np.float32(part.largest)
        patterns = images[:, 0] if images.shape[1] == 1 else np.moveaxis(images, 1, 3)
        for kind, array in (("Pattern", patterns), ("Label", part.labels.astype(np.uint64))):
            path = folder / f"{split}{kind}Storage.npy"
            written.append(write_array(path, np.ascontiguousarray(array)))
    return written


def _load(path: Path, mapped: bool = False) -> npt.NDArray:
    try:
        return array_of(np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def _describe(array: npt.NDArray) -> str:
    return f"{array.dtype} of shape {array.shape}"
