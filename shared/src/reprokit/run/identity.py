"""What a run used: digests of its data set and of the files it read, kept in `data.json` beside its configuration.

A folder or file may change under the name that a configuration holds. The digests tell a resumed run that it did,
and a reader which data a number belongs to. They are never part of `config.json` nor of the run id.
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
_BLOCK = 1 << 24  # bytes a call of the hash: large enough to be fast, small enough to be interrupted
Arrays = np.ndarray | Sequence[np.ndarray]


@dataclass(frozen=True)
class DataIdentity:
    """What data a run used: the whole set as it was read, of which the options then take a part.

        data = DataIdentity.of(load_images(source))          # as read: before scaling, splitting and any subset
        with RunDirectory(out, config) as run:
            run.identify(data, source=source)                 # refuses to resume with other data

    Attributes:
        name: The data set really used, as in a ledger row.
        digest: SHA-256 of its arrays in hexadecimal, by `digest_arrays`.
        samples: Samples of each part, for example ``{"train": 60000, "test": 10000}``.
        classes: Number of classes, None where there are none.
        code: Of a stored run: the commits of the programs that worked on it, in order.
    """

    name: str
    digest: str
    samples: Mapping[str, int]
    classes: int | None = None
    code: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, splits: ImageSplits | EventSplits | RecordingSplits) -> Self:
        """Identify a data set as this package reads it: the same set gives one digest in every package."""
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
        """The first 12 digits of the digest, for people."""
        return self.digest[:12]

    def plain(self) -> dict[str, Any]:
        """Return what `data.json` holds of the data."""
        samples = {part: int(count) for part, count in self.samples.items()}
        return {"name": self.name, "digest": self.digest, "samples": samples, "classes": self.classes}


def digest_arrays(parts: Mapping[str, Arrays]) -> str:
    """Return the SHA-256 of arrays: part name, dtype, shape and bytes in C order, parts in alphabetical order.

    60,000 images of 28 x 28 bytes take 0.03 s on a processor with SHA instructions; arrays are read in blocks and
    not copied, memory-mapped ones included.

    Args:
        parts: The arrays of each part, in an order that does not change; a single array is a list of one.

    Raises:
        UserError: An array holds Python objects, whose bytes are addresses.
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
    """Return what `data.json` holds from now on: what is there, and what is given for the first time.

    Args:
        there: What it holds.
        data: The data set now.
        files: The files now, by what the run uses them for, such as "network".
        source: What the user called the data set; its name when empty.
        where: The run directory, for the message.

    Raises:
        UserError: The data set or a file is another than the one the run began with; the sentence names it.
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
    """Return the data set that the content of `data.json` names, None where it names none."""
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
