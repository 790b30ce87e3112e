"""Load a data set by catalogue name, embedded name or path: images, camera events or spike recordings."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from reprokit.data.clock import STARTS, Start, with_clock
from reprokit.errors import UserError
from reprokit.types import (
    CHANNELS,
    MOST_CHANNELS,
    EventSplits,
    ImageSplits,
    RecordingSplits,
    TimeUnit,
    check_labels,
)

T = TypeVar("T")


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
    from reprokit.embedded.digits import load_digits
    from reprokit.readers import cifar, image_folder, mnist, npz, stl10, svhn

    known = {
        "mnist": mnist.load_mnist,
        "fashion-mnist": mnist.load_fashion_mnist,
        "cifar10": cifar.load_cifar10,
        "cifar100": cifar.load_cifar100,
        "svhn": svhn.load_svhn,
        "stl10": stl10.load_stl10,
        "digits": load_digits,
    }
    found = _known_or_path(source, known, "image source")
    if not isinstance(found, Path):
        return found()
    return npz.read_npz(found) if found.suffix == ".npz" else image_folder.read_image_folder(found)


def load_events(source: str | Path, *, start: Start = "zero") -> EventSplits:
    """Load an event-camera data set.

    Args:
        source: A catalogue name (``n-mnist``, ``dvs-gesture``, ``cifar10-dvs``), the embedded
            ``digits-events``, a folder or .zip of N-MNIST files (``Train/<digit>/*.bin``,
            ``Test/<digit>/*.bin``), or a folder of DVS128 Gesture's AEDAT files (``trials_to_train.txt``).
        start: Start of own recordings' clocks: ``zero``: as in the file; ``first-event``: the first event of
            each. `reprokit.data.clock.window_lines` says what a window then keeps.

    Returns:
        The two splits. `name` is the catalogue name, or the stem of the path.

    Raises:
        UserError: Unknown source, missing or damaged files, own recordings longer than an hour, or a `start` for a
            published set.
    """
    from reprokit.embedded.digits_events import digits_events
    from reprokit.readers import dvs, nmnist

    known = {
        "n-mnist": nmnist.load_nmnist,
        "dvs-gesture": dvs.load_dvs_gesture,
        "cifar10-dvs": dvs.load_cifar10_dvs,
        "digits-events": digits_events,
    }
    found = _known_or_path(source, known, "event source")
    if not isinstance(found, Path):
        if start != "zero":
            raise UserError(f"the clock of {source} is the published one; leave start to own data")
        return found()
    is_gesture = (found / "trials_to_train.txt").is_file()
    return with_clock(dvs.read_dvs_gesture(found) if is_gesture else nmnist.read_nmnist(found), start)


def load_recordings(
    source: str | Path,
    *,
    channels: int | None = CHANNELS,
    time_unit: TimeUnit = "s",
    start: Start = "zero",
    lenient: bool = False,
    classes: int | None = None,
) -> RecordingSplits:
    """Load spike recordings.

    Args:
        source: ``shd`` (fetched), the embedded ``spoken-toy``, or a folder with the files of `recording_files`.
        channels: Channels of a folder of own data; None: one more than the largest unit of its two files. The
            published sets have `CHANNELS`.
        time_unit: Unit of the times of own data; whole numbers are allowed unless it is seconds.
        start: Start of own recordings' clocks: ``zero``: as in the file; ``first-event``: the first spike of
            each.
        lenient: Accept own recordings without spikes, and sort times that are out of order, with a warning that
            says how many.
        classes: Minimum number of classes, for own files whose test part has a class missing from training.

    Returns:
        The splits; own data may have a validation part. `name` is the folder's name, or ``shd`` if the folder
        contains the published files (compared by checksum).

    Raises:
        UserError: Unknown source, missing or damaged files, a test label that the training set lacks, or a
            `start` for the published set.
    """
    if start not in STARTS:
        raise UserError(f"start is {start!r}; it must be one of {', '.join(STARTS)}")
    from reprokit.data.fetch import fetch
    from reprokit.embedded.spoken_toy import spoken_toy

    known = {"shd": lambda: _read_folder(fetch("shd"), "shd", sort=True), "spoken-toy": spoken_toy}
    # a folder may be called SHD
    found = _known_or_path(source if source in known else Path(source), known, "source of recordings")
    if start != "zero" and (not isinstance(found, Path) or (found.is_dir() and _is_official(found))):
        raise UserError(f"the clock of {source} is the published one; leave start to own data")
    if not isinstance(found, Path):
        return found()
    if not found.is_dir():
        raise UserError(f"{found}: expected a folder with shd_train.h5[.gz] and shd_test.h5[.gz]")
    if _is_official(found):
        return _read_folder(found, "shd", sort=True)
    return _read_folder(
        found,
        found.resolve().name,
        channels=channels,
        time_unit=time_unit,
        start=start,
        sort=lenient,
        empty=lenient,
        classes=classes,
    )


def recording_files(folder: str | Path) -> dict[str, Path]:
    """The files of a folder of recordings by part: ``train``, ``test`` and, if there is one, ``validation``.

    They are called ``shd_train.h5``, ``shd_test.h5`` and ``shd_valid.h5``, or have another word instead of ``shd``
    (``ssc``), and may be compressed (``.gz``).

    Raises:
        UserError: A file is missing, or there are several words, none of them ``shd``.
    """
    folder = Path(folder)
    stems = {path.name.partition("_train.h5")[0] for path in folder.glob("*_train.h5*")} & {
        path.name.partition("_test.h5")[0] for path in folder.glob("*_test.h5*")
    }
    if len(stems) > 1 and "shd" not in stems:
        raise UserError(
            f"{folder}: holds several sets ({', '.join(sorted(stems))}); give each its own folder"
        )
    stem = stems.pop() if len(stems) == 1 else "shd"
    found = {part: _find(folder, f"{stem}_{part}.h5") for part in ("train", "test")}
    for path in (folder / f"{stem}_valid.h5", folder / f"{stem}_valid.h5.gz"):
        if path.is_file():
            return found | {"validation": path}
    return found


def _known_or_path(
    source: str | Path, known: Mapping[str, Callable[[], T]], what: str
) -> Callable[[], T] | Path:
    """Return the loader of a data set by its name in any case, otherwise the existing path."""
    if isinstance(source, str) and source.lower() in known:
        return known[source.lower()]
    if not Path(source).exists():
        raise UserError(
            f"unknown {what} {str(source)!r}: neither a path that exists nor one of {', '.join(known)}"
        )
    return Path(source)


def _is_official(folder: Path) -> bool:
    """Whether a folder contains the published SHD files, byte for byte, so that results on it count for SHD."""
    from reprokit.data.catalog import find_dataset
    from reprokit.data.manifest import digest_file

    files = find_dataset("shd").files
    return all(
        (folder / file.name).is_file() and digest_file(folder / file.name).md5 == file.md5 for file in files
    )


def _read_folder(
    folder: Path,
    name: str,
    *,
    channels: int | None = CHANNELS,
    time_unit: TimeUnit = "s",
    start: Start = "zero",
    sort: bool = False,
    empty: bool = False,
    classes: int | None = None,
) -> RecordingSplits:
    """Read the files of a folder and determine their common classes; verified files may be sorted."""
    from reprokit.readers.shd import read_shd_and_names

    paths = recording_files(folder)
    limit = MOST_CHANNELS if channels is None else channels
    read = {
        split: read_shd_and_names(
            path, channels=limit, sort=sort, time_unit=time_unit, start=start, empty=empty
        )
        for split, path in paths.items()
    }
    parts = {split: recordings for split, (recordings, _) in read.items()}
    count = int(parts["train"].labels.max()) + 1
    if any(part.labels.max() >= count for part in parts.values()):
        count = max(count, classes or 0)
    names = read["train"][1] or tuple(str(label) for label in range(count))
    for split, part in parts.items():
        check_labels(str(paths[split]), part.labels, "recording", len(names))
    found = channels or 1 + max(int(part.units.max(initial=0)) for part in parts.values())
    return RecordingSplits(parts["train"], parts["test"], name, found, names, parts.get("validation"))


def _find(folder: Path, stem: str) -> Path:
    """Return the plain or compressed file called `stem` in `folder`."""
    for candidate in (folder / stem, folder / f"{stem}.gz"):
        if candidate.is_file():
            return candidate
    raise UserError(f"{folder}: holds neither {stem} nor {stem}.gz; put one of them there")
