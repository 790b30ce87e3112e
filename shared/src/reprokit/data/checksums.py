"""Digests of files."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Digests:
    """Size and digests of a file's content.

    Args:
        size: Bytes.
        md5: Hexadecimal; the only thing some publishers state.
        sha256: Hexadecimal.
    """

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
