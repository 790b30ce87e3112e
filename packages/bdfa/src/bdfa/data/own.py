"""Your own images: the folders and files that can be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import reprokit
from reprokit import UserError
from reprokit.readers.cifar import read_cifar_binary
from reprokit.readers.idx import read_idx
from reprokit.types import ImageSet, ImageSplits

from bdfa.data.pickles import array_of, read_values

BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))


def read_own(path: Path) -> ImageSplits:
    """Read your own images.

    Args:
        path: An .npz file, an image folder or a .zip of one, as `reprokit.load_images` reads them; or a folder,
            possibly nested in another one, with CIFAR's files (Python or binary version), MNIST's four IDX
            files (plain or compressed) or one .npz file.

    Returns:
        The splits, named after the path.

    Raises:
        UserError: The path contains nothing readable, or a damaged file.
    """
    if path.is_dir():
        for folder in (path, *_only_folder(path)):
            for reader in (_cifar_pickles, _cifar_binary, _idx, _npz):
                found = reader(folder)
                if found is not None:
                    parts, names = found
                    return _checked(path, parts, names)
    return reprokit.load_images(str(path))


Found = tuple[Sequence[ImageSet], tuple[str, ...]] | None


def _only_folder(path: Path) -> list[Path]:
    folders = [each for each in path.iterdir() if each.is_dir()]
    return folders if len(folders) == 1 else []


def _checked(path: Path, parts: Sequence[ImageSet], names: tuple[str, ...]) -> ImageSplits:
    train, test = parts
    if len(train) == 0 or len(test) == 0:
        raise UserError(f"{path}: its {'training' if len(train) == 0 else 'test'} set is empty.")
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    if len(names) < classes:
        names = tuple(map(str, range(classes)))
    return ImageSplits(train, test, path.resolve().name, names)


def _cifar_pickles(folder: Path) -> Found:
    ten = all((folder / name).is_file() for name in (*BATCHES, "test_batch"))
    hundred = all((folder / name).is_file() for name in ("train", "test"))
    if not (ten or hundred):
        return None
    files = [[folder / name for name in BATCHES], [folder / "test_batch"]]
    if not ten:
        files = [[folder / "train"], [folder / "test"]]
    meta = folder / ("batches.meta" if ten else "meta")
    key = "label_names" if ten else "fine_label_names"
    names = read_values(meta).get(key, ()) if meta.is_file() else ()
    texts = tuple(name.decode("latin-1") if isinstance(name, bytes) else str(name) for name in names)
    return [_joined([_cifar_pickle(file) for file in part]) for part in files], texts


def _cifar_pickle(path: Path) -> ImageSet:
    values = read_values(path)
    key = "labels" if "labels" in values else "fine_labels"
    if not values.keys() >= {"data", key}:
        raise UserError(
            f"{path}: holds {', '.join(values) or 'nothing'}, expected data and labels; get it again."
        )
    try:
        images, labels = array_of(values["data"]), array_of(values[key])
        return ImageSet(
            np.ascontiguousarray(images.reshape(-1, 3, 32, 32)), labels.astype(np.int64).reshape(len(images))
        )
    except (ValueError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{path}: its images or labels cannot be read ({error}); get it again.") from error


def _cifar_binary(folder: Path) -> Found:
    ten = [folder / f"{name}.bin" for name in (*BATCHES, "test_batch")]
    if all(file.is_file() for file in ten):
        batches = [read_cifar_binary(file, classes=256) for file in ten]
        return [_joined(batches[:-1]), batches[-1]], ()
    hundred = [folder / "train.bin", folder / "test.bin"]
    if all(file.is_file() for file in hundred):
        return [read_cifar_binary(file, classes=256, label_bytes=2) for file in hundred], ()
    return None


def _joined(parts: Sequence[ImageSet]) -> ImageSet:
    return ImageSet(
        np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts])
    )


def _idx(folder: Path) -> Found:
    kinds = [("train-images", "train-labels"), ("t10k-images", "t10k-labels")]
    found = [[_starting(folder, start) for start in pair] for pair in kinds]
    if not all(file for pair in found for file in pair):
        return None
    return [_idx_part(*pair) for pair in found], ()  # type: ignore[arg-type]


def _starting(folder: Path, start: str) -> Path | None:
    return next((file for file in sorted(folder.glob(f"{start}*ubyte*")) if file.is_file()), None)


def _idx_part(images: Path, labels: Path) -> ImageSet:
    pixels, classes = read_idx(images), read_idx(labels)
    if pixels.ndim != 3 or pixels.dtype != np.uint8:
        raise UserError(
            f"{images}: holds {pixels.dtype} {pixels.shape}, expected bytes (sample, height, width)."
        )
    if classes.shape != pixels.shape[:1] or classes.dtype != np.uint8:
        raise UserError(f"{labels}: holds {classes.dtype} {classes.shape}, expected {len(pixels)} bytes.")
    return ImageSet(pixels[:, None], classes.astype(np.int64))


def _npz(folder: Path) -> Found:
    files = sorted(folder.glob("*.npz"))
    if len(files) != 1:
        return None
    read: Callable[[str], ImageSplits] = reprokit.load_images
    splits = read(str(files[0]))
    return [splits.train, splits.test], splits.class_names
