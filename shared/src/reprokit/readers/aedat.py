"""AEDAT event files of versions 2, 3 and 4, and gestures cut out of them according to their labels.

Version 2: big-endian pairs of an address and a time stamp, where the meaning of an address depends on the
sensor. Files of the DVS128 are read as jAER's own extractor does; words with bit 15 or 31 are special events, not
pixels:

    x = 127 - bits 1 to 7     row = 127 - bits 8 to 14     p = 1 - bit 0 (a raw 0 is ON)

jAER counts rows upwards, an `EventSet` downwards. Version 3.1: little-endian packets, of which the polarity
packets are read, and in them the events that bit 0 marks as valid:

    x = bits 17 to 31         row = bits 2 to 16           p = bit 1     t = time stamp + eventTSOverflow x 2^31

Version 3.0 counts rows upwards. Version 4 stores x, y, p and time as such; it is decoded by tonic and aedat (the
extra ``[events]``), and its clock is often that of the computer: microseconds since 1970.

Sources: iniVation, "AEDAT file formats" 2.0, 3.0 and 3.1; jAER, `ch.unizh.ini.jaer.chip.retina.DVS128.Extractor`.
"""

import re
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reprokit.data.clock import STARTS, Start
from reprokit.errors import UserError, library, refuse
from reprokit.files.reading import guarded
from reprokit.types import Recording

SENSOR = (128, 128)
LAYOUTS = {"dvs128": 2, "gesture": 3}  # version of the format for each layout
_DVS128 = 127  # largest column and row
_DVS128_BITS, _SPECIAL_BITS = 0x7FFF, 0x80008000
_POLARITY = 1  # type of the packets that hold pixels
_PACKET_HEADER = struct.Struct("<hhiiiiii")
_END_OF_HEADER = re.compile(rb"#!?\s*end(-| of ascii )header\s*", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f]")


def read_aedat(
    path: str | Path,
    layout: str | None = None,
    sensor: tuple[int, int] = SENSOR,
    *,
    start: Start = "zero",
) -> Recording:
    """Read one AEDAT file of version 2, 3 or 4.

    Args:
        path: The .aedat or .aedat4 file.
        layout: ``dvs128`` (version 2) or ``gesture`` (version 3), to require one; version 4 has none.
        sensor: (height, width); addresses outside are an error.
        start: ``zero``: the clock of the file; ``first-event``: the first event is at 0, as a version 4 file
            needs before a filter or window that counts from 0.

    Returns:
        t (int64, us), x (int16), y (int16, row downwards) and p (int8, 1 brighter), in the order of the file.

    Raises:
        UserError: The file is truncated or damaged, of a chip other than the DVS128 (version 2) or of two cameras
            (version 3), has no events, time runs back, or an address is outside the sensor; tonic is missing
            (version 4).
    """
    path = Path(path)
    if layout is not None and layout not in LAYOUTS:
        raise UserError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if start not in STARTS:
        raise UserError(f"start is {start!r}; it must be one of {', '.join(STARTS)}")
    with guarded(path, "an AEDAT file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with path.open("rb") as file:
            version = re.match(rb"#!AER-DAT(\d)\.(\d)\s", file.read(16))
        if version is None:
            raise UserError(f"{path}: does not start with #!AER-DAT and a version; get it again")
        major = int(version[1])
        if layout is not None and major in LAYOUTS.values() and LAYOUTS[layout] != major:
            raise UserError(
                f"{path}: is of version {major}, layout {layout} is of version {LAYOUTS[layout]}; leave it out"
            )
        t, x, y, p = _columns(path, major, int(version[2]), sensor)
    if not len(t):
        raise UserError(f"{path}: holds no events; get it again")
    outside = (x < 0) | (x >= sensor[1]) | (y < 0) | (y >= sensor[0])
    allowed = f"allowed: x below {sensor[1]} and y below {sensor[0]}"
    refuse(outside, lambda i: f"{path}: event {i} is at x={x[i]}, y={y[i]}; {allowed}")
    backwards = np.diff(t, prepend=0) < 0
    refuse(backwards, lambda i: f"{path}: event {i} at {t[i]} us runs back in time; get it again")
    if start == "first-event":
        t = t - t[0]
    return t, x.astype(np.int16), y.astype(np.int16), p.astype(np.int8)


def read_gesture_labels(path: str | Path) -> np.ndarray:
    """Read the times of the gestures.

    Args:
        path: ``user01_fluorescent_labels.csv`` or similar, with the columns class (1 to 11), startTime_usec and
            endTime_usec; a byte order mark and blanks, as spreadsheets write them, are ignored.

    Returns:
        int64 (gesture, 3): class from 0, start and end in us.

    Raises:
        UserError: Another header, no rows, not integers, a class out of range, or an end before its start.
    """
    path = Path(path)
    with guarded(path, "a DVS Gesture label file"):
        lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
        head = [name.strip() for name in lines[0].split(",")] if lines else []
        if head != ["class", "startTime_usec", "endTime_usec"]:
            raise UserError(f"{path}: the first line must be class,startTime_usec,endTime_usec")
        table = np.array([[int(value) for value in line.split(",")] for line in lines[1:]], np.int64)
        if table.ndim != 2 or table.shape[1] != 3:
            raise UserError(f"{path}: expected rows of three integers")
    bad = (table[:, 0] < 1) | (table[:, 0] > 11) | (table[:, 1] < 0) | (table[:, 2] <= table[:, 1])
    refuse(bad, lambda i: f"{path}: row {i} is {table[i].tolist()}; class must be 1 to 11, start before end")
    return table - np.array([1, 0, 0])


def cut_gestures(path: str | Path) -> list[tuple[Recording, int]]:
    """Read a recording of DVS128 Gesture and cut it into its gestures.

    A gesture that ends after the file causes a warning, and so does one without events, which is left out.

    Args:
        path: ``user01_fluorescent.aedat`` or similar; ``..._labels.csv`` must be next to it.

    Returns:
        One recording per gesture with events, time from the start of the gesture, and its label from 0.

    Raises:
        UserError: As `read_aedat` and `read_gesture_labels`, or the events end before the last gesture does.
    """
    path = Path(path)
    labels = read_gesture_labels(path.with_name(f"{path.stem}_labels.csv"))
    t, x, y, p = read_aedat(path, "gesture")
    if t[-1] < labels[:, 1].max():
        raise UserError(f"{path}: ends at {t[-1]} us, before the last labelled gesture begins; get it again")
    gestures, empty = [], []
    for label, start, end in labels.tolist():
        window = slice(*np.searchsorted(t, (start, end)))
        if window.start == window.stop:
            empty.append(f"{start} to {end} us")
            continue
        gestures.append(((t[window] - start, x[window], y[window], p[window]), label))
    if empty:
        which = f"{empty[0]}{' and others' if len(empty) > 1 else ''}"
        text = f"{path}: {len(empty)} of {len(labels)} gestures hold no events and are left out ({which})"
        warnings.warn(text, stacklevel=2)
    # a gesture may end with the file's last event: within a frame of 1 ms nothing is missing
    if (last := int(labels[:, 2].max())) > t[-1] + 1000:
        text = f"{path}: a gesture ends at {last} us, but the file at {t[-1]} us; the rest of it is missing"
        warnings.warn(text, stacklevel=2)
    return gestures


class _Packet(NamedTuple):
    """The header of a version 3 packet, and the position of its events."""

    kind: int
    source: int
    size: int
    stamp: int
    overflow: int
    capacity: int
    number: int
    place: int


def _columns(path: Path, major: int, minor: int, sensor: tuple[int, int]) -> Recording:
    """Return t, x, y, p as int64, addresses unchecked."""
    if major == 4:
        return _read_version_4(path)
    if major not in LAYOUTS.values():
        raise UserError(f"{path}: version {major} of the format is not read; convert it to version 2, 3 or 4")
    data = path.read_bytes()
    lines, start = _header(data)
    if major == 2:
        return _read_version_2(path, data, lines, start)
    t, x, y, p = _read_version_3(path, data, start)
    return t, x, (sensor[0] - 1 - y if minor == 0 else y), p


def _header(data: bytes) -> tuple[list[bytes], int]:
    """Return the lines of text at the beginning of a file, and their end.

    A line begins with # and contains no control characters, because the first byte of an event may also be a #.
    """
    lines, place = [], 0
    while data[place : place + 1] == b"#":
        end = data.find(b"\n", place) + 1
        line = data[place:end].rstrip(b"\r\n")
        if not end or _CONTROL.search(line):
            break
        lines.append(line)
        place = end
        if _END_OF_HEADER.fullmatch(line):
            break
    return lines, place


def _read_version_2(path: Path, data: bytes, lines: list[bytes], start: int) -> Recording:
    chip = [
        found[1].decode() for line in lines if (found := re.match(rb"#\s*AEChip:\s*([\x21-\x7e]+)", line))
    ]
    if chip and chip[-1].rpartition(".")[2].lower() != "dvs128":
        raise UserError(
            f"{path}: is of the chip {chip[-1]}, and version 2 is read of the DVS128 only; convert it to AEDAT 4"
        )
    if start == len(data) or (len(data) - start) % 8:
        raise UserError(
            f"{path}: {len(data) - start} bytes are not a whole number of 8-byte events; get it again"
        )
    words = np.frombuffer(data, ">u4", offset=start).reshape(-1, 2).astype(np.int64)
    address, t = words.T
    foreign = (address & ~(_DVS128_BITS | _SPECIAL_BITS)) != 0
    refuse(
        foreign,
        lambda i: (
            f"{path}: event {i} has the address {address[i]:#x}, which no DVS128 writes, and version 2 is read "
            "of the DVS128 only; convert it to AEDAT 4"
        ),
    )
    pixels = (address & _SPECIAL_BITS) == 0
    address, t = address[pixels], t[pixels]
    return t, _DVS128 - (address >> 1 & 0x7F), _DVS128 - (address >> 8 & 0x7F), 1 - (address & 1)


def _read_version_3(path: Path, data: bytes, start: int) -> Recording:
    try:
        packets = list(_packets(path, data, start, "capacity"))
    except UserError:
        try:  # some programs write only the actual events, others as many as a packet has room for
            packets = list(_packets(path, data, start, "number"))
        except UserError:
            packets = []
        if not packets:
            raise
    found = [packet for packet in packets if packet.kind == _POLARITY and packet.number]
    sources = sorted({packet.source for packet in found})
    if len(sources) > 1:
        raise UserError(
            f"{path}: holds events of {len(sources)} cameras (sources {', '.join(map(str, sources))}); split it"
        )
    columns = []
    for packet in found:
        if (packet.size, packet.stamp) != (8, 4):
            raise UserError(
                f"{path}: polarity events of {packet.size} bytes, time at byte {packet.stamp}; expected 8 and 4"
            )
        word, stamp = (
            np.frombuffer(data, "<u4", 2 * packet.number, packet.place).reshape(-1, 2).T.astype(np.int64)
        )
        valid = (word & 1).astype(bool)
        columns.append((word[valid], stamp[valid] + (packet.overflow << 31)))
    if not columns:
        raise UserError(f"{path}: holds no polarity events; get it again")
    word, t = (np.concatenate(column) for column in zip(*columns, strict=True))
    return t, word >> 17 & 0x7FFF, word >> 2 & 0x7FFF, word >> 1 & 1


def _packets(path: Path, data: bytes, start: int, length: str) -> Iterator[_Packet]:
    """Yield the packets one after another, with the length that `length` ("capacity" or "number") gives.

    Raises:
        UserError: The file does not end with a packet, or a header is invalid.
    """
    place, count = start, 0
    while place < len(data) or not count:
        if len(data) - place < _PACKET_HEADER.size:
            raise UserError(f"{path}: cut in the header of packet {count} at byte {place}; get it again")
        *header, _ = _PACKET_HEADER.unpack_from(data, place)
        packet = _Packet._make((*header, place + _PACKET_HEADER.size))
        if min(header) < 0 or packet.number > packet.capacity or not packet.size:
            raise UserError(
                f"{path}: the header of packet {count} at byte {place} cannot be one; get it again"
            )
        place = packet.place + packet.size * getattr(packet, length)
        if place > len(data):
            raise UserError(
                f"{path}: cut in packet {count}, {place - len(data)} bytes are missing; get it again"
            )
        yield packet
        count += 1


def _read_version_4(path: Path) -> Recording:
    """Read version 4 with tonic, which needs the package aedat for this."""
    library("aedat", "reading AEDAT 4 needs the package aedat", "aedat")
    try:
        events = library("tonic.io", "reading AEDAT 4 needs tonic", "tonic aedat").read_aedat4(str(path))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the decoder is written in Rust, whose panics are not Exceptions
        raise ValueError(str(error)) from error
    t, x, y, p = (np.asarray(events[name]) for name in events.dtype.names)
    return t.astype(np.int64), x.astype(np.int64), y.astype(np.int64), p.astype(np.int64)
