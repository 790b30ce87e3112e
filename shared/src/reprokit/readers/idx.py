"""IDX, the format of MNIST: two zero bytes, a type code, the rank, big-endian sizes, then the values."""

import math
import struct
from pathlib import Path

import numpy as np

from reprokit.errors import UserError
from reprokit.files.reading import guarded, open_maybe_gzip

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_LIMIT = 4 << 30  # bytes; the largest published IDX file has 0.5 GB


def read_idx(path: str | Path) -> np.ndarray:
    """Read an IDX file, plain or gzip-compressed.

    Args:
        path: The file, for example ``train-images-idx3-ubyte.gz``.

    Returns:
        The array in native byte order: uint8 (sample, height, width) for images, (sample,) for labels.

    Raises:
        UserError: Not an IDX file, truncated, longer than its header says, or a header that requires over 4 GB.

    Source: the format description on the MNIST page of LeCun, Cortes and Burges.
    """
    path = Path(path)
    with guarded(path, "an IDX file"), open_maybe_gzip(path) as file:
        zero, code, rank = struct.unpack(">HBB", file.read(4))
        if zero != 0 or code not in _TYPES or not 1 <= rank <= 8:
            raise UserError(
                f"{path}: not an IDX file (starts with {zero:04x}{code:02x}{rank:02x}, expected 0000, a type "
                "code 08-0e and a rank 1-8); get it again"
            )
        shape = struct.unpack(f">{rank}I", file.read(4 * rank))
        dtype = np.dtype(_TYPES[code])
        expected = math.prod(shape) * dtype.itemsize
        if expected > _LIMIT:
            raise UserError(f"{path}: its header asks for {expected} bytes; allowed: {_LIMIT}; get it again")
        data = file.read(expected + 1)
    if len(data) != expected:
        state = "truncated" if len(data) < expected else "longer than its header says"
        raise UserError(f"{path}: {state} (expected {expected} bytes of values for {shape}); get it again")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
