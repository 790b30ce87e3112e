"""Load a data set by catalogue name, embedded name or path: images, camera events or spike recordings."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from reprokit.errors import UserError
from reprokit.types import CHANNELS, EventSplits, ImageSplits, RecordingSplits


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
    known = _image_loaders()
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


def _image_loaders() -> dict[str, Callable[[], ImageSplits]]:
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


def load_events(source: str | Path) -> EventSplits:
    """Load an event-camera data set.

    Args:
        source: A catalogue name (``n-mnist``, ``dvs-gesture``, ``cifar10-dvs``), the embedded
            ``digits-events``, a folder or .zip of N-MNIST files (``Train/<digit>/*.bin``,
            ``Test/<digit>/*.bin``), or a folder of DVS128 Gesture's AEDAT files (``trials_to_train.txt``).

    Returns:
        The two splits. `name` is the catalogue name, or the stem of the path.

    Raises:
        UserError: Unknown source, missing or damaged files.
    """
    known = _event_loaders()
    if isinstance(source, str) and source.lower() in known:
        return known[source.lower()]()
    path = Path(source)
    if not path.exists():
        raise UserError(
            f"unknown event source {str(source)!r}: neither a path that exists nor one of {', '.join(known)}"
        )
    if (path / "trials_to_train.txt").is_file():
        from reprokit.readers.dvs import read_dvs_gesture

        return read_dvs_gesture(path)
    from reprokit.readers.nmnist import read_nmnist

    return read_nmnist(path)


def _event_loaders() -> dict[str, Callable[[], EventSplits]]:
    """Return the loader of every event data set known by name."""
    from reprokit.embedded.digits_events import digits_events
    from reprokit.readers import dvs, nmnist

    return {
        "n-mnist": nmnist.load_nmnist,
        "dvs-gesture": dvs.load_dvs_gesture,
        "cifar10-dvs": dvs.load_cifar10_dvs,
        "digits-events": digits_events,
    }


def load_recordings(source: str | Path) -> RecordingSplits:
    """Load spike recordings.

    Args:
        source: ``shd`` (fetched), the embedded ``spoken-toy``, or a folder that holds
            ``shd_train.h5[.gz]`` and ``shd_test.h5[.gz]``.

    Returns:
        The two splits. `name` is the folder's name, or ``shd`` where the folder holds the published files
        (compared by checksum).

    Raises:
        UserError: Unknown source, missing or damaged files, or a test label the training set does not know.
    """
    from reprokit.data.fetch import fetch

    if source == "spoken-toy":
        from reprokit.embedded.spoken_toy import spoken_toy

        return spoken_toy()
    if source == "shd":
        return _read_folder(fetch("shd"), "shd", sort=True)  # verified bytes: their order is no damage
    path = Path(source)
    if not path.exists():
        raise UserError(
            f"unknown source of recordings {str(source)!r}: neither a folder that exists nor one of "
            "shd, spoken-toy"
        )
    if not path.is_dir():
        raise UserError(f"{path}: expected a folder with shd_train.h5[.gz] and shd_test.h5[.gz]")
    if _is_official(path):
        return _read_folder(path, "shd", sort=True)
    return _read_folder(path, path.resolve().name)


def _is_official(folder: Path) -> bool:
    """Whether a folder holds the published SHD files, byte for byte, so that results on it count for SHD."""
    from reprokit.data.catalog import find_dataset
    from reprokit.data.manifest import digest_file

    files = find_dataset("shd").files
    return all(
        (folder / file.name).is_file() and digest_file(folder / file.name).md5 == file.md5 for file in files
    )


def _read_folder(folder: Path, name: str, *, sort: bool = False) -> RecordingSplits:
    """Read the two SHD files of a folder and agree on the classes."""
    from reprokit.readers.shd import read_shd_and_names

    paths = {split: _find(folder, f"shd_{split}.h5") for split in ("train", "test")}
    read = {split: read_shd_and_names(path, channels=CHANNELS, sort=sort) for split, path in paths.items()}
    parts = {split: recordings for split, (recordings, _) in read.items()}
    names = read["train"][1] or tuple(str(label) for label in range(int(parts["train"].labels.max()) + 1))
    for split, part in parts.items():
        outside = np.flatnonzero(part.labels >= len(names))
        if outside.size:
            index = int(outside[0])
            raise UserError(
                f"{paths[split]}: label {part.labels[index]} of recording {index} is outside the "
                f"{len(names)} classes 0 to {len(names) - 1}"
            )
    return RecordingSplits(parts["train"], parts["test"], name, CHANNELS, names)


def _find(folder: Path, stem: str) -> Path:
    """Return the plain or compressed file called `stem` in `folder`."""
    for candidate in (folder / stem, folder / f"{stem}.gz"):
        if candidate.is_file():
            return candidate
    raise UserError(f"{folder}: holds neither {stem} nor {stem}.gz; put one of them there")
