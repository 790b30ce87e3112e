"""DVS128 Gesture and CIFAR10-DVS as the catalogue fetches them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from reprokit.data.event_store import stored_events
from reprokit.data.fetch import fetch
from reprokit.data.loss import kept_line
from reprokit.errors import UserError, refuse
from reprokit.files.reading import array_of, guarded
from reprokit.readers.aedat import SENSOR, cut_gestures, read_aedat, read_gesture_labels
from reprokit.types import EventSet, EventSplits, Recording

GESTURES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter-clockwise",
    "left arm clockwise",
    "left arm counter-clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)
OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_PER_OBJECT = 900


def load_dvs_gesture() -> EventSplits:
    """Fetch and load DVS128 Gesture, cut into gestures, time in whole milliseconds: 1,077 and 264 recordings.

    Source: Amir et al. 2017, CVPR; the cut version is the one tonic publishes.
    """
    folder = fetch("dvs-gesture")
    train, test = (
        stored_events(folder, split.lower(), partial(_cut_gestures, folder / f"ibmGesture{split}"))
        for split in ("Train", "Test")
    )
    return EventSplits(train, test, SENSOR, "dvs-gesture", GESTURES)


def read_dvs_gesture(folder: str | Path, *, allow_loss: bool = False) -> EventSplits:
    """Read DVS128 Gesture as its authors publish it.

    Args:
        folder: Holds the .aedat and _labels.csv files, ``trials_to_train.txt`` and ``trials_to_test.txt``.
        allow_loss: Warn if more than 5 % of the labelled gestures have no events, instead of refusing.

    Raises:
        UserError: A file is missing or damaged, or more than 5 % of a part's gestures have no events.

    Source: Amir et al. 2017, CVPR.
    """
    folder = Path(folder)
    sets = []
    for split in ("train", "test"):
        listing = folder / f"trials_to_{split}.txt"
        with guarded(listing, "a list of trials"):
            names = listing.read_text("utf-8-sig").split()
        paths = [folder / Path(name).name for name in names]
        gestures = [gesture for path in paths for gesture in cut_gestures(path)]
        if not paths:
            raise UserError(f"{listing}: lists no recordings")
        labelled = sum(len(read_gesture_labels(path.with_name(f"{path.stem}_labels.csv"))) for path in paths)
        kept_line(
            f"{folder} {split}", "gestures", len(gestures), labelled, cause="hold no events",
            remedy="check the times in the label files", allow_loss=allow_loss,
        )  # fmt: skip
        if not gestures:
            raise UserError(f"{listing}: no gesture of its recordings holds an event; check the label files")
        sets.append(EventSet.join(gestures))
    return EventSplits(sets[0], sets[1], SENSOR, folder.resolve().stem, GESTURES)


def load_cifar10_dvs() -> EventSplits:
    """Fetch and load CIFAR10-DVS: the first 900 files of each class by number for training, the other 100 for the test.

    The data set has no official split; this is the split of most papers.

    Source: Li, Liu, Ji, Li and Shi 2017, Frontiers in Neuroscience 11.
    """
    folder = fetch("cifar10-dvs")
    train, test = (
        stored_events(folder, split, partial(_objects, folder / "CIFAR10DVS", split))
        for split in ("train", "test")
    )
    return EventSplits(train, test, SENSOR, "cifar10-dvs", OBJECTS)


def read_cut_gesture(path: str | Path) -> Recording:
    """Read one cut gesture: an .npy array (event, 4) of x, y, p and t in ms.

    Raises:
        UserError: A wrong shape or dtype, no events, or impossible values.
    """
    path = Path(path)
    with guarded(path, "a gesture in .npy format"):
        events = array_of(np.load(path, allow_pickle=False))
    if events.ndim != 2 or events.shape[1] != 4 or events.dtype.kind not in "iuf" or not len(events):
        raise UserError(f"{path}: is {events.dtype} {events.shape}, expected numbers (event, 4)")
    whole = events.astype(np.int64)
    x, y, p, t = whole.T
    bad = (x < 0) | (x >= SENSOR[1]) | (y < 0) | (y >= SENSOR[0]) | (p < 0) | (p > 1) | (t < 0)
    bad |= np.concatenate(([False], t[1:] < t[:-1])) | (whole != events).any(axis=1)
    refuse(bad, lambda i: f"{path}: event {i} is {events[i].tolist()}, which is out of range or order")
    return t * 1000, x.astype(np.int16), y.astype(np.int16), p.astype(np.int8)


def _cut_gestures(folder: Path) -> Iterator[tuple[Recording, int]]:
    """Yield every <user>_<light>/<class>.npy below a folder, sorted by path."""
    paths = sorted(path for path in folder.rglob("*.npy") if path.stem.isdigit())
    if not paths:
        raise UserError(f"{folder}: holds no gestures; delete it and fetch the data set again")
    for path in paths:
        if int(path.stem) >= len(GESTURES):
            raise UserError(f"{path}: there is no gesture {path.stem}; allowed: 0 to {len(GESTURES) - 1}")
        yield read_cut_gesture(path), int(path.stem)


def _objects(folder: Path, split: str) -> Iterator[tuple[Recording, int]]:
    """Yield the recordings of one split of CIFAR10-DVS, class by class."""
    for label, name in enumerate(OBJECTS):
        paths = [path for path in folder.rglob("*.aedat4") if path.parent.name == name]
        if len(paths) <= TRAIN_PER_OBJECT:
            raise UserError(f"{folder}: has {len(paths)} recordings of {name}, expected 1000; fetch it again")
        paths.sort(key=lambda path: (int("".join(filter(str.isdigit, path.stem)) or 0), path.name))
        chosen = paths[:TRAIN_PER_OBJECT] if split == "train" else paths[TRAIN_PER_OBJECT:]
        for path in chosen:
            yield read_aedat(path), label
