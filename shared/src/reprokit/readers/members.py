"""The files of a data set that comes as a folder or a zip of it, read in the same way."""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reprokit.errors import UserError

MAX_FILE = 64 << 20  # bytes of one image or recording; real ones are kilobytes


@contextmanager
def members(path: Path) -> Iterator[tuple[list[str], Callable[[str], bytes]]]:
    """Return the names of all files below a folder or in a zip, and a function that reads one.

    Args:
        path: The folder or zip.

    Raises:
        UserError: A file that is read has more than 64 MB.
        zipfile.BadZipFile, OSError: `path` is neither (`reprokit.files.reading.guarded` reports this).
    """
    if path.is_dir():
        names = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]

        def read_file(name: str) -> bytes:
            _check_size(f"{path}/{name}", (path / name).stat().st_size)
            return (path / name).read_bytes()

        yield names, read_file
        return
    with zipfile.ZipFile(path) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist() if not entry.is_dir()}

        def read_entry(name: str) -> bytes:
            _check_size(f"{path}/{name}", sizes[name])
            return archive.read(name)

        yield list(sizes), read_entry


def _check_size(where: str, size: int) -> None:
    if size > MAX_FILE:
        raise UserError(
            f"{where}: has {size} bytes, more than the {MAX_FILE} allowed; it is not a file of this data set"
        )
