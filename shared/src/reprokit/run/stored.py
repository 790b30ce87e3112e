"""Reading a run from its folder, without writing to it."""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from reprokit.config import read_values
from reprokit.errors import UserError
from reprokit.files.reading import array_of, guarded
from reprokit.run.checkpoint import BEST, LAST, Checkpoint, Checkpoints, DamagedCheckpoint, read_checkpoint
from reprokit.run.identity import IDENTITY, DataIdentity, read_identity
from reprokit.run.provenance import run_id

CONFIG, OPTIONS, LOG, SUMMARY = "config.json", "options.json", "metrics.jsonl", "summary.json"
DIGESTS = "digests.json"  # SHA-256 of each file written in one piece, and of the one it replaced
_KEYS_0_1 = {
    "tau_cur": "dalton",
    "n_delays": "denram",
    "astrocyte_weight": "nalsm",
    "fb_scale": "bdfa",
    "learning": "sbs",
}
_AGAIN = "restore it or train again"


@dataclass(frozen=True)
class StoredRun:
    """A run as stored in its folder, finished or not.

    Attributes:
        path: The folder.
        package: The package that made it.
        config: The settings that determine its numbers.
        options: All options it was started with, paths included; empty for version 0.1, which kept none.
        records: The complete records of its log.
        summary: The summary written by `finish`; None if the run is not finished.
    """

    path: Path
    package: str
    config: dict[str, Any]
    options: dict[str, Any]
    records: list[dict[str, Any]]
    summary: dict[str, Any] | None

    def checkpoint(self, which: Literal["last", "best"] = "last") -> Checkpoint:
        """Return the newest checkpoint of the folder `checkpoints` or `best`.

        Raises:
            UserError: There is none yet, it is damaged, or `which` is another word.
        """
        if which not in ("last", "best"):
            raise UserError(f"which is {which!r}; it must be last or best")
        folder = self.path / (LAST if which == "last" else BEST)
        files = Checkpoints(folder).newest_first()
        if not files:
            raise UserError(
                f"{folder} has no checkpoint yet; continue with the run by `{self.package} train`"
            )
        try:
            return read_checkpoint(files[0])
        except DamagedCheckpoint as error:
            raise UserError(f"{error}; delete it to use the one before, or train again") from error

    def array(
        self, name: str, *, shape: tuple[int | None, ...] | None = None, dtype: Any = None
    ) -> "np.ndarray[Any, Any]":
        """Return an array that the run wrote.

        Args:
            name: The file, with or without .npy.
            shape: Its shape, with None for any length; not checked if left out.
            dtype: Its dtype; not checked if left out.

        Raises:
            UserError: The file is missing, damaged, or contains another kind of array.
        """
        file = name if name.endswith(".npy") else f"{name}.npy"
        if not (self.path / file).is_file():
            raise UserError(f"{self.path / file} is missing; continue with the run by `{self.package} train`")
        with guarded(self.path / file, "an array", _AGAIN):
            array = array_of(np.load(io.BytesIO(read_whole(self.path, file)), allow_pickle=False))
        fits = shape is None or (
            len(shape) == array.ndim and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        )
        if not fits or (dtype is not None and array.dtype != np.dtype(dtype)):
            wanted = f"{dtype and np.dtype(dtype)} {shape}".replace("None", "any")
            raise UserError(f"{self.path / file} holds {array.dtype} {array.shape}, not {wanted}; {_AGAIN}")
        return array

    def identity(self) -> DataIdentity | None:
        """Return the data it used; None for a run of an older version, which did not record them.

        Raises:
            UserError: `data.json` is damaged.
        """
        return stored_identity(self.path)

    def describe(self) -> list[str]:
        """Return what `info` prints for every run: id, data, configuration, progress, result, one value per line."""
        goes_on = f"not finished: the same `{self.package} train` command continues"
        state = f"{goes_on if self.summary is None else 'finished'}, {len(self.records)} records"
        head = {"run": self.path, "run id": run_id(self.config), "state": state} | self._used()
        parts = [head, self.config, self.records[-1] if self.records else {}, self.summary or {}]
        blocks = [[f"{name:24s} {_short(value)}" for name, value in flat(part)] for part in parts if part]
        return [line for number, block in enumerate(blocks) for line in (*[""][: number > 0], *block)]

    def _used(self) -> dict[str, str]:
        """Return a line on the data set and one on each file that the run recorded."""
        data, files = self.identity(), read_identities(self.path).get("files", {})
        lines = {
            f"{use} file": f"{file['path']} (SHA-256 {file['sha256'][:12]})" for use, file in files.items()
        }
        if data is None:
            return lines
        samples = ", ".join(f"{count} {part}" for part, count in data.samples.items())
        return {"data used": f"{data.name} (SHA-256 {data.short}), {samples}"} | lines


def read_run(path: str | Path, *, package: str) -> StoredRun:
    """Read the run of `package` in folder `path`; nothing is written.

    Raises:
        UserError: The folder contains no run, one of another program, or a damaged file, which is named.
    """
    folder = Path(path)
    config = _stored(folder, CONFIG)
    if config is None:
        raise UserError(
            f"{folder} holds no run ({CONFIG} is missing); give the folder that `{package} train` named"
        )
    options = _stored(folder, OPTIONS) or {}
    owner = owner_of(config, options)
    if owner != package:
        raise UserError(f"{folder} holds a run of {owner}; give a folder that `{package} train` named")
    summary = _stored(folder, SUMMARY)
    options.pop("package", None)
    return StoredRun(folder, package, config, options, read_records(folder / LOG), summary)


def read_config(path: str | Path) -> dict[str, Any] | None:
    """Read the configuration of the run in folder `path`.

    Returns:
        The configuration, or None if the folder contains no run.

    Raises:
        UserError: `config.json` is not a JSON object.
    """
    file = Path(path) / CONFIG
    return read_values(file) if file.exists() else None


def read_records(log: Path) -> list[dict[str, Any]]:
    """Return all complete records of a log, in order; a last line truncated by a crash does not count.

    Raises:
        UserError: A line is not a JSON object; the message names it.
    """
    complete = read_whole(log.parent, log.name).rpartition(b"\n")[0] if log.exists() else b""
    records = []
    for number, line in enumerate(complete.split(b"\n") if complete else [], start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise UserError(f"{log} line {number} is damaged; remove the line or start in another folder")
        records.append(record)
    return records


def owner_of(config: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Name the package that made a run, from its options, or for version 0.1 from a key of its configuration."""
    text = json.dumps(config)  # the configurations of networks trained together are one level deeper
    known = [name for key, name in _KEYS_0_1.items() if f'"{key}":' in text]
    return str(options.get("package") or config.get("package") or (known or ["another program"])[0])


def read_digests(folder: Path) -> dict[str, Any]:
    """Return the digests that the run in `folder` recorded of its files; empty for a run of version 0.1.

    Raises:
        UserError: The file cannot be read, or is of another program.
    """
    digests = read_values(folder / DIGESTS) if (folder / DIGESTS).exists() else {}
    if not all(isinstance(noted, list) for noted in digests.values()):
        raise UserError(
            f"{folder / DIGESTS} holds no digests of files; restore it, or delete it to go unchecked"
        )
    return digests


def read_identities(folder: Path) -> dict[str, Any]:
    """Return what the run in `folder` recorded of its data and files; empty if it recorded nothing.

    Raises:
        UserError: `data.json` is damaged or of another form.
    """
    values = _stored(folder, IDENTITY) or {}
    with guarded(folder / IDENTITY, "the record of a run's data", _AGAIN):
        read_identity(values)
        if not isinstance(values.get("code", []), list):
            raise ValueError("code is not a list")
        for file in values.get("files", {}).values():
            _ = file["path"], file["sha256"]
    return values


def stored_identity(folder: str | Path) -> DataIdentity | None:
    """Return the data that the run in `folder` recorded, for its ledger row, or None.

    Raises:
        UserError: `data.json` is damaged or of another form.
    """
    return read_identity(read_identities(Path(folder)))


def _stored(folder: Path, name: str) -> dict[str, Any] | None:
    """Read an object that a run wrote and check its digest; None if there is no such file."""
    if not (folder / name).exists():
        return None
    values = read_values(folder / name)
    read_whole(folder, name)
    return values


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings under dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _short(value: Any) -> Any:
    return f"({len(value)} values)" if isinstance(value, list) and len(value) > 8 else value


def read_whole(folder: Path, name: str) -> bytes:
    """Read a file of a run and check its digest, if there is one."""
    with guarded(folder / name, "a file of a run", _AGAIN):
        data = (folder / name).read_bytes()
    noted = read_digests(folder).get(name)
    growing = name == LOG and not (folder / SUMMARY).exists()
    if noted and not growing and hashlib.sha256(data).hexdigest() not in str(noted):
        raise UserError(
            f"{folder / name} was altered or is of another program: its SHA-256 is not in {DIGESTS}; "
            "restore it or choose another folder"
        )
    return data
