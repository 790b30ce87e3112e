"""Write files so that a reader always finds the complete old or new one, even after a crash."""

import ctypes
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from reprokit.errors import UserError


def atomic_write(path: Path, data: bytes) -> None:
    """Replace `path` with `data`: temporary file in the same folder, fsync, rename, fsync of the folder.

    Args:
        path: The file to create or replace; its folder must exist.
        data: The complete new content.

    Raises:
        OSError: The disk is full or not writable; `path` is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def write_file(path: str | Path, data: bytes | str) -> Path:
    """Create the folder of `path` and write the file atomically: readers always find the old or the new one.

    Args:
        path: The file to create or replace.
        data: The complete new content; text is written as UTF-8 with its own line endings.

    Returns:
        The path.

    Raises:
        UserError: The folder cannot be created.
        OSError: The disk is full or not writable; the error names the file, which is unchanged.
    """
    path = Path(path)
    make_folder(path.parent, f"folder of {path.name}")
    atomic_write(path, data.encode() if isinstance(data, str) else data)
    return path


def write_array(path: str | Path, array: "np.ndarray[Any, Any]") -> Path:
    """Write an array as .npy, like `write_file`; object arrays are refused with a ValueError (no pickle)."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return write_file(path, buffer.getvalue())


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make an OSError from inside name `path`, because writing to a descriptor does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in `folder` survive a power cut, if the system can (not on Windows)."""
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Make all files below `folder` survive a power cut, with a single call if the system has one.

    Linux has `syncfs`, which also reports write failures; elsewhere each file is flushed separately.

    Raises:
        OSError: Something did not reach the disk.
    """
    if sys.platform == "linux":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(folder))
        finally:
            os.close(descriptor)
        return
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files of killed writers in `folder`; only the folder's sole writer may call this."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def make_folder(folder: Path, purpose: str) -> None:
    """Create `folder` with its parents.

    Args:
        folder: The folder to create; an existing one is fine.
        purpose: Its purpose in the error message, for example "run directory".

    Raises:
        UserError: The folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot create the {purpose} {folder}: {error.strerror}; choose a folder you may write to"
        ) from error


def append_whole(path: Path, data: bytes, *, head: bytes = b"") -> None:
    """Append `data` to a file with one write and fsync; after a short write (disk full) the file is unchanged.

    Args:
        path: The file, created if absent; the caller must be its only writer at this moment.
        data: Complete lines.
        head: Lines to put before `data` into an empty file.

    Raises:
        OSError: Nothing was appended.
    """
    with naming(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            before = os.fstat(descriptor).st_size
            _write_or_undo(descriptor, data if before else head + data, before)
        finally:
            os.close(descriptor)
        if before == 0:
            sync_folder(path.parent)


def _write_or_undo(descriptor: int, data: bytes, before: int) -> None:
    """Write all of `data` and flush it, or truncate the file to `before` bytes."""
    try:
        written = os.write(descriptor, data)
        while written < len(data):  # the system gives the reason only when asked to write the rest
            written += os.write(descriptor, data[written:])
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise
