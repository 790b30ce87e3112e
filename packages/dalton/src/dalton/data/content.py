"""Hashes of what data hold, by which caches are named: the same content anywhere finds the same cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from reprokit import EventSplits
from reprokit.data.manifest import digest_file


def path_digest(path: Path, suffixes: tuple[str, ...]) -> str:
    """Return a hash of a file, or of the names and contents of a folder's files with one of the suffixes."""
    if path.is_file():
        return digest_file(path).sha256
    found = [file for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file()]
    return combined_digest((file.relative_to(path).as_posix(), digest_file(file).sha256) for file in found)


def events_digest(events: EventSplits) -> str:
    """Return a hash of recordings in memory."""
    digest = hashlib.sha256(repr((events.sensor, events.class_names)).encode())
    for part in (events.train, events.test):
        for column in (part.t, part.x, part.y, part.p, part.offsets, part.labels):
            digest.update(column.tobytes())
    return digest.hexdigest()


def combined_digest(entries: Iterable[tuple[str, str]]) -> str:
    """Return a hash of names and hashes, whatever their order."""
    lines = (f"{name} {digest}" for name, digest in sorted(entries))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
