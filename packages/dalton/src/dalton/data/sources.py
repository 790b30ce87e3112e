"""Where event recordings come from: reprokit's readers, or tonic's data sets.

| source | what | sensor | filter, scale |
|---|---|---|---|
| ``n-mnist``, or a folder or .zip of its files | N-MNIST | 34 x 34 | 100 ms, 1 |
| ``dvs-gesture``, or a folder of its AEDAT files | DVS128 Gesture | 128 x 128 | 100 ms, 1/4 |
| ``cifar10-dvs`` | CIFAR10-DVS | 128 x 128 | 100 ms, 1/4 |
| ``digits-events`` | scikit-learn's digits before a simulated sensor | 34 x 34 | 100 ms, 1 |
| a folder or .zip of CIFAR10-DVS's ten class folders | as CIFAR10-DVS | its own | 100 ms, 1/4 |
| any other with class folders, see `dalton.data.recordings` | own recordings | its own | none, 1 |

Splits are those that come with the data sets. CIFAR10-DVS has none: the first 900 files of each class by number
are for training. Recordings are always sorted by file name; the original takes them in the file system's order,
which determines CIFAR10-DVS's split (DEV-12).

Caches are named after a hash of the data's content: the same content in any place finds the same cache.
"""

from __future__ import annotations

import hashlib
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from reprokit import EventSet, EventSplits, UserError, fetch, load_events, read_dvs_gesture
from reprokit.data import manifest
from reprokit.data.cache import data_folder, offline
from reprokit.data.manifest import digest_file
from reprokit.files.reading import guarded
from reprokit.readers.dvs import GESTURES, OBJECTS, TRAIN_PER_OBJECT
from reprokit.readers.members import members
from reprokit.types import TimeUnit

from dalton.data.frames import DENOISE_US, FrameOptions
from dalton.data.recordings import (
    SUFFIXES,
    OwnRecordings,
    is_recording_folder,
    like_cifar10_dvs,
    own_recordings,
)
from dalton.names import Reader

NAMES = ("n-mnist", "dvs-gesture", "cifar10-dvs", "digits-events")
_LARGE_SENSOR = ("dvs-gesture", "cifar10-dvs")
_TONIC = {"n-mnist": "NMNIST", "dvs-gesture": "DVSGesture", "cifar10-dvs": "CIFAR10DVS"}
_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".ppm")
_NMNIST = re.compile(r"(?:^|/)(train|test)/\d/[^/]+\.bin$", re.IGNORECASE)
_SAMPLE = 20  # recordings inspected to tell N-MNIST's sensor from others
_CLASS_NAMES = {"n-mnist": tuple("0123456789"), "dvs-gesture": GESTURES, "cifar10-dvs": OBJECTS}


@dataclass(frozen=True)
class EventSource:
    """A data set of recordings that is read only if its frames are not prepared yet.

    Args:
        name: The data set really used.
        like: The published data set whose protocol it follows; empty for own recordings.
        fingerprint: Returns a hash of the content.
        load: Reads and decodes everything, or opens own recordings.
    """

    name: str
    like: str
    fingerprint: Callable[[], str]
    load: Callable[[], EventSplits | AbstractContextManager[OwnRecordings]]

    @property
    def large_sensor(self) -> bool:
        """Whether the sensor is 128 x 128; the original down-samples it and trains on random windows."""
        return self.like in _LARGE_SENSOR

    @contextmanager
    def opened(self) -> Iterator[EventSplits | OwnRecordings]:
        """Give the recordings."""
        found = self.load()
        if isinstance(found, EventSplits):
            yield found
        else:
            with found as events:
                yield events

    def options(
        self, window_us: int = 1000, denoise_us: int | None = None, spatial_factor: float | None = None
    ) -> FrameOptions:
        """Return the frame options for this kind of recordings: the original's, or without filter for own ones.

        Args:
            window_us: Duration of a frame, microseconds.
            denoise_us: Another time of the noise filter; 0: no filter.
            spatial_factor: Another factor on x and y.
        """
        filter_us = (DENOISE_US if self.like else 0) if denoise_us is None else denoise_us
        factor = (0.25 if self.large_sensor else 1.0) if spatial_factor is None else spatial_factor
        return FrameOptions(filter_us or None, factor, window_us, tail=not self.like)


def is_event_source(source: str | Path) -> bool:
    """Tell whether a name or path means event recordings rather than images."""
    if str(source).lower() in NAMES:
        return True
    path = Path(source)
    if not path.exists() or path.suffix.lower() == ".npz":
        return False
    if (path / "trials_to_train.txt").is_file():
        return True
    names = _names(path)
    if any(name.lower().endswith(".bin") for name in names):
        return True
    return is_recording_folder(names) and not holds_images(path)


def holds_images(path: Path) -> bool:
    """Tell whether a folder or .zip holds image files."""
    return any(PurePosixPath(name).suffix.lower() in _IMAGES for name in _names(path))


def _names(path: Path) -> list[str]:
    """Return the files of a folder or .zip; nothing for other files."""
    if path.is_dir() or zipfile.is_zipfile(path):
        with guarded(path, "a folder or .zip"), members(path) as (names, _):
            return list(names)
    return []


def event_source(
    source: str | Path,
    reader: Reader = "reprokit",
    *,
    sensor: tuple[int, int] | None = None,
    time_unit: TimeUnit = "us",
    allow_loss: bool = False,
) -> EventSource:
    """Describe a data set of recordings.

    Args:
        source: One of `NAMES`, or a path, see the module.
        reader: ``reprokit``: its catalogue and readers. ``tonic``: tonic's data-set classes and downloads, where
            tonic is installed, for the three data sets of the original.
        sensor: (height, width) of own recordings; None: as far as the largest addresses.
        time_unit: Unit of the times in .npy, .npz and .csv files of own recordings.
        allow_loss: Whether own recordings may be lost, see `dalton.data.recordings.own_recordings`.

    Raises:
        UserError: Unknown source or reader, or an option of own recordings given for others.
    """
    name = str(source).lower()
    own = name not in NAMES and Path(source).exists()
    for option, value, default in (("sensor", sensor, None), ("time_unit", time_unit, "us")):
        if value != default and (not own or (Path(source) / "trials_to_train.txt").is_file()):
            raise UserError(
                f"{option} is for own recordings in class folders; {source} has its own, leave it out."
            )
    if reader == "tonic":
        return _tonic_source(name)
    if reader != "reprokit":
        raise UserError(f"reader is {reader!r}; it must be reprokit or tonic")
    if name == "digits-events":
        return EventSource(name, name, partial(_generated, name), partial(load_events, name))
    if name in NAMES:
        return EventSource(name, name, partial(_fetched, name), partial(load_events, name))
    path = Path(source)
    if not path.exists():
        raise UserError(
            f"unknown event source {str(source)!r}: neither a path that exists nor one of {', '.join(NAMES)}"
        )
    stem, digest = path.resolve().stem, partial(path_digest, path, _SUFFIXES)
    if (path / "trials_to_train.txt").is_file():
        load = partial(read_dvs_gesture, path, allow_loss=allow_loss)
        return EventSource(stem, "dvs-gesture", digest, load)
    names = _names(path)
    if sensor is None and _is_nmnist(path, names):
        return EventSource(stem, "n-mnist", digest, partial(load_events, path))

    def fingerprint() -> str:
        return combined_digest([(f"{sensor} {time_unit}", path_digest(path, SUFFIXES))])

    like = "cifar10-dvs" if like_cifar10_dvs(names) else ""
    load = partial(own_recordings, path, sensor=sensor, unit=time_unit, allow_loss=allow_loss)
    return EventSource(stem, like, fingerprint, load)


def _is_nmnist(path: Path, names: list[str]) -> bool:
    """Tell whether a folder or .zip has N-MNIST's layout and, judging by a few files, its sensor."""
    files = [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES]
    if not files or not all(_NMNIST.search(name) for name in files):
        return False
    beyond = 0
    chosen = sorted(files)[:: max(1, len(files) // _SAMPLE)]
    with guarded(path, "a folder or .zip of recordings"), members(path) as (_, read):
        for name in chosen:
            data = np.frombuffer(read(name), np.uint8)
            data = data[: len(data) // 5 * 5].reshape(-1, 5)
            x, y = data[data[:, 1] != 240].T[:2]  # row 240 marks an overflow of the clock
            beyond += bool(max(x.max(initial=0), y.max(initial=0)) >= 34)
    return beyond <= len(chosen) // 2  # one or two damaged files do not make another sensor


def _generated(name: str) -> str:
    return events_digest(load_events(name))


def _fetched(name: str) -> str:
    """Hash the manifest of a fetched data set's downloaded files."""
    entries = manifest.load(fetch(name))
    return combined_digest((file, entry.sha256) for file, entry in entries.items() if "/" not in file)


_SUFFIXES = (".bin", ".aedat", ".aedat4", ".npy", ".csv", ".txt")


def _tonic_source(name: str) -> EventSource:
    if name not in _TONIC:
        raise UserError(
            f"reader tonic has {', '.join(_TONIC)}, not {name!r}; choose one of them or the reader reprokit"
        )
    folder = data_folder() / "tonic"
    if offline() and not (folder / _TONIC[name]).is_dir():
        raise UserError(
            f"{folder / _TONIC[name]} does not exist and REPROKIT_OFFLINE forbids downloading {name}; put tonic's "
            "folder there or allow the network"
        )
    sets = partial(_tonic_sets, name, folder)

    def fingerprint() -> str:
        sets()  # downloads missing files
        return path_digest(folder / _TONIC[name], _SUFFIXES)

    return EventSource(name, name, fingerprint, lambda: events_from_tonic(name, sets()))


def _tonic_sets(name: str, folder: Path) -> list[Any]:
    """Return tonic's training and test set, or the only one of CIFAR10-DVS."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import tonic.datasets
    except ImportError as error:
        raise UserError("reader tonic needs tonic; pip install tonic") from error
    kind = getattr(tonic.datasets, _TONIC[name])
    try:
        return (
            [kind(str(folder))]
            if name == "cifar10-dvs"
            else [kind(str(folder), train=t) for t in (True, False)]
        )
    except Exception as error:  # whatever the download raises
        detail = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"tonic cannot provide {name} in {folder} ({detail}); check the network") from error


def events_from_tonic(name: str, sets: list[Any]) -> EventSplits:
    """Turn tonic data sets into recordings sorted by file name.

    Args:
        name: ``n-mnist``, ``dvs-gesture`` or ``cifar10-dvs``.
        sets: Training and test set; for CIFAR10-DVS, which has no split, its only set.

    Raises:
        UserError: CIFAR10-DVS without 1000 recordings of a class.
    """
    order = [sorted(range(len(part)), key=lambda k: _file_order(part.data[k])) for part in sets]
    if name == "cifar10-dvs":
        sets, order = sets * 2, _split_objects(sets[0].targets, order[0])
    train, test = (
        EventSet.join((_columns(part[k][0]), int(part.targets[k])) for k in chosen)
        for part, chosen in zip(sets, order, strict=True)
    )
    side = 128 if name in _LARGE_SENSOR else 34
    return EventSplits(train, test, (side, side), name, _CLASS_NAMES[name])


def _split_objects(targets: list[int], order: list[int]) -> list[list[int]]:
    """Return, class by class, the first 900 recordings and the others."""
    train, test = [], []
    for label, name in enumerate(OBJECTS):
        own = [k for k in order if targets[k] == label]
        if len(own) <= TRAIN_PER_OBJECT:
            raise UserError(
                f"cifar10-dvs has {len(own)} recordings of {name}, expected 1000; download it again"
            )
        train += own[:TRAIN_PER_OBJECT]
        test += own[TRAIN_PER_OBJECT:]
    return [train, test]


def _columns(events: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    t, x, y, p = (np.asarray(events[column]) for column in "txyp")
    return t, x, y, p.astype(np.int8)


def _file_order(path: str) -> tuple[int, str]:
    """Sort key: the number in a file's name, then its path."""
    return int("".join(re.findall(r"\d", Path(path).stem)) or 0), str(path)


def path_digest(path: Path, suffixes: tuple[str, ...]) -> str:
    """Return a hash of a file, or of the names and contents of a folder's files with one of the suffixes."""
    if path.is_file():
        return digest_file(path).sha256
    found = [file for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file()]
    return combined_digest((file.relative_to(path).as_posix(), digest_file(file).sha256) for file in found)


def events_digest(events: EventSplits) -> str:
    """Return a hash of recordings in memory."""
    digest = hashlib.sha256(repr((events.sensor, events.class_names)).encode())
    for part in (events.train, events.test):
        for column in (part.t, part.x, part.y, part.p, part.offsets, part.labels):
            digest.update(column.tobytes())
    return digest.hexdigest()


def combined_digest(entries: Iterable[tuple[str, str]]) -> str:
    """Return a hash of names and hashes that does not depend on their order."""
    lines = (f"{name} {digest}" for name, digest in sorted(entries))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
