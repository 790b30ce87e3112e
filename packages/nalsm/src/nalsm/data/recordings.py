"""Your own event recordings: arrays, or one .npz file, instead of a named data set.

The file holds, for `train` and `test`, the arrays `<split>_t` (microseconds), `<split>_x`, `<split>_y`, `<split>_p`
(polarity 0 or 1), all (event,), `<split>_offsets` (recording + 1,): recording i owns offsets[i]:offsets[i + 1], and
`<split>_labels` (recording,); optionally `sensor` (height, width). Everything is an integer.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from reprokit import EventSet, EventSplits, UserError
from reprokit.files.atomic import atomic_write
from reprokit.files.reading import array_of

COLUMNS = ("t", "x", "y", "p", "offsets", "labels")
KEYS = tuple(f"{split}_{column}" for split in ("train", "test") for column in COLUMNS)
Arrays = Mapping[str, np.ndarray]


def holds_events(path: Path) -> bool:
    """Return whether an .npz file contains event recordings rather than images."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "train_t.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def save_event_arrays(path: str | Path, train: Arrays, test: Arrays, sensor: tuple[int, int]) -> Path:
    """Check recordings and write them into one .npz file for the setting `data`.

    Args:
        path: The file.
        train: t, x, y, p, offsets and labels of the training recordings (see the module).
        test: the same for the test recordings.
        sensor: (height, width) in pixels.

    Raises:
        UserError: see `event_splits`.
    """
    path = Path(path)
    event_splits(train, test, sensor, str(path))
    arrays = {f"train_{k}": np.asarray(train[k]) for k in COLUMNS}
    arrays |= {f"test_{k}": np.asarray(test[k]) for k in COLUMNS}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, sensor=np.asarray(sensor))  # pyright: ignore[reportArgumentType]
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, buffer.getvalue())
    return path


def load_event_arrays(path: str | Path) -> EventSplits:
    """Read a file of `save_event_arrays`, or one with the same arrays.

    Raises:
        UserError: if the file is damaged or lacks arrays; see also `event_splits`.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: array_of(data[name]) for name in data.files}
    except Exception as error:
        raise UserError(f"{path}: not a readable .npz file ({error}); write it again.") from error
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise UserError(f"{path}: lacks {', '.join(missing)}; event recordings are {', '.join(KEYS)}.")
    parts = [{column: arrays[f"{split}_{column}"] for column in COLUMNS} for split in ("train", "test")]
    sensor = arrays.get("sensor")
    if sensor is None:
        top = [1 + max(int(part[axis].max(initial=0)) for part in parts) for axis in ("y", "x")]
        return event_splits(parts[0], parts[1], (top[0], top[1]), str(path))
    if sensor.shape != (2,):
        raise UserError(f"{path}: sensor has shape {sensor.shape}; give (height, width).")
    return event_splits(parts[0], parts[1], (int(sensor[0]), int(sensor[1])), str(path))


def event_splits(train: Arrays, test: Arrays, sensor: tuple[int, int], where: str) -> EventSplits:
    """Check two sets of recordings and return them as a data set named after `where`.

    Raises:
        UserError: if an array is missing, does not contain integers or has the wrong length, or for events
            outside the sensor, times that are negative or not sorted, polarities other than 0 and 1, or negative
            labels.
    """
    if min(sensor) < 1:
        raise UserError(f"{where}: sensor is {sensor}; height and width must be 1 or more.")
    sets = [_checked(part, sensor, f"{where}, {split}") for part, split in ((train, "train"), (test, "test"))]
    classes = 1 + max(int(part.labels.max()) for part in sets)
    return EventSplits(sets[0], sets[1], sensor, Path(where).stem, tuple(str(k) for k in range(classes)))


def _checked(part: Arrays, sensor: tuple[int, int], where: str) -> EventSet:
    missing = [column for column in COLUMNS if column not in part]
    if missing:
        raise UserError(f"{where}: lacks {', '.join(missing)}; give {', '.join(COLUMNS)}.")
    arrays = {column: np.asarray(part[column]) for column in COLUMNS}
    for column, values in arrays.items():
        if values.dtype.kind not in "iu" or values.ndim != 1:
            raise UserError(
                f"{where}: {column} is {values.dtype} {values.shape}; give one axis of whole numbers."
            )
    found = EventSet(
        arrays["t"].astype(np.int64), arrays["x"].astype(np.int16), arrays["y"].astype(np.int16),
        arrays["p"].astype(np.int8), arrays["offsets"].astype(np.int64), arrays["labels"].astype(np.int64),
    )  # fmt: skip
    events, offsets = len(found.t), found.offsets
    if not len(found) or found.labels.min() < 0:
        raise UserError(f"{where}: labels are needed, one for each recording, from 0.")
    if (
        len(offsets) != len(found) + 1
        or offsets[0] != 0
        or offsets[-1] != events
        or (np.diff(offsets) < 0).any()
    ):
        raise UserError(
            f"{where}: offsets must be {len(found) + 1} numbers from 0 to the {events} events, not decreasing."
        )
    height, width = sensor
    for column, top in (("x", width), ("y", height), ("p", 2)):
        values = arrays[column]
        if len(values) != events:
            raise UserError(f"{where}: {column} has {len(values)} values for {events} events.")
        bad = np.flatnonzero((values < 0) | (values >= top))
        if len(bad):
            recording = int(np.searchsorted(offsets, bad[0], side="right")) - 1
            raise UserError(
                f"{where}, recording {recording}: {column} is {values[bad[0]]}; allowed is 0 to {top - 1}."
            )
    _check_times(found, where)
    return found


def _check_times(found: EventSet, where: str) -> None:
    for k in range(len(found)):
        t = found.t[found.offsets[k] : found.offsets[k + 1]]
        if len(t) and (t[0] < 0 or (np.diff(t) < 0).any()):
            raise UserError(
                f"{where}, recording {k}: times must be 0 or more and sorted; sort each recording by time."
            )
