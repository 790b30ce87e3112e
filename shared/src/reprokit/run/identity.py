"""What a run used: digests of its data set and of the files it read, kept in `data.json` next to its configuration.

A folder or file may change while its name in the configuration stays the same. The digests tell a resumed run
that it did, and a reader to which data a number belongs. They are never part of `config.json` or of the run id.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from reprokit.errors import UserError
from reprokit.files.reading import guarded
from reprokit.types import EventSplits, ImageSplits, RecordingSplits

IDENTITY = "data.json"
_BLOCK = 1 << 24  # bytes per call of the hash: large enough to be fast, small enough to be interruptible
Arrays = np.ndarray | Sequence[np.ndarray]


@dataclass(frozen=True)
class DataIdentity:
    """The data that a run used: the whole set as it was read, before the options select a part.

        data = DataIdentity.of(load_images(source))          # as read: before scaling, splitting and any subset
        with RunDirectory(out, config) as run:
            run.identify(data, source=source)                 # refuses to resume with other data

    Attributes:
        name: The data set really used, as in a ledger row.
        digest: SHA-256 of its arrays in hexadecimal, by `digest_arrays`.
        samples: Number of samples in each part, for example ``{"train": 60000, "test": 10000}``.
        classes: Number of classes, None if there are none.
        code: For a stored run: the commits of the programs that worked on it, in order.
    """

    name: str
    digest: str
    samples: Mapping[str, int]
    classes: int | None = None
    code: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, splits: ImageSplits | EventSplits | RecordingSplits) -> Self:
        """Identify a data set as this package reads it: the same set has the same digest in every package."""
        parts = {"train": splits.train, "test": splits.test}
        if isinstance(splits, RecordingSplits) and splits.validation is not None:
            parts["validation"] = splits.validation
        # not dataclasses.astuple, which would copy the arrays
        arrays = {
            part: [array for array in vars(data).values() if array is not None]
            for part, data in parts.items()
        }
        samples = {part: len(data) for part, data in parts.items()}
        return cls(splits.name, digest_arrays(arrays), samples, splits.classes)

    @property
    def short(self) -> str:
        """The first 12 digits of the digest, for display."""
        return self.digest[:12]

    def plain(self) -> dict[str, Any]:
        """Return the entry of the data in `data.json`."""
        samples = {part: int(count) for part, count in self.samples.items()}
        return {"name": self.name, "digest": self.digest, "samples": samples, "classes": self.classes}


def digest_arrays(parts: Mapping[str, Arrays]) -> str:
    """Return the SHA-256 of arrays: part name, dtype, shape and bytes in C order, parts in alphabetical order.

    60,000 images of 28 x 28 bytes take 0.03 s on a processor with SHA instructions; arrays are read in blocks and
    not copied, memory-mapped ones included.

    Args:
        parts: The arrays of each part, in a fixed order; a single array is a list of one.

    Raises:
        UserError: An array contains Python objects, whose bytes are addresses.
    """
    digest = hashlib.sha256()
    for part in sorted(parts):
        given = parts[part]
        arrays = [given] if isinstance(given, np.ndarray) else [np.asarray(array) for array in given]
        digest.update(f"{len(part)} {part} {len(arrays)}\n".encode())
        for array in arrays:
            if array.dtype.hasobject:
                raise UserError(
                    f"part {part!r} holds an array of Python objects, which has no digest; give numbers"
                )
            digest.update(f"{array.dtype.str} {array.shape}\n".encode())
            _feed(digest, array)
    return digest.hexdigest()


def _feed(digest: Any, array: np.ndarray) -> None:
    """Hash the bytes of an array in C order, block by block."""
    if array.flags.c_contiguous:
        content = array.reshape(-1).view(np.uint8)
        for start in range(0, len(content), _BLOCK):
            digest.update(content[start : start + _BLOCK])
    else:
        rows = max(1, _BLOCK * len(array) // max(1, array.nbytes))
        for start in range(0, len(array), rows):
            digest.update(np.ascontiguousarray(array[start : start + rows]).reshape(-1).view(np.uint8))


def digest_file(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        UserError: It cannot be read.
    """
    path = Path(path)
    with guarded(path, "a file that can be read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compared(
    there: Mapping[str, Any],
    data: DataIdentity | None,
    files: Mapping[str, Path],
    *,
    source: str,
    where: Path,
) -> dict[str, Any]:
    """Return the new content of `data.json`: existing entries, and those given for the first time.

    Args:
        there: Its present content.
        data: The present data set.
        files: The present files, by their purpose, such as "network".
        source: The user's name for the data set; if empty, its own name.
        where: The run directory, for the message.

    Raises:
        UserError: The data set or a file is not the one that the run began with; the message names it.
    """
    known: dict[str, Any] = dict(there)
    known |= {"data": dict(there.get("data") or {}), "files": dict(there.get("files") or {})}
    if data is not None:
        _same(f"data set {source or data.name}", known["data"].get("digest"), data.digest, where)
        known["data"] = known["data"] or data.plain()
    for use, path in files.items():
        entry = {"path": Path(path).name, "sha256": digest_file(path)}
        _same(f"{use} file {path}", known["files"].get(use, {}).get("sha256"), entry["sha256"], where)
        known["files"].setdefault(use, entry)
    return {kind: values for kind, values in known.items() if values}


def read_identity(values: Mapping[str, Any]) -> DataIdentity | None:
    """Return the data set that the content of `data.json` names, or None."""
    if "data" not in values:
        return None
    data = values["data"]
    samples = {str(part): int(count) for part, count in data["samples"].items()}
    code = tuple(str(commit) for commit in values.get("code", ()))
    return DataIdentity(str(data["name"]), str(data["digest"]), samples, data.get("classes"), code)


def _same(what: str, there: str | None, now: str, where: Path) -> None:
    if there not in (None, now):
        raise UserError(
            f"the {what} changed since the run in {where} began (SHA-256 {str(there)[:12]} there, {now[:12]} now); "
            "restore it or choose another folder"
        )
