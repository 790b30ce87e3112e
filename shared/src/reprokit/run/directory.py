"""The folder of a run in progress: its configuration, its log, its arrays, and whether it is finished."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path, PurePath
from typing import Any, Self

import numpy as np

from reprokit.config import read_values
from reprokit.errors import UserError
from reprokit.files.atomic import append_whole, make_folder, remove_leftovers, write_file
from reprokit.files.locking import acquire
from reprokit.run import stored, watch
from reprokit.run.checkpoint import LAST, Checkpoint, Checkpoints
from reprokit.run.identity import IDENTITY, DataIdentity, compared
from reprokit.run.provenance import canonical_json, git_commit, plain, run_id
from reprokit.run.stored import CONFIG, DIGESTS, LOG, OPTIONS, SUMMARY, flat

LOCK = ".run.lock"
PATIENCE = 6.0  # seconds for the helper processes of a killed run to notice and release the folder
_opened: ContextVar[set[Path] | None] = ContextVar("_opened", default=None)  # inside `measured_again`


class DirectoryInUse(UserError):
    """Another process is working in the run directory."""


class RunDirectory:
    """A run's folder, owned by one process until `close`, `finish`, the end of its `with` block or process.

    Files: `config.json` (the whole configuration), `options.json`, `data.json` (what data it used, see `identify`),
    `metrics.jsonl` (one JSON object per line), `summary.json` (exists only if the run is finished), `digests.json`
    (SHA-256 of the files written in one piece), and whatever the run writes. Files are replaced atomically, and
    the log grows by complete lines; a line truncated by a crash is dropped when the folder is opened again.
    `reprokit.run.stored.read_run` reads it back.

    Args:
        path: The folder; created if absent.
        config: Everything that determines the result.
        options: All options as given, paths included, with the key "package"; kept in `options.json`.
        resume: Whether an existing run of the same configuration may continue.
        force: Whether to delete an existing run first: the files it wrote, and nothing else.
        files: Patterns of files that runs of this package write without `write_text` and `write_array`.

    Raises:
        UserError: The folder contains a run of another configuration (the differing keys are named), revision or
            program, or any run with `resume=False`; another process uses it; it cannot be written; its files
            are damaged.
    """

    def __init__(
        self,
        path: str | Path,
        config: Mapping[str, Any],
        *,
        options: Mapping[str, Any] | None = None,
        resume: bool = True,
        force: bool = False,
        files: Iterable[str] = (),
    ) -> None:
        self.path = Path(path)
        self.config: dict[str, Any] = plain(config)
        self.run_id = run_id(config)
        self._first = 1  # position of the first record of the log
        given = plain(options or {})
        make_folder(self.path, "run directory")
        self._accept(given, resume, force)  # before anything is written, and again once we own the folder
        self._lock = acquire(
            self.path / LOCK,
            patience=PATIENCE,
            wait_for_self=False,
            busy=f"run directory {self.path} is in use by another run; wait for it or choose another folder",
            error=DirectoryInUse,
        )
        try:
            delete = force or begins_anew(self.path)
            self._open(given, resume, list(files) if delete else None)
        except BaseException:
            self.close()
            raise

    def _accept(self, options: dict[str, Any], resume: bool, force: bool) -> dict[str, Any] | None:
        """Return the configuration of the run in the folder, or None; refuse a run of another program."""
        existing = stored.read_config(self.path)
        if existing is None:
            return None
        if force:
            kept = read_values(self.path / OPTIONS) if (self.path / OPTIONS).exists() else {}
            owner = stored.owner_of(existing, kept)
            if options and owner != options["package"]:
                raise UserError(
                    f"{self.path / CONFIG} is of another program ({owner}); choose another folder"
                )
        elif not resume:
            raise UserError(
                f"run directory {self.path} holds a run already; choose another folder or resume it"
            )
        elif canonical_json(existing) != canonical_json(self.config):
            raise UserError(_difference(self.path, existing, self.config))
        return existing

    def _open(self, options: dict[str, Any], resume: bool, delete: list[str] | None) -> None:
        remove_leftovers(self.path)
        existing = self._accept(options, resume, delete is not None)
        if existing is not None and delete is not None:
            self._delete(delete)
            existing = None
        if existing is None:
            for name in (DIGESTS, IDENTITY):  # left by a run that was deleted by hand
                (self.path / name).unlink(missing_ok=True)
            self.write_text(CONFIG, json.dumps(self.config, indent=2, sort_keys=True) + "\n")
        self._drop_torn_line()
        if options and not self.finished:
            self.write_text(OPTIONS, json.dumps(options, indent=2, sort_keys=True) + "\n")

    def _delete(self, patterns: list[str]) -> None:
        """Delete the files of a run, its configuration last, and then empty folders."""
        stored.read_whole(self.path, CONFIG)
        found = [file for name in ("**/checkpoint-*.safetensors", *patterns) for file in self.path.glob(name)]
        noted = [self._inside(name) for name in stored.read_digests(self.path)]
        for file in (
            *found,
            *noted,
            *(self.path / name for name in (SUMMARY, LOG, OPTIONS, IDENTITY, DIGESTS)),
        ):
            if file != self.path / CONFIG:
                file.unlink(missing_ok=True)
        for folder in sorted({file.parent for file in (*found, *noted)} - {self.path}, reverse=True):
            with suppress(OSError):  # it contains something else
                folder.rmdir()
        (self.path / CONFIG).unlink()

    @property
    def finished(self) -> bool:
        """Whether `finish` was called."""
        return (self.path / SUMMARY).exists()

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file of the run in one piece (UTF-8) and return its path."""
        return self.write_bytes(name, text.encode())

    def write_array(self, name: str, array: "np.ndarray[Any, Any]") -> Path:
        """Write `array` as .npy in one piece and return its path; object arrays are refused (no pickle)."""
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        return self.write_bytes(name if name.endswith(".npy") else f"{name}.npy", buffer.getvalue())

    def identify(
        self,
        data: DataIdentity | None = None,
        *,
        source: str = "",
        files: Mapping[str, str | Path] | None = None,
    ) -> None:
        """Record in `data.json` what data and files this run uses, or compare them with the record.

            run.identify(DataIdentity.of(splits), source=config.data, files={"network": config.network})

        Call it at every start, once the data are read and before the first step. Missing entries are added to
        `data.json`, so a run of an older version gets its record now, with nothing to compare. The commit of
        the program is recorded too, so that a row cannot pass as clean if part of the run came from a modified working
        tree.

        Args:
            data: The data set; None: not recorded.
            source: The user's name for the data set, for the message.
            files: Files that affect the result and are not in the configuration, by their purpose.

        Raises:
            UserError: The data set or a file has changed since the run began; the message names it.
        """
        held = stored.read_identities(self.path)
        now = compared(
            held,
            data,
            {use: Path(path) for use, path in (files or {}).items()},
            source=source,
            where=self.path,
        )
        if not self.finished and git_commit() not in now.get("code", []):
            now["code"] = [*now.get("code", []), git_commit()]
        if now != held and not self.finished:
            self.write_text(IDENTITY, json.dumps(now, indent=2) + "\n")

    def checkpoints(self, name: str = LAST, keep: int = 2) -> Checkpoints:
        """Return the checkpoints in folder `name` of the run."""
        return Checkpoints(self._inside(name), keep)

    def continue_from(self, position: str, *, first: int = 1) -> Checkpoint | None:
        """Return the newest complete checkpoint, and truncate the log to it (to nothing without one).

        Args:
            position: Key of the log's records that counts progress, for example "epoch". The checkpoint's own
                progress is in its state under the same key, otherwise its step.
            first: The position of the first record: 0 if epochs are counted from 0.
        """
        self._first = first
        found = self.checkpoints().load_latest()
        done = 0 if found is None else int(found.state.get(position, found.step))
        self.rewind_log(lambda record: found is not None and int(record.get(position, 0)) < done + first)
        return found

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record to the log; when this returns, the record survives a crash.

        Args:
            record: Plain values; NaN and infinities are kept, in Python's JSON spelling.
        """
        line = json.dumps(record, default=_number) + "\n"
        append_whole(self.path / LOG, line.encode())
        watch.logged(record, self.config, self._first)

    def records(self) -> list[dict[str, Any]]:
        """Return all complete records of the log, in order; see `stored.read_records` for what is refused."""
        return stored.read_records(self.path / LOG)

    def rewind_log(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the records that a resumed run will write again.

        Args:
            keep: Tells whether a record precedes the checkpoint.
        """
        records = self.records()
        kept = [record for record in records if keep(record)]
        if len(kept) < len(records):
            write_file(self.path / LOG, "".join(json.dumps(record) + "\n" for record in kept))

    def finish(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """Write `summary.json`, which marks the run as finished, release the folder, and return the summary."""
        if (self.path / LOG).exists():
            self._note(LOG, (self.path / LOG).read_bytes())
        self.write_text(SUMMARY, json.dumps(summary, indent=2, default=_number) + "\n")
        self.close()
        return self.summary()

    def summary(self) -> dict[str, Any]:
        """Return the summary that `finish` wrote.

        Raises:
            UserError: The run is not finished, or the file is damaged.
        """
        return read_values(self.path / SUMMARY)

    def close(self) -> None:
        """Release the folder to other processes; may be called more than once."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write_bytes(self, name: str, data: bytes) -> Path:
        """Write a file in one piece and return its path.

        Its digest is recorded in such a way that, after a kill at any moment, the record matches or is absent.
        """
        path, key = self._inside(name), PurePath(name).as_posix()
        fresh = not path.exists()
        self._note(key, *([] if fresh else [path.read_bytes(), data]))
        write_file(path, data)
        if fresh:
            self._note(key, data)
        return path

    def _note(self, name: str, *contents: bytes) -> None:
        digests = stored.read_digests(self.path)
        noted = digests | {name: [hashlib.sha256(content).hexdigest() for content in contents]}
        if digests.get(name, []) != noted[name]:
            write_file(self.path / DIGESTS, json.dumps(noted, indent=1) + "\n")

    def _inside(self, name: str) -> Path:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UserError(f"{name!r} leaves the run directory {self.path}; give a name inside it")
        return self.path / name

    def _drop_torn_line(self) -> None:
        log = self.path / LOG
        if log.exists():
            data = log.read_bytes()
            complete = data.rfind(b"\n") + 1
            if complete < len(data):
                os.truncate(log, complete)


@contextmanager
def measured_again() -> Iterator[None]:
    """Inside, a run that was already finished starts again when opened; an interrupted one continues."""
    token = _opened.set(set())
    try:
        yield
    finally:
        _opened.reset(token)


def begins_anew(path: str | Path) -> bool:
    """Tell, when first asked inside `measured_again`, whether the run in `path` was already finished.

    `RunDirectory` asks automatically. A program that looks for a finished run without opening it must ask
    first, and open the folder with `force` if the answer is yes.
    """
    opened, here = _opened.get(), Path(path).resolve()
    if opened is None or here in opened:
        return False
    opened.add(here)
    return (here / SUMMARY).exists()


def _difference(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say which keys, or revisions, differ between the run on disk and the requested one."""
    there, now = old.get("revision", 1), new.get("revision", 1)
    if there != now:
        return (
            f"run directory {path} holds a run of revision {there} and this one is of revision {now}, whose numbers "
            "differ; choose another folder"
        )
    before, after = dict(flat(old)), dict(flat(new))
    pairs = {
        key: (before.get(key, "(absent)"), after.get(key, "(absent)")) for key in sorted({*before, *after})
    }
    # as text, because 1, 1.0 and True are equal in Python but not in the configuration's hash
    keys = [key for key, both in pairs.items() if len({canonical_json({"": value}) for value in both}) == 2]
    shown = ", ".join(f"{key} {pairs[key][0]!r} there, {pairs[key][1]!r} now" for key in keys[:8])
    more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
    return (
        f"run directory {path} holds a run of another configuration: {shown}{more}; "
        "choose another folder or repeat the old configuration"
    )


def _number(value: Any) -> Any:
    """Convert NumPy scalars and arrays for the log, with their exact values."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return plain(value, "record")
