"""The data files this project knows, read from `catalog.toml`: address, size, checksum and licence."""

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from reprokit.errors import UserError


@dataclass(frozen=True)
class DataFile:
    """One published file.

    Args:
        name: File name in the cache and in mirrors.
        urls: Complete addresses, tried in this order.
        md5: Hexadecimal MD5, None if only the SHA-256 is published.
        sha256: Hexadecimal SHA-256, None if only the MD5 is published.
        size: Bytes, None if not published.
        unpack: Whether it is an archive to be extracted into a folder of the same name.
    """

    name: str
    urls: tuple[str, ...]
    md5: str | None = None
    sha256: str | None = None
    size: int | None = None
    unpack: bool = False


@dataclass(frozen=True)
class Dataset:
    """A data set: its files and its licence.

    Args:
        name: Name on the command line.
        title: Full name.
        homepage: Its authors' description.
        licence: Its terms, as stated by its authors.
        files: The files to download.
    """

    name: str
    title: str
    homepage: str
    licence: str
    files: tuple[DataFile, ...]

    @property
    def size(self) -> int | None:
        """Bytes to download, None if some size is not published."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)


def _dataset(name: str, at: list[str], files: list[dict[str, Any]], **about: str) -> Dataset:
    """Build a data set from its table."""
    found = []
    for file in files:
        place = file.pop("id", file["name"])
        found.append(DataFile(urls=tuple(base.format(name=place) for base in at), **file))
    return Dataset(name=name, files=tuple(found), **about)


_TABLES = tomllib.loads((resources.files("reprokit.data") / "catalog.toml").read_text("utf-8"))
DIGESTS: dict[str, str] = _TABLES.pop("digests")  # SHA-256 of the arrays of a whole set, by the set's name
CATALOG = {name: _dataset(name, **table) for name, table in _TABLES.items()}


def find_dataset(name: str) -> Dataset:
    """Look up a data set.

    Raises:
        UserError: There is no data set of that name.
    """
    if name not in CATALOG:
        raise UserError(f"unknown data set {name!r}; known are {', '.join(CATALOG)}")
    return CATALOG[name]
