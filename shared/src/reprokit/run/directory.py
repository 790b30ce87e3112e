"""The folder of one run: its configuration, its log, its arrays, and whether it is finished."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from reprokit.errors import UserError
from reprokit.files.atomic import append_whole, make_folder, remove_leftovers, write_array, write_file
from reprokit.files.locking import acquire
from reprokit.run.provenance import canonical_json, plain, run_id

CONFIG, LOG, SUMMARY, LOCK = "config.json", "metrics.jsonl", "summary.json", ".run.lock"
PATIENCE = 6.0  # seconds for the helper processes of a killed run to notice and let go of the folder


class RunDirectory:
    """A run's folder, owned by one process until `close`, `finish`, the end of its `with` block or process.

    Files: `config.json` (the whole configuration), `metrics.jsonl` (one JSON object a line), `summary.json`
    (there only when the run is finished), and whatever the run writes. Each file is replaced whole, the log
    grows by whole lines; a line that a crash cut short is dropped when the folder is opened again.

    Args:
        path: The folder; created when absent.
        config: Everything that determines the result.
        resume: Whether a run of the same configuration may be there already and go on.

    Raises:
        UserError: The folder holds a run of another configuration (the differing keys are named), or any run
            with `resume=False`; another process uses it; it cannot be written; its files are damaged.
    """

    def __init__(self, path: str | Path, config: Mapping[str, Any], *, resume: bool = True) -> None:
        self.path = Path(path)
        self.config: dict[str, Any] = plain(config)
        self.run_id = run_id(config)
        make_folder(self.path, "run directory")
        self._lock = acquire(
            self.path / LOCK,
            patience=PATIENCE,
            wait_for_self=False,
            busy=f"run directory {self.path} is in use by another run; wait for it or choose another folder",
        )
        try:
            self._open(resume)
        except BaseException:
            self.close()
            raise

    def _open(self, resume: bool) -> None:
        remove_leftovers(self.path)
        existing = read_config(self.path)
        if existing is None:
            self.write_text(CONFIG, json.dumps(self.config, indent=2, sort_keys=True) + "\n")
            return
        if not resume:
            raise UserError(
                f"run directory {self.path} holds a run already; choose another folder or resume it"
            )
        if canonical_json(existing) != canonical_json(self.config):
            raise UserError(_difference(self.path, existing, self.config))
        self._drop_torn_line()

    @property
    def finished(self) -> bool:
        """Whether `finish` was reached."""
        return (self.path / SUMMARY).exists()

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file of the run in one piece (UTF-8) and return its path."""
        return write_file(self._inside(name), text)

    def write_array(self, name: str, array: "np.ndarray[Any, Any]") -> Path:
        """Write `array` as .npy in one piece and return its path; object arrays are refused (no pickle)."""
        return write_array(self._inside(name if name.endswith(".npy") else f"{name}.npy"), array)

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record to the log; when this returns, the record survives a crash.

        Args:
            record: Plain values; NaN and infinities are kept, in Python's JSON spelling.
        """
        line = json.dumps(record, default=_number) + "\n"
        append_whole(self.path / LOG, line.encode())

    def records(self) -> list[dict[str, Any]]:
        """Return all complete records of the log, in order.

        Raises:
            UserError: A line is no JSON object; the message names it.
        """
        log = self.path / LOG
        if not log.exists():
            return []
        complete = log.read_bytes().rpartition(b"\n")[0]
        lines = complete.split(b"\n") if complete else []
        return [self._record(number, line) for number, line in enumerate(lines, start=1)]

    def _record(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise UserError(
                f"{self.path / LOG} line {number} is damaged; remove the line or start in another folder"
            )
        return record

    def rewind_log(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the records that a resumed run will write again.

        Args:
            keep: Tells of each record whether it belongs to the part before the checkpoint.
        """
        records = self.records()
        kept = [record for record in records if keep(record)]
        if len(kept) < len(records):
            self.write_text(LOG, "".join(json.dumps(record) + "\n" for record in kept))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`, which marks the run as finished, and release the folder."""
        self.write_text(SUMMARY, json.dumps(summary, indent=2, default=_number) + "\n")
        self.close()

    def summary(self) -> dict[str, Any]:
        """Return what `finish` wrote.

        Raises:
            UserError: The run is not finished, or the file is damaged.
        """
        return _read_object(self.path / SUMMARY)

    def close(self) -> None:
        """Release the folder to other processes; may be called more than once."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _inside(self, name: str) -> Path:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{name!r} leaves the run directory")
        return self.path / name

    def _drop_torn_line(self) -> None:
        log = self.path / LOG
        if log.exists():
            data = log.read_bytes()
            complete = data.rfind(b"\n") + 1
            if complete < len(data):
                os.truncate(log, complete)


def read_config(path: str | Path) -> dict[str, Any] | None:
    """Read the configuration of the run in folder `path`.

    Returns:
        The configuration, or None when the folder holds no run.

    Raises:
        UserError: `config.json` is no JSON object.
    """
    file = Path(path) / CONFIG
    return _read_object(file) if file.exists() else None


def _read_object(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON ({error}); choose another folder") from error
    if not isinstance(value, dict):
        raise UserError(f"{file} holds no JSON object; choose another folder")
    return value


def _difference(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say which keys differ between the run on disk and the one asked for."""
    absent = "(absent)"
    # as text, because Python takes 1, 1.0 and True for equal and the configuration's hash does not
    pairs = {key: (repr(old.get(key, absent)), repr(new.get(key, absent))) for key in sorted({*old, *new})}
    keys = [key for key, (there, now) in pairs.items() if there != now]
    shown = ", ".join(f"{key} {pairs[key][0]} there, {pairs[key][1]} now" for key in keys[:8])
    more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
    return (
        f"run directory {path} holds a run of another configuration: {shown}{more}; "
        "choose another folder or repeat the old configuration"
    )


def _number(value: Any) -> Any:
    """Let the log take NumPy scalars and arrays (their exact values)."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return plain(value, "record")
