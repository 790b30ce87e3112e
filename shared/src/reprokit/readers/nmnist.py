"""N-MNIST: one file per recording, five bytes per event.

Byte 0 is x, byte 1 is y; the other 40 - 16 = 24 bits are the polarity and a 23-bit time in microseconds, big
endian. A y of 240 marks an overflow of the time stamp: it is not an event and adds 2^13 us to later times.

Source: Orchard, Jayawant, Cohen and Thakor 2015, and the Matlab reader published with the data set.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from reprokit.data.event_store import stored_events
from reprokit.data.fetch import fetch
from reprokit.errors import UserError, refuse
from reprokit.files.reading import guarded
from reprokit.readers.members import MAX_FILE, members
from reprokit.types import EventSet, EventSplits, Recording

SENSOR = (34, 34)
CLASSES = tuple("0123456789")
_OVERFLOW_ROW = 240
_OVERFLOW_TIME = 1 << 13
_MAX_TIME = 1 << 23
_MEMBER = re.compile(r"(?:^|/)(train|test)/(\d)/[^/]+\.bin$", re.IGNORECASE)


def decode_nmnist(data: bytes, where: str, sensor: tuple[int, int] | None = SENSOR) -> Recording:
    """Decode the bytes of one recording.

    Args:
        data: Five bytes per event.
        where: Name for error messages.
        sensor: (height, width); None: any that the format supports, such as N-Caltech101's 180 x 240.

    Returns:
        t (int64, us), x (int16), y (int16) and p (int8), in the order of the file.

    Raises:
        UserError: Empty, cut in the middle of an event, an address outside the sensor, or time running backwards.
    """
    if not data:
        raise UserError(f"{where}: the recording is empty; remove it or get it again")
    if len(data) % 5:
        raise UserError(f"{where}: {len(data)} bytes are not a whole number of 5-byte events; get it again")
    raw = np.frombuffer(data, np.uint8).reshape(-1, 5).astype(np.int64)
    t = (raw[:, 2] & 0x7F) << 16 | raw[:, 3] << 8 | raw[:, 4]
    overflow = raw[:, 1] == _OVERFLOW_ROW
    if overflow.any():
        t += np.cumsum(overflow) * _OVERFLOW_TIME
        raw, t = raw[~overflow], t[~overflow]
    x, y, p = raw[:, 0], raw[:, 1], raw[:, 2] >> 7
    height, width = sensor or (256, 256)
    outside = (x >= width) | (y >= height)
    allowed = f"allowed: x below {width} and y below {height}" if sensor != SENSOR else "allowed: 0 to 33"
    refuse(outside, lambda i: f"{where}: event {i} is at x={x[i]}, y={y[i]}; {allowed}")
    backwards = np.diff(t, prepend=0) < 0  # never the first event, because times are not negative
    refuse(backwards, lambda i: f"{where}: event {i} at {t[i]} us comes after {t[i - 1]} us; get it again")
    if not len(t):
        raise UserError(f"{where}: the recording has no events; remove it or get it again")
    return t, x.astype(np.int16), y.astype(np.int16), p.astype(np.int8)


def encode_nmnist(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> bytes:
    """Encode one recording; the inverse of `decode_nmnist`.

    Args:
        t: Microseconds, 0 to 2^23 - 1.
        x: Columns 0 to 33.
        y: Rows 0 to 33.
        p: Polarities, 0 or 1.

    Raises:
        UserError: A value does not fit the format.
    """
    columns = [np.asarray(column).astype(np.int64) for column in (t, x, y, p)]
    for name, column, end in zip("txyp", columns, (_MAX_TIME, SENSOR[1], SENSOR[0], 2), strict=True):
        if column.size and (column.min() < 0 or column.max() >= end):
            raise UserError(f"{name} must be from 0 to {end - 1}, got {column.min()} to {column.max()}")
    t, x, y, p = columns
    return np.stack([x, y, p << 7 | t >> 16, t >> 8 & 0xFF, t & 0xFF], axis=1).astype(np.uint8).tobytes()


def read_nmnist_file(path: str | Path) -> Recording:
    """Read one .bin file: t (int64, us), x, y (int16) and p (int8)."""
    path = Path(path)
    with guarded(path, "an N-MNIST recording"):
        if path.stat().st_size > MAX_FILE:
            raise UserError(f"{path}: {path.stat().st_size} bytes are not an N-MNIST recording")
        return decode_nmnist(path.read_bytes(), str(path))


def write_nmnist_file(path: str | Path, t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> None:
    """Write one .bin file; arguments as `encode_nmnist`."""
    Path(path).write_bytes(encode_nmnist(t, x, y, p))


def read_nmnist(path: str | Path) -> EventSplits:
    """Read a folder or zip with ``Train/<digit>/*.bin`` and ``Test/<digit>/*.bin``, at any depth.

    Args:
        path: The folder or zip.

    Returns:
        The splits, recordings sorted by file name (MNIST's numbering), named after the path's stem.

    Raises:
        UserError: No recordings of a split, or a damaged one.
    """
    path = Path(path)
    train, test = (EventSet.join(_recordings(path, split)) for split in ("train", "test"))
    return EventSplits(train, test, SENSOR, path.resolve().stem, CLASSES)


def load_nmnist() -> EventSplits:
    """Fetch and load N-MNIST: 60,000 training and 10,000 test recordings of about 300 ms, mapped from disk."""
    folder = fetch("n-mnist")
    train, test = (
        stored_events(folder, split, partial(_recordings, folder / f"{split}.zip", split))
        for split in ("train", "test")
    )
    return EventSplits(train, test, SENSOR, "n-mnist", CLASSES)


def _recordings(path: Path, split: str) -> Iterator[tuple[Recording, int]]:
    """Yield the recordings of one split and their labels, in the order of their file names."""
    with guarded(path, "a folder or zip of N-MNIST recordings"), members(path) as (names, read):
        chosen = []
        for name in names:
            match = _MEMBER.search(name)
            if match and match[1].lower() == split:
                chosen.append((PurePosixPath(name).name, name, int(match[2])))
        if not chosen:
            raise UserError(f"{path}: holds no {split.capitalize()}/<digit>/*.bin; check the folder")
        for _, name, label in sorted(chosen):
            yield decode_nmnist(read(name), f"{path}/{name}"), label
