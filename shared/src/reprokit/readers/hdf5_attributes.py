"""Where an HDF5 file keeps the values of an object's attributes.

Text of variable length is stored as a reference (length, heap address, index), as rows of data sets are, but the
library has no call that returns it unread. So the messages of the object's header are read here.

Source: HDF5 File Format Specification 3.0, object headers (IV.A.1), attributes (IV.A.2.m), continuations (IV.A.2.q).
"""

import struct
from collections.abc import Iterator
from typing import IO

_ATTRIBUTE, _CONTINUATION = 12, 16  # types of messages
_SHARED = 2  # flag of a message that is stored elsewhere
_VARIABLE = 9  # class of data types of variable length
_REFERENCE = struct.Struct("<IQI")


def text_references(raw: IO[bytes], address: int, name: str) -> list[tuple[int, int, int]]:
    """Return the references of an object's text attribute of variable length.

    Args:
        raw: The bytes of the file, with 8-byte addresses.
        address: Of the object's header.
        name: Of the attribute.

    Returns:
        Length, heap address and index of each attribute of that name; none where it is stored in another way.
    """
    found = []
    for kind, flags, body in _messages(raw, address):
        if kind == _ATTRIBUTE and not flags & _SHARED:
            reference = _reference(body, name.encode())
            found += [] if reference is None else [reference]
    return found


def _reference(body: bytes, name: bytes) -> tuple[int, int, int] | None:
    """Return the reference in an attribute's message if it is of that name and one text of variable length."""
    if len(body) < 9:
        return None
    version, shared, *sizes = struct.unpack_from("<BBHHH", body)
    start, step = 9 if version == 3 else 8, 8 if version == 1 else 1  # the first version fills up to 8 bytes
    parts = []
    for size in sizes:
        parts.append(body[start : start + size])
        start += -(-size // step) * step
    own, kind, _ = parts
    variable = len(kind) >= 16 and kind[0] & 15 == _VARIABLE and struct.unpack_from("<I", kind, 12) == (1,)
    if own.partition(b"\0")[0] != name or (shared and version > 1) or not variable:
        return None
    return _REFERENCE.unpack_from(body, start) if start + _REFERENCE.size <= len(body) else None


def _messages(raw: IO[bytes], address: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, flags and content of each message of an object's header."""
    raw.seek(address)
    head = raw.read(40)
    if head[:4] == b"OHDR":
        flags = head[5]
        start = (
            6 + 16 * (flags >> 5 & 1) + 4 * (flags >> 4 & 1)
        )  # times, and limits of how attributes are stored
        width = 1 << (flags & 3)
        blocks = [(address + start + width, int.from_bytes(head[start : start + width], "little"))]
        layout = struct.Struct("<BHB2x" if flags & 4 else "<BHB")
    else:
        blocks, layout = [(address + 16, int.from_bytes(head[8:12], "little"))], struct.Struct("<HHB3x")
    seen = set()
    while blocks:
        begin, length = blocks.pop(0)
        if begin in seen:
            continue
        seen.add(begin)
        raw.seek(begin)
        block = raw.read(length)
        at = 4 if block[:4] == b"OCHK" else 0
        while at + layout.size <= len(block):
            kind, size, flags = layout.unpack_from(block, at)
            body = block[at + layout.size : at + layout.size + size]
            at += layout.size + size
            if kind == _CONTINUATION and len(body) >= 16:
                blocks.append(struct.unpack_from("<QQ", body))
            yield kind, flags, body
