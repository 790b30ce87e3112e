"""Plain decoders of some formats, one value after the other, against which a reader's answer is held.

They know no error: they are asked only of bytes that a reader has accepted.
"""

import gzip
import io
import os
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

IDX_TYPES = {8: "B", 9: "b", 11: "h", 12: "i", 13: "f", 14: "d"}


def in_memory() -> str | None:
    """A folder in memory where the system has one: readers are measured, not the disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108


def same_events(found: Any, events: list[tuple[int, int, int, int]]) -> bool:
    """Whether the columns t, x, y, p are these events."""
    return [tuple(event) for event in zip(*(column.tolist() for column in found), strict=True)] == events


def idx(content: bytes, found: Any) -> bool:
    """Whether an array is what an IDX file holds."""
    code, rank = content[2:4]
    shape = struct.unpack_from(f">{rank}I", content, 4)
    body = content[4 + 4 * rank :]
    letter = IDX_TYPES[code]
    values = struct.unpack(f">{len(body) // struct.calcsize(letter)}{letter}", body)
    expected = np.array(values, found.dtype).reshape(shape)
    return found.shape == shape and found.tobytes() == expected.tobytes()


def cifar(content: bytes, found: Any) -> bool:
    """Whether images and labels are those of a CIFAR-10 batch."""
    records = [content[start : start + 3073] for start in range(0, len(content), 3073)]
    return (
        found.labels.tolist() == [record[0] for record in records]
        and found.images.tobytes() == b"".join(record[1:] for record in records)
        and found.images.shape == (len(records), 3, 32, 32)
    )


def nmnist_events(content: bytes) -> list[tuple[int, int, int, int]]:
    """The events of one N-MNIST recording: t, x, y, p."""
    events, late = [], 0
    for start in range(0, len(content), 5):
        x, y, *rest = content[start : start + 5]
        word = int.from_bytes(bytes(rest), "big")
        if y == 240:
            late += 8192
        else:
            events.append(((word & 0x7FFFFF) + late, x, y, word >> 23))
    return events


def nmnist_zip(content: bytes, found: Any) -> bool:
    """Whether training and test events are those of a zip with one recording each."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for part, split in (("Train", found.train), ("Test", found.test)):
            names = sorted(name for name in archive.namelist() if name.lower().startswith(part.lower() + "/"))
            events = [event for name in names for event in nmnist_events(archive.read(name))]
            columns = (split.t, split.x, split.y, split.p)
            if not same_events(columns, events):
                return False
    return True


def npz(content: bytes, found: Any) -> bool:
    """Whether images and labels are those of an .npz file as NumPy reads it."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return all(
            split.images.size == arrays[f"{part}_images"].size
            and np.array_equal(split.labels, arrays[f"{part}_labels"].reshape(-1))
            and (split.images.shape[1] == 3 or split.images.tobytes() == arrays[f"{part}_images"].tobytes())
            for part, split in (("train", found.train), ("test", found.test))
        )


def shd(content: bytes, found: Any) -> bool:
    """Whether recordings are those of an SHD file as h5py reads it, by name: files in memory it opens otherwise."""
    with tempfile.NamedTemporaryFile(dir=in_memory()) as copy:
        copy.write(content)
        copy.flush()
        return _shd(Path(copy.name), found)


def _shd(path: Path, found: Any) -> bool:
    with h5py.File(path) as file:
        times = [np.asarray(each, np.float64) for each in file["spikes/times"][()]]  # pyright: ignore
        units = [np.asarray(each, np.int64) for each in file["spikes/units"][()]]  # pyright: ignore
        labels = np.asarray(file["labels"][()]).reshape(-1)  # pyright: ignore
    return (
        np.array_equal(found.times, np.concatenate(times).astype(found.times.dtype))
        and np.array_equal(found.units, np.concatenate(units))
        and np.array_equal(np.diff(found.offsets), [len(each) for each in times])
        and np.array_equal(found.labels, labels)
    )


def aedat3(content: bytes, found: Any) -> bool:
    """Whether events are those of an AEDAT 3.0 or 3.1 file, whichever way it counts the length of its packets."""
    start = 0
    while content[start : start + 1] == b"#":
        line = content[start : content.index(b"\n", start)]
        start += len(line) + 1
        if line.rstrip() == b"#!END-HEADER":
            break
    upwards = content.startswith(b"#!AER-DAT3.0")
    return any(same_events(found, _packets(content, start, length, upwards)) for length in (5, 6))


def _packets(content: bytes, place: int, length: int, upwards: bool) -> list[tuple[int, int, int, int]]:
    events = []
    while place + 28 <= len(content):
        header = struct.unpack_from("<hhiiiiii", content, place)
        place += 28
        for number in range(header[6] if header[0] == 1 else 0):
            if place + 8 * number + 8 > len(content):
                break
            word, stamp = struct.unpack_from("<II", content, place + 8 * number)
            if word & 1:
                y = word >> 2 & 0x7FFF
                t = stamp + (header[4] << 31)
                events.append((t, word >> 17, 127 - y if upwards else y, word >> 1 & 1))
        place += header[2] * header[length]
    return events


def aedat2(content: bytes, found: Any) -> bool:
    """Whether events are those of an AEDAT 2.0 file of the DVS128."""
    events = []
    for place in range(_after_comments(content), len(content), 8):
        address, t = struct.unpack_from(">II", content, place)
        if not address & 0x80008000:
            events.append((t, 127 - (address >> 1 & 127), 127 - (address >> 8 & 127), 1 - (address & 1)))
    return same_events(found, events)


def _after_comments(content: bytes) -> int:
    place = 0
    while content[place : place + 1] == b"#" and b"\n" in content[place:]:
        line = content[place : content.index(b"\n", place)].rstrip(b"\r")
        if any(byte < 32 and byte not in (9, 10) for byte in line):
            break
        place = content.index(b"\n", place) + 1
    return place


def aedat(content: bytes, found: Any) -> bool:
    """Whether events are those of an AEDAT file of version 2 or 3."""
    return aedat2(content, found) if content.startswith(b"#!AER-DAT2") else aedat3(content, found)


PLAIN: dict[str, Callable[[bytes, Any], bool]] = {
    "idx": idx,
    "idx.gz": lambda content, found: idx(gzip.decompress(content), found),
    "cifar.bin": cifar,
    "nmnist.zip": nmnist_zip,
    "nmnist.bin": lambda content, found: same_events(found, nmnist_events(content)),
    "npz": npz,
    "h5": shd,
    "h5.gz": lambda content, found: shd(gzip.decompress(content), found),
    "aedat": aedat,
    "aedat2": aedat,
}
