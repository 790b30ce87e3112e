"""The content of a data set's folder: relative path, size, time stamp and SHA-256 of every file.

Opening compares size and time stamp, and hashes a file only if its time stamp has changed; `verify` hashes all.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from reprokit.files.atomic import atomic_write

NAME = "manifest.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Digests:
    """Size of a file in bytes, and its digests in hexadecimal; some publishers state only the MD5."""

    size: int
    md5: str
    sha256: str


def digest_file(path: Path) -> Digests:
    """Read a file once and return its size, MD5 and SHA-256."""
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            md5.update(chunk)
            sha256.update(chunk)
            size += len(chunk)
    return Digests(size, md5.hexdigest(), sha256.hexdigest())


@dataclass(frozen=True)
class Entry:
    """State of a file when its checksum was taken: bytes, modification time in nanoseconds, SHA-256 in hexadecimal."""

    size: int
    mtime_ns: int
    sha256: str


def describe(path: Path, sha256: str | None = None) -> Entry:
    """Return the entry of a file, hashing it unless its SHA-256 is given."""
    state = path.stat()
    return Entry(state.st_size, state.st_mtime_ns, sha256 or digest_file(path).sha256)


def load(folder: Path) -> dict[str, Entry]:
    """Read a folder's manifest; empty if absent or unreadable, so that all files are checked again."""
    try:
        stored = json.loads((folder / NAME).read_text("utf-8"))
        return {str(name): Entry(**entry) for name, entry in stored["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def save(folder: Path, entries: dict[str, Entry]) -> None:
    """Write a folder's manifest atomically."""
    files = {name: asdict(entry) for name, entry in sorted(entries.items())}
    atomic_write(folder / NAME, json.dumps({"files": files}, indent=1).encode("utf-8"))


def unchanged(path: Path, entry: Entry, *, thorough: bool = False) -> bool:
    """Tell whether a file still has the content its entry describes.

    Args:
        path: The file.
        entry: Its recorded state.
        thorough: Hash even if size and time stamp agree.
    """
    try:
        state = path.stat()
        if state.st_size != entry.size:
            return False
        if state.st_mtime_ns == entry.mtime_ns and not thorough:
            return True
        return digest_file(path).sha256 == entry.sha256
    except OSError:
        return False


def damaged(
    folder: Path, names: Iterable[str], entries: dict[str, Entry], *, thorough: bool = False
) -> list[str]:
    """List the names that are not recorded, or whose file is missing or differs from its record."""
    return [
        name
        for name in names
        if name not in entries or not unchanged(folder / name, entries[name], thorough=thorough)
    ]
