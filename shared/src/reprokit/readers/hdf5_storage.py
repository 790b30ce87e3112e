"""Whether the values of an HDF5 data set are in the file as its shape claims.

The library trusts shapes: where a chunk is missing it gives zeros, and where one unpacks to fewer bytes than it should,
it reads beyond them, which may end the process. So every chunk is unpacked here before the library does.

Source: HDF5 File Format Specification 3.0, chunked storage and the filter pipeline (IV.A.2.l); h5py's LZF filter.
"""

import math
import zlib
from typing import IO, Any

_GZIP, _CHECKSUM, _LZF = 1, 3, 32000  # filters that come with h5py and change the size; shuffling does not
_CHECKSUM_BYTES = 4
_REFERENCE_BYTES = 16  # of a row or text of variable length, which is in a heap
FILTERS = (_GZIP, 2, _CHECKSUM, _LZF)  # all that come with h5py


def whole(data: Any, raw: IO[bytes]) -> bool:
    """Tell whether all values of a data set are in the file.

    Args:
        data: The `h5py.Dataset`, stored in this file; its filters must be those that come with h5py.
        raw: The bytes of the file, without a user block.
    """
    itemsize = _REFERENCE_BYTES if data.dtype.kind == "O" else data.id.get_type().get_size()
    if data.chunks is None:
        return data.id.get_storage_size() >= data.size * itemsize
    chunks = math.prod(-(-size // chunk) for size, chunk in zip(data.shape, data.chunks, strict=True))
    expected = math.prod(data.chunks) * itemsize
    properties, end = data.id.get_create_plist(), raw.seek(0, 2)
    filters = [properties.get_filter(k)[0] for k in range(properties.get_nfilters())]
    found = _chunks(data)
    for chunk in found:
        if chunk.byte_offset is None or chunk.byte_offset + chunk.size > end:
            return False
        raw.seek(chunk.byte_offset)
        used = [kind for k, kind in enumerate(filters) if not chunk.filter_mask >> k & 1]
        if _unpacked(raw.read(chunk.size), used, expected) != expected:
            return False
    return len(found) >= chunks


def _chunks(data: Any) -> list[Any]:
    """Return where each chunk is."""
    if not hasattr(data.id, "chunk_iter"):  # h5py with an HDF5 library before 1.14
        return [data.id.get_chunk_info(number) for number in range(data.id.get_num_chunks())]
    found = []
    data.id.chunk_iter(found.append)
    return found


def _unpacked(content: bytes, filters: list[int], most: int) -> int:
    """Return how many bytes a chunk unpacks to, -1: it is damaged. More than `most` are not counted."""
    size, packers = len(content), [kind for kind in filters if kind in (_GZIP, _LZF)]
    if len(packers) > 1:
        return -1
    for kind in reversed(filters):
        if kind == _CHECKSUM:
            size -= _CHECKSUM_BYTES
        elif kind == _GZIP:
            size = _inflated(content[:size], most + _CHECKSUM_BYTES * filters.count(_CHECKSUM))
        elif kind == _LZF:
            size = _lzf(content[:size])
    return size


def _inflated(content: bytes, most: int) -> int:
    try:
        return len(zlib.decompressobj().decompress(content, most + 1))
    except zlib.error:
        return -1


def _lzf(content: bytes) -> int:
    """Count the bytes that LZF codes stand for: runs of bytes as they are, and copies of earlier ones."""
    at, size = 0, 0
    while at < len(content):
        code = content[at]
        if code < 32:
            at, size = at + code + 2, size + code + 1
        else:
            longer = code >> 5 == 7
            size += (code >> 5) + 2 + (content[at + 1] if longer and at + 1 < len(content) else 0)
            at += 3 if longer else 2
    return size if at == len(content) else -1
