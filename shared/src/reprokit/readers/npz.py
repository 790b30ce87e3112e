"""Images in a NumPy .npz file; object arrays, which would run code on loading, are refused."""

import zipfile
from pathlib import Path

import numpy as np

from reprokit.errors import UserError
from reprokit.files.reading import array_of, guarded
from reprokit.types import ImageSet, ImageSplits

_KEYS = (
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
)
_LIMIT = 8 << 30  # bytes of one array


def read_npz(path: str | Path) -> ImageSplits:
    """Read a training and a test set from an .npz file.

    Args:
        path: Holds ``train_images``, ``train_labels``, ``test_images``, ``test_labels`` (or ``x_train``,
            ``y_train``, ``x_test``, ``y_test``): uint8 images (sample, height, width), (sample, channel,
            height, width) or (sample, height, width, channel) with 1 or 3 channels, and integer labels from
            0; optionally ``class_names``.

    Returns:
        The splits, named after the file's stem. If both orders fit, channel first is assumed.

    Raises:
        UserError: Damaged, an object array, missing keys, wrong shapes, dtypes or labels.
    """
    path = Path(path)
    with guarded(path, "an .npz file"):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.file_size > _LIMIT:
                    size = f"{entry.file_size} bytes, allowed {_LIMIT}"
                    raise UserError(f"{path}: {entry.filename} unpacks to {size}")
        with np.load(path, allow_pickle=False) as content:
            arrays = {key: array_of(content[key]) for key in content.files}
    keys = next((keys for keys in _KEYS if all(key in arrays for key in keys)), None)
    if keys is None:
        raise UserError(f"{path}: holds {', '.join(arrays) or 'nothing'}, expected {', '.join(_KEYS[0])}")
    parts = [
        ImageSet(_images(path, images, arrays[images]), _labels(path, labels, arrays[labels]))
        for images, labels in (keys[:2], keys[2:])
    ]
    if "class_names" in arrays:
        names = tuple(str(name) for name in arrays["class_names"].reshape(-1))
    else:
        names = tuple(str(label) for label in range(int(parts[0].labels.max(initial=-1)) + 1))
    return ImageSplits(parts[0], parts[1], path.stem, names)


def _images(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    """Return images as uint8 (sample, channel, height, width)."""
    if array.dtype == np.uint8 and array.ndim == 3:
        return array[:, None]
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[1] in (1, 3):
        return array
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] in (1, 3):
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2))
    raise UserError(
        f"{path}: {key} is {array.dtype} {array.shape}, expected uint8 (sample, height, width), "
        "(sample, channel, height, width) or (sample, height, width, channel) with 1 or 3 channels"
    )


def _labels(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    """Return labels as int64 (sample,)."""
    if array.dtype.kind not in "iu" or array.size != array.shape[0]:
        raise UserError(f"{path}: {key} is {array.dtype} {array.shape}, expected one integer per image")
    return array.reshape(-1).astype(np.int64)
