"""AEDAT event files, decoded by tonic (the extra ``[events]``), and the gestures cut out of them by their labels.

AEDAT 2 and 3 store an address and a time stamp per event. The sensor decides where x, y and p lie in it:

    layout      x                y                p
    dvs128      bits 8 to 14     bits 1 to 7      bit 0
    gesture     bits 17 to 29    bits 2 to 14     bit 1

AEDAT 4 stores x, y, p and time as such.
"""

import re
import struct
import warnings
from pathlib import Path

import numpy as np

from reprokit.errors import UserError, library, refuse
from reprokit.files.reading import guarded
from reprokit.types import Recording

SENSOR = (128, 128)
_LAYOUTS = {"dvs128": (8, 0x7F, 1, 0x7F, 0), "gesture": (17, 0x1FFF, 2, 0x1FFF, 1)}
_PACKET_HEADER = 28
_TONIC = ("reading AEDAT files needs tonic", "tonic aedat")


def read_aedat(path: str | Path, layout: str = "gesture", sensor: tuple[int, int] = SENSOR) -> Recording:
    """Read one AEDAT file of version 2, 3 or 4.

    Args:
        path: The .aedat or .aedat4 file.
        layout: ``dvs128`` or ``gesture``; ignored for version 4.
        sensor: (height, width); addresses outside are an error.

    Returns:
        t (int64, us), x (int16), y (int16) and p (int8), in the order of the file.

    Raises:
        UserError: tonic is missing, the file is cut or damaged, has no events, time runs back, or an address
            is outside the sensor.
    """
    path = Path(path)
    if layout not in _LAYOUTS:
        raise UserError(f"layout must be one of {', '.join(_LAYOUTS)}, got {layout!r}")
    with guarded(path, "an AEDAT file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with path.open("rb") as file:
            version = re.match(rb"#!AER-DAT(\d)\.\d\s", file.read(16))
        if version is None:
            raise UserError(f"{path}: does not start with #!AER-DAT and a version; get it again")
        t, x, y, p = _read_version_4(path) if version[1] == b"4" else _read_addresses(path, layout)
    if not len(t):
        raise UserError(f"{path}: holds no events; get it again")
    outside = (x < 0) | (x >= sensor[1]) | (y < 0) | (y >= sensor[0])
    allowed = f"allowed are x below {sensor[1]} and y below {sensor[0]}"
    refuse(outside, lambda i: f"{path}: event {i} is at x={x[i]}, y={y[i]}; {allowed}")
    backwards = np.diff(t, prepend=0) < 0
    refuse(backwards, lambda i: f"{path}: event {i} at {t[i]} us runs back in time; get it again")
    return t, x.astype(np.int16), y.astype(np.int16), p.astype(np.int8)


def read_gesture_labels(path: str | Path) -> np.ndarray:
    """Read which gesture was made when.

    Args:
        path: ``user01_fluorescent_labels.csv`` or alike, with the columns class (1 to 11), startTime_usec and
            endTime_usec.

    Returns:
        int64 (gesture, 3): class from 0, start and end in us.

    Raises:
        UserError: Another header, no rows, not integers, a class out of range, or an end before its start.
    """
    path = Path(path)
    with guarded(path, "a DVS Gesture label file"):
        lines = path.read_text("ascii").split()
        if not lines or lines[0] != "class,startTime_usec,endTime_usec":
            raise UserError(f"{path}: the first line must be class,startTime_usec,endTime_usec")
        table = np.array([[int(value) for value in line.split(",")] for line in lines[1:]], np.int64)
        if table.ndim != 2 or table.shape[1] != 3:
            raise UserError(f"{path}: expected rows of three integers")
    bad = (table[:, 0] < 1) | (table[:, 0] > 11) | (table[:, 1] < 0) | (table[:, 2] <= table[:, 1])
    refuse(bad, lambda i: f"{path}: row {i} is {table[i].tolist()}; class must be 1 to 11, start before end")
    return table - np.array([1, 0, 0])


def cut_gestures(path: str | Path) -> list[tuple[Recording, int]]:
    """Read a recording of DVS128 Gesture and cut it into its gestures.

    Args:
        path: ``user01_fluorescent.aedat`` or alike; ``..._labels.csv`` must lie beside it.

    Returns:
        One recording per gesture, time from the start of the gesture, and its label from 0.

    Raises:
        UserError: As `read_aedat` and `read_gesture_labels`, or the events end before the last gesture does.
    """
    path = Path(path)
    labels = read_gesture_labels(path.with_name(f"{path.stem}_labels.csv"))
    t, x, y, p = read_aedat(path, "gesture")
    if t[-1] < labels[:, 1].max():
        raise UserError(f"{path}: ends at {t[-1]} us, before the last labelled gesture begins; get it again")
    gestures = []
    for label, start, end in labels.tolist():
        window = slice(*np.searchsorted(t, (start, end)))
        if window.start == window.stop:
            raise UserError(f"{path}: has no events in the gesture from {start} to {end} us; get it again")
        gestures.append(((t[window] - start, x[window], y[window], p[window]), label))
    return gestures


def _read_addresses(path: Path, layout: str) -> Recording:
    """Read version 2 or 3 with tonic and take the addresses apart."""
    tonic_io = library("tonic.io", *_TONIC)
    version, start, *_ = tonic_io.read_aedat_header_from_file(str(path))
    _check_whole(path, version, start)
    events = tonic_io.get_aer_events_from_file(str(path), version, start)
    address, t = events["address"].astype(np.int64), events["timeStamp"].astype(np.int64)
    x_bit, x_mask, y_bit, y_mask, p_bit = _LAYOUTS[layout]
    return t, address >> x_bit & x_mask, address >> y_bit & y_mask, address >> p_bit & 1


def _read_version_4(path: Path) -> Recording:
    """Read version 4 with tonic, which needs the package aedat for it."""
    library("aedat", "reading AEDAT 4 needs the package aedat", "aedat")
    try:
        events = library("tonic.io", *_TONIC).read_aedat4(str(path))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the decoder is written in Rust, whose panics are no Exception
        raise ValueError(str(error)) from error
    t, x, y, p = (np.asarray(events[name]) for name in events.dtype.names)
    return t.astype(np.int64), x.astype(np.int64), y.astype(np.int64), p.astype(np.int64)


def _check_whole(path: Path, version: float, start: int) -> None:
    """Check that a version 2 or 3 file ends with a whole event; tonic would drop the rest silently."""
    size = path.stat().st_size
    if version < 3:
        if size == start or (size - start) % 8:
            raise UserError(
                f"{path}: {size - start} bytes are no whole number of 8-byte events; get it again"
            )
        return
    with path.open("rb") as file:
        position, packets = start, 0
        while position < size:
            file.seek(position)
            header = file.read(_PACKET_HEADER)
            if len(header) < _PACKET_HEADER:
                raise UserError(
                    f"{path}: cut in the header of packet {packets} at byte {position}; get it again"
                )
            event_size, capacity = struct.unpack_from("<4xI8xI", header)
            if event_size != 8:
                raise UserError(f"{path}: packet {packets} has events of {event_size} bytes, expected 8")
            position += _PACKET_HEADER + 8 * capacity
            packets += 1
        if position != size or not packets:
            raise UserError(
                f"{path}: cut in packet {packets - 1}, {position - size} bytes are missing; get it again"
            )
