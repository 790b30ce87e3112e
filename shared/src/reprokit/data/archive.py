"""Staged extraction of untrusted archives.

Everything is written to ``<target>.tmp-<pid>`` and renamed when complete and on the disk; members are not
flushed one by one, which would take minutes for tens of thousands of them. Refused: absolute paths, ``..``,
links, devices, duplicate names, more files or bytes than allowed, and content that expands more than a hundredfold.
"""

import stat
import tarfile
import zipfile
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from reprokit.data.cache import staged_store
from reprokit.errors import UserError
from reprokit.files.atomic import sync_tree
from reprokit.files.reading import guarded

MAX_FILES = 300_000
MAX_BYTES = 64 << 30
MAX_RATIO = 100
_FREE_RATIO = 1 << 20  # any archive may unpack to this many bytes
_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")


def folder_name(archive: str) -> str:
    """Return an archive's name without its suffix."""
    return next((archive.removesuffix(end) for end in _SUFFIXES if archive.endswith(end)), archive)


def extract(archive: Path, target: Path, *, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES) -> None:
    """Extract a zip or tar (.gz) archive into the new folder `target`; zips inside it are extracted too.

    Args:
        archive: The file.
        target: Folder to create; it appears only when complete.
        max_files: Maximum number of members.
        max_bytes: Maximum total size in bytes.

    Raises:
        UserError: A damaged or hostile archive; nothing is left behind.
    """
    allowance = min(max_bytes, max(_FREE_RATIO, archive.stat().st_size * MAX_RATIO))
    with staged_store(target) as staging, guarded(archive, "a zip or tar archive"):
        budget = _extract(archive, str(archive), staging, _Budget(archive, max_files, allowance))
        for inner in sorted(staging.rglob("*.zip")):
            _extract(inner, f"{archive}/{inner.name}", inner.with_suffix(""), budget)
            inner.unlink()
        sync_tree(staging)


class _Budget:
    """Counts files and bytes and refuses more than allowed."""

    def __init__(self, archive: Path, files: int, size: int) -> None:
        self.archive, self.files, self.size = archive, files, size

    def file(self) -> None:
        """Account for one member."""
        self.files -= 1
        if self.files < 0:
            raise UserError(f"{self.archive}: refused, it holds more files than allowed")

    def copy(self, source: IO[bytes], path: Path) -> None:
        """Write one member, counting its actual bytes."""
        with path.open("xb") as file:
            while chunk := source.read(1 << 20):
                self.size -= len(chunk)
                if self.size < 0:
                    raise UserError(
                        f"{self.archive}: refused, it unpacks to far more bytes than allowed (a bomb?)"
                    )
                file.write(chunk)


def _extract(archive: Path, shown: str, folder: Path, budget: _Budget) -> _Budget:
    """Extract one archive, called `shown` in messages, into `folder`."""
    seen: set[str] = set()
    with closing(_members(archive, shown)) as members:
        for name, opener in members:
            budget.file()
            path = folder / _checked(shown, name)
            if opener is None:
                path.mkdir(parents=True, exist_ok=True)
                continue
            key = path.as_posix().casefold()
            if key in seen:
                raise UserError(f"{shown}: refused, the name {name!r} occurs twice")
            seen.add(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            with opener() as source:
                budget.copy(source, path)
    return budget


def _checked(shown: str, name: str) -> PurePosixPath:
    """Return a member's path if it stays inside."""
    path = PurePosixPath(name.replace("\\", "/"))
    drive = len(name) > 1 and name[1] == ":"
    if path.is_absolute() or drive or ".." in path.parts or "\0" in name or not path.parts:
        raise UserError(f"{shown}: refused, the member {name!r} would land outside its folder")
    return path


def _members(archive: Path, shown: str) -> Generator[tuple[str, Callable[[], Any] | None], None, None]:
    """Yield name and opener (None for a folder) of every member; all must be plain files or folders."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise UserError(f"{shown}: refused, {entry.filename!r} is a link or device")
                yield entry.filename, None if entry.is_dir() else partial(opened.open, entry)
        return
    with tarfile.open(archive, "r|*") as opened:
        for member in opened:
            if not (member.isreg() or member.isdir()):
                raise UserError(f"{shown}: refused, {member.name!r} is a link or device")
            yield member.name, None if member.isdir() else partial(opened.extractfile, member)
