"""Reading untrusted HDF5 files.

Rows of variable length are stored as references (length, heap address, index) into global heaps. The HDF5
library trusts them: a damaged size makes it loop through a heap forever or allocate gigabytes. So all heaps are
scanned and all references compared with them before the library reads a row. Links to other files are not
followed.

Source: HDF5 File Format Specification 3.0, global heap (III.E), data type (IV.A.2.d) and data layout (IV.A.2.i).
"""

import mmap
import re
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from reprokit.errors import UserError
from reprokit.files.reading import open_maybe_gzip
from reprokit.readers.hdf5_attributes import text_references
from reprokit.readers.hdf5_storage import FILTERS, whole

_HEAP = re.compile(rb"GCOL\x01\0\0\0")
_HEADER = 16  # bytes before a heap's first object, and before each object's data
_MAX_SIZE = 16 << 30  # bytes after decompression
_MAX_ROWS = 1 << 22
_ROWS_AT_ONCE = 64
_KIND = 3  # byte of an encoded data type whose lower half is 0 for sequences and 1 for text
_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])


@dataclass(frozen=True)
class HDF5:
    """An open file whose heaps have been checked.

    Args:
        path: The file, for messages.
        file: The open `h5py.File`.
        raw: The same (decompressed) bytes.
        size: Their number.
        heaps: Address of each global heap -> index of each object in it -> its bytes.

    Raises:
        UserError: From every method that reads, for data that are missing, damaged, or of a wrong shape or dtype.
    """

    path: Path
    file: Any
    raw: IO[bytes]
    size: int
    heaps: dict[int, dict[int, int]]

    def has(self, name: str) -> bool:
        """Tell whether `name` is a data set stored in this file itself."""
        import h5py

        group = self.file
        for part in name.split("/"):
            inside = isinstance(group, h5py.Group)
            if not inside or not isinstance(group.get(part, getlink=True), h5py.HardLink):
                return False
            group = group[part]
        return isinstance(group, h5py.Dataset) and not group.external and not group.is_virtual

    def column(self, name: str) -> Any:
        """Return a one-dimensional data set that is not empty, unread."""
        if not self.has(name):
            raise UserError(f"{self.path}: does not itself contain the data set {name!r}; add it to the file")
        data = self.file[name]
        if data.ndim != 1 or not 0 < data.shape[0] <= _MAX_ROWS:
            raise UserError(f"{self.path}: {name} has shape {data.shape}, expected (1 to {_MAX_ROWS},)")
        return data

    def require_whole(self, data: Any) -> None:
        """Check that all values of a data set are in the file, so that the library may read them."""
        properties = data.id.get_create_plist()
        if any(properties.get_filter(k)[0] not in FILTERS for k in range(properties.get_nfilters())):
            raise UserError(
                f"{self.path}: {data.name} is packed by an unknown filter; write it again with gzip"
            )
        if not whole(data, self.raw):
            raise UserError(f"{self.path}: values of {data.name} are missing or damaged; get the file again")

    def integers(self, name: str) -> np.ndarray:
        """Read a one-dimensional integer data set as int64."""
        data = self.column(name)
        if data.dtype.kind not in "iu":
            raise UserError(f"{self.path}: {name} has dtype {data.dtype}, expected integers")
        self.require_whole(data)
        return data[()].astype(np.int64)

    def texts(self, name: str) -> tuple[str, ...]:
        """Read a one-dimensional data set of UTF-8 text, of fixed or variable length."""
        import h5py

        data = self.column(name)
        if h5py.check_string_dtype(data.dtype) is None:
            raise UserError(f"{self.path}: {name} has dtype {data.dtype}, expected text")
        self.require_whole(data)
        if data.dtype.kind == "O":
            self._check_references(name, self._references(data), 1)
        return tuple(bytes(text).decode("utf-8") for text in data[()])

    def text_attribute(self, node: Any, name: str) -> str | None:
        """Read an attribute that is one UTF-8 text, of fixed or variable length; None where there is none.

        Args:
            node: A group or data set of this file.
            name: Of the attribute.
        """
        import h5py

        low: Any = h5py  # its stubs do not know these modules
        if name not in node.attrs:
            return None
        kind = low.h5a.open(node.id, name.encode()).get_type()
        if not isinstance(kind, low.h5t.TypeStringID):
            raise UserError(
                f"{self.path}: the attribute {name} of {node.name} is not text; get the file again"
            )
        if kind.is_variable_str():
            found = text_references(self.raw, low.h5o.get_info(node.id).addr, name)
            if not found or any(
                length > self.heaps.get(address, {}).get(index, -1) for length, address, index in found
            ):
                raise UserError(
                    f"{self.path}: the attribute {name} of {node.name} is damaged; get the file again"
                )
        value = node.attrs[name]
        return value if isinstance(value, str) else bytes(value).decode("utf-8")

    def rows(
        self, name: str, kinds: str, dtype: type[np.generic] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read rows of variable length, concatenated, into one array.

        Args:
            name: The data set.
            kinds: NumPy kind letters allowed for the values, for example "f" or "iu".
            dtype: Type of the returned values; None: as in the file. A float that is too large becomes infinite.

        Returns:
            All values, and the length of each row as int64.
        """
        import h5py

        data = self.column(name)
        base = h5py.check_vlen_dtype(data.dtype)
        if base is None or np.dtype(base).kind not in kinds or np.dtype(base).itemsize > 8:
            wanted = "floats" if kinds == "f" else "integers"
            raise UserError(f"{self.path}: {name} has dtype {base or data.dtype}, expected rows of {wanted}")
        if (
            data.id.get_type().encode()[_KIND] & 15
        ):  # not a sequence: the library crashes while it reads the rows
            raise UserError(f"{self.path}: {name} has rows of an unknown kind; get the file again")
        references = self._references(data)
        self._check_references(name, references, np.dtype(base).itemsize)
        lengths = references["length"].astype(np.int64)
        values, end = np.empty(lengths.sum(), dtype or np.dtype(base).newbyteorder("=")), 0
        # rows are objects: all at once would double the data
        for first in range(0, len(lengths), _ROWS_AT_ONCE):
            for row in data[first : first + _ROWS_AT_ONCE]:
                with np.errstate(over="ignore"):
                    values[end : end + len(row)] = row
                end += len(row)
        return values, lengths

    def _references(self, data: Any) -> np.ndarray:
        """Return the references of a data set of rows as `_REFERENCE`."""
        if data.id.get_create_plist().get_nfilters():
            raise UserError(f"{self.path}: {data.name} has filtered rows; write them without filters")
        self.require_whole(data)
        count = data.shape[0]
        if data.chunks is None:
            offset = data.id.get_offset()
            if offset is None:
                raise UserError(f"{self.path}: {data.name} has no values")
            self.raw.seek(offset)
            return np.frombuffer(self.raw.read(count * _REFERENCE.itemsize), _REFERENCE, count)
        step = data.chunks[0]
        chunks = [data.id.read_direct_chunk((start,))[1] for start in range(0, count, step)]
        return np.frombuffer(b"".join(chunks), _REFERENCE)[:count]

    def _check_references(self, name: str, references: np.ndarray, itemsize: int) -> None:
        """Check that every row is inside a heap and that all together are no larger than the file."""
        total = 0
        for row, (length, address, index) in enumerate(references.tolist()):
            if length and length * itemsize > self.heaps.get(address, {}).get(index, -1):
                raise UserError(f"{self.path}: {name} is damaged at recording {row}; get the file again")
            total += length * itemsize
        if total > self.size:
            raise UserError(
                f"{self.path}: {name} claims {total} bytes, the file has {self.size}; get it again"
            )


@contextmanager
def open_hdf5(path: Path) -> Iterator[HDF5]:
    """Open an HDF5 file for reading, through an unnamed temporary file when it is gzip-compressed.

    Args:
        path: The .h5 or .h5.gz file.

    Raises:
        UserError: It unpacks to more than 16 GB, or a heap in it is damaged.
        OSError: It is not an HDF5 file (`reprokit.files.reading.guarded` reports this).
    """
    import h5py

    with tempfile.TemporaryFile() as scratch, open_maybe_gzip(path) as source:
        raw, opened = source, path
        if not hasattr(source, "raw"):  # a plain file has a raw stream below its buffer, a gzip file does not
            _copy(path, source, scratch)
            raw, opened = scratch, scratch
        size = raw.seek(0, 2)
        heaps = _walk_heaps(path, raw) if size else {}
        raw.seek(0)
        with h5py.File(opened, "r") as file:
            if file.id.get_create_plist().get_sizes() != (8, 8) or file.userblock_size:
                raise UserError(f"{path}: is HDF5 of an unusual kind (short addresses or a user block)")
            yield HDF5(path, file, raw, size, heaps)


def _copy(path: Path, source: IO[bytes], target: IO[bytes]) -> None:
    """Copy a stream to a file, refusing endless streams."""
    while chunk := source.read(1 << 20):
        target.write(chunk)
        if target.tell() > _MAX_SIZE:
            raise UserError(f"{path}: unpacks to more than {_MAX_SIZE} bytes; get it again")
    target.flush()


def _walk_heaps(path: Path, file: IO[bytes]) -> dict[int, dict[int, int]]:
    """Return the objects of every global heap."""
    heaps = {}
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for match in _HEAP.finditer(data):
            if match.start() % 8 == 0:
                heaps[match.start()] = _walk(path, data, match.start())
    return heaps


def _walk(path: Path, data: mmap.mmap, start: int) -> dict[int, int]:
    """Follow the sizes in a heap from object to object to its end."""
    damage = UserError(f"{path}: the heap at byte {start} is damaged; get the file again")
    if start + _HEADER > len(data):
        raise damage
    end = start + struct.unpack_from("<Q", data, start + 8)[0]
    position, objects = start + _HEADER, {}
    if end > len(data):
        raise damage
    while position + _HEADER <= end:
        index, size = struct.unpack_from("<H6xQ", data, position)
        step = size if index == 0 else _HEADER + (size + 7) // 8 * 8
        if step < _HEADER or position + step > end:
            raise damage
        if index:
            objects[index] = size
        position += step
    return objects
