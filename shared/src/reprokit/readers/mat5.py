"""MATLAB 5 files: numeric arrays by name, read without SciPy, whose reader a damaged file can crash.

A file is 128 bytes of header, the last four of which are a version and the letters IM (little-endian) or MI, and then
elements: a type and a size of 32 bits each, followed by that many bytes, padded to a multiple of eight. A size in the
upper 16 bits of the type marks a small element, whose data are the other four bytes. An element of type 15 contains
another one, compressed with zlib. An array is an element of type 14 with four or more elements inside: flags, whose
lowest byte is the class, dimensions, name, and the values column by column, stored in the narrowest type that fits
them.

Source: The MathWorks, "MAT-File Format", chapter 1.
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_HEADER = 128
_COMPLEX = 0x0800
_LIMIT = 4 << 30  # bytes of one array; SVHN's largest has 1.6 GB


class _Element(NamedTuple):
    """One element: its type and bytes."""

    kind: int
    data: memoryview


def read_arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read numeric arrays of a MATLAB 5 file.

    Args:
        path: The .mat file.
        names: The wanted arrays; others are not decoded.

    Returns:
        Those of them that are in the file, in the type of their class and native byte order.

    Raises:
        ValueError: Not a MATLAB 5 file, truncated or damaged, or a wanted array that does not contain real numbers.
    """
    content = memoryview(path.read_bytes())
    if len(content) < _HEADER:
        raise ValueError("shorter than the header")
    version, letters = bytes(content[124:126]), bytes(content[126:128])
    order = {b"IM": "<", b"MI": ">"}.get(letters)
    if order is None or struct.unpack(order + "H", version)[0] != 0x0100:
        raise ValueError("no header of a MATLAB 5 file")
    found = {}
    for element in _elements(content[_HEADER:], order):
        if element.kind == _COMPRESSED:
            unpack = zlib.decompressobj()
            inside = unpack.decompress(element.data, _LIMIT)
            if not unpack.eof:
                raise ValueError("a compressed element is cut or too large")
            (element,) = _elements(memoryview(inside), order)
        if element.kind == _MATRIX:
            name, array = _matrix(element.data, order, names)
            if array is not None:
                found[name] = array
    return found


def _elements(content: memoryview, order: str) -> Iterator[_Element]:
    """Yield the elements of some bytes one after another.

    Raises:
        ValueError: They do not end with an element.
    """
    place = 0
    while place < len(content):
        if len(content) - place < 8:
            raise ValueError("cut in the tag of an element")
        kind, size = struct.unpack_from(order + "II", content, place)
        if kind >> 16:  # a small element
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            if size > 4:
                raise ValueError("a small element that is not small")
            after = place + 8
        else:
            start = place + 8
            # compressed elements are not padded
            after = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        if start + size > len(content):
            raise ValueError("cut in an element")
        yield _Element(kind, content[start : start + size])
        place = after


def _matrix(content: memoryview, order: str, names: Collection[str]) -> tuple[str, np.ndarray | None]:
    """Return name and values of an array; None if it is not wanted.

    Raises:
        ValueError: It is damaged, or wanted but not an array of real numbers.
    """
    parts = _elements(content, order)
    flags, sizes, label = (next(parts, _Element(0, memoryview(b""))) for _ in range(3))
    if (flags.kind, sizes.kind, label.kind) != (6, 5, 1) or len(flags.data) != 8 or len(sizes.data) % 4:
        raise ValueError("an array without flags, dimensions and name")
    name = bytes(label.data).decode("latin-1")
    if name not in names:
        return name, None
    values = next(parts, None)
    flag = struct.unpack_from(order + "I", flags.data)[0]
    if flag & 0xFF not in _CLASSES or flag & _COMPLEX or values is None or values.kind not in _TYPES:
        raise ValueError(f"{name} is not an array of real numbers")
    shape = struct.unpack(f"{order}{len(sizes.data) // 4}i", sizes.data)
    stored = np.dtype(order + _TYPES[values.kind])
    if len(shape) < 2 or min(shape) < 0 or math.prod(shape) * stored.itemsize != len(values.data):
        raise ValueError(f"{name} has {len(values.data)} bytes of values for the shape {shape}")
    array = np.frombuffer(values.data, stored).reshape(shape, order="F")
    wanted = np.dtype(_CLASSES[flag & 0xFF])
    if wanted.kind != "f":  # values are never stored in a type that does not fit
        bounds = np.iinfo(wanted)
        if stored.kind == "f" or (
            array.size and not bounds.min <= int(array.min()) <= int(array.max()) <= bounds.max
        ):
            raise ValueError(f"{name} holds values that its class {wanted} has not")
    return name, array.astype(wanted, copy=False)
