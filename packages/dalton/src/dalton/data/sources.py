"""Where event recordings come from: reprokit's readers, or tonic's data sets.

| source | what | sensor | filter, scale |
|---|---|---|---|
| ``n-mnist``, or a folder or .zip of its files | N-MNIST | 34 x 34 | 100 ms, 1 |
| ``dvs-gesture``, or a folder of its AEDAT files | DVS128 Gesture | 128 x 128 | 100 ms, 1/4 |
| ``cifar10-dvs`` | CIFAR10-DVS | 128 x 128 | 100 ms, 1/4 |
| ``digits-events`` | scikit-learn's digits before a simulated sensor | 34 x 34 | 100 ms, 1 |

Splits are those the data sets are shipped with; CIFAR10-DVS has none, and per class the first 900 files by number
train. Recordings are always sorted by file name: the original takes them in the order in which the file system lists
them, which decides CIFAR10-DVS's split (DEV-12).

Caches are named by a hash of what the data hold: the same content anywhere finds the same cache.
"""

from __future__ import annotations

import hashlib
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import EventSet, EventSplits, UserError, fetch, load_events
from reprokit.data import manifest
from reprokit.data.cache import data_folder, offline
from reprokit.data.manifest import digest_file
from reprokit.readers.dvs import GESTURES, OBJECTS, TRAIN_PER_OBJECT

from dalton.data.frames import FrameOptions
from dalton.names import Reader

NAMES = ("n-mnist", "dvs-gesture", "cifar10-dvs", "digits-events")
_LARGE_SENSOR = ("dvs-gesture", "cifar10-dvs")
_TONIC = {"n-mnist": "NMNIST", "dvs-gesture": "DVSGesture", "cifar10-dvs": "CIFAR10DVS"}
_CLASS_NAMES = {"n-mnist": tuple("0123456789"), "dvs-gesture": GESTURES, "cifar10-dvs": OBJECTS}


@dataclass(frozen=True)
class EventSource:
    """A data set of recordings that is read only when its frames are not prepared yet.

    Args:
        name: The data set really used.
        large_sensor: Whether it is a 128 x 128 sensor, down-sampled by the original and cut at random in training.
        fingerprint: Returns a hash of the content.
        load: Reads and decodes everything.
    """

    name: str
    large_sensor: bool
    fingerprint: Callable[[], str]
    load: Callable[[], EventSplits]

    def options(self, window_us: int = 1000) -> FrameOptions:
        """Return the original's pipeline for this kind of recordings."""
        return FrameOptions(spatial_factor=0.25 if self.large_sensor else 1.0, window_us=window_us)


def is_event_source(source: str | Path) -> bool:
    """Tell whether a name or path means event recordings rather than images."""
    if str(source).lower() in NAMES:
        return True
    path = Path(source)
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(name.lower().endswith(".bin") for name in archive.namelist())
    if not path.is_dir():
        return False
    return (path / "trials_to_train.txt").is_file() or next(path.rglob("*.bin"), None) is not None


def event_source(source: str | Path, reader: Reader = "reprokit") -> EventSource:
    """Describe a data set of recordings.

    Args:
        source: One of `NAMES`, or a path, see the module.
        reader: ``reprokit``: its catalogue and readers. ``tonic``: tonic's data-set classes and downloads, where
            tonic is installed, for the three data sets of the original.

    Raises:
        UserError: Unknown source or reader.
    """
    name = str(source).lower()
    if reader == "tonic":
        return _tonic_source(name)
    if reader != "reprokit":
        raise UserError(f"reader is {reader!r}; it must be reprokit or tonic")
    if name == "digits-events":
        return EventSource(name, False, partial(_generated, name), partial(load_events, name))
    if name in NAMES:
        return EventSource(name, name in _LARGE_SENSOR, partial(_fetched, name), partial(load_events, name))
    path = Path(source)
    if not path.exists():
        raise UserError(
            f"unknown event source {str(source)!r}: neither a path that exists nor one of {', '.join(NAMES)}"
        )
    gestures = (path / "trials_to_train.txt").is_file()
    return EventSource(
        path.resolve().stem, gestures, partial(path_digest, path, _SUFFIXES), partial(load_events, path)
    )


def _generated(name: str) -> str:
    return events_digest(load_events(name))


def _fetched(name: str) -> str:
    """Hash what the manifest of a fetched data set says of its downloaded files."""
    entries = manifest.load(fetch(name))
    return combined_digest((file, entry.sha256) for file, entry in entries.items() if "/" not in file)


_SUFFIXES = (".bin", ".aedat", ".aedat4", ".npy", ".csv", ".txt")


def _tonic_source(name: str) -> EventSource:
    if name not in _TONIC:
        raise UserError(
            f"reader tonic knows {', '.join(_TONIC)}, not {name!r}; choose one of them or the reader reprokit"
        )
    folder = data_folder() / "tonic"
    if offline() and not (folder / _TONIC[name]).is_dir():
        raise UserError(
            f"{folder / _TONIC[name]} does not exist and REPROKIT_OFFLINE forbids to download {name}; put tonic's "
            "folder there or allow the network"
        )
    sets = partial(_tonic_sets, name, folder)

    def fingerprint() -> str:
        sets()  # downloads what is missing
        return path_digest(folder / _TONIC[name], _SUFFIXES)

    return EventSource(name, name in _LARGE_SENSOR, fingerprint, lambda: events_from_tonic(name, sets()))


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
    """Return a hash of names and hashes, whatever their order."""
    lines = (f"{name} {digest}" for name, digest in sorted(entries))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
