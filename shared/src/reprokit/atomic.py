"""Write files so that at any moment, even after a crash, a reader finds the old or the new one whole."""

import os
from contextlib import suppress
from pathlib import Path

from reprokit.errors import UserError


def atomic_write(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: temporary file in the same folder, fsync, rename, fsync of the folder.

    Args:
        path: The file to create or replace; its folder must exist.
        data: The complete new content.

    Raises:
        OSError: The disk is full or the place is not writable; `path` is then as it was before.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in `folder` survive a power cut, where the system can (not on Windows)."""
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files of writers killed in `folder`; call it only as the folder's one writer."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def make_folder(folder: Path, purpose: str) -> None:
    """Create `folder` with its parents.

    Args:
        folder: The folder to create; an existing one is fine.
        purpose: What it is for, as the error message should call it, for example "run directory".

    Raises:
        UserError: The folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot create the {purpose} {folder}: {error.strerror}; choose a folder you may write to"
        ) from error


def append_whole(descriptor: int, data: bytes) -> None:
    """Append `data` by one write and fsync; after a short write (disk full) the file is as before.

    Args:
        descriptor: Opened with O_APPEND, by the only writer at this moment.
        data: Complete lines.

    Raises:
        OSError: Nothing was appended.
    """
    before = os.fstat(descriptor).st_size
    try:
        written = os.write(descriptor, data)
        while written < len(data):  # the system says why only when asked to write the rest
            written += os.write(descriptor, data[written:])
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise
