"""The memory of results: a CSV file that many processes append to and no crash can damage.

A row is one `write` of one whole line to a descriptor opened for appending, under a lock, followed by fsync;
`append` returns after that, so an acknowledged row is on the disk. An incomplete line left by a killed writer
is moved to `<name>.rejected` by the next writer and is never seen by a reader.

The columns of a file are fixed by its header. A schema with other columns is an error that names them. Only the
columns `DATA` at the right, which releases before 0.3 did not write, may be missing: their cells are empty, and the
first row that is appended adds them to the file.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np

from reprokit.errors import UserError
from reprokit.files.atomic import append_whole, atomic_write, make_folder
from reprokit.files.locking import acquire, lock_beside
from reprokit.run.provenance import plain

Schema = Mapping[str, type]
Row = dict[str, Any]

IDENTITY: dict[str, type] = {
    "run_id": str,
    "package": str,
    "claim": str,
    "dataset": str,
    "scale": str,
    "seed": int,
}
PROVENANCE: dict[str, type] = {
    "seconds": float,
    "peak_memory_mb": float,
    "device": str,
    "threads": int,
    "versions": dict,
    "git_commit": str,
    "started": str,
    "config": dict,
}
DATA: dict[str, type] = {"data_digest": str, "data_samples": dict, "data_classes": int}
LEDGER_COLUMNS: dict[str, type] = {**IDENTITY, **PROVENANCE, **DATA}
LONGEST_CELL = 131_072  # characters; the limit of Python's csv reader
PATIENCE = 300.0  # seconds to wait for the other writers of a ledger


class Ledger:
    """One CSV file of typed rows, safe against concurrent writers, crashes and repeated runs.

    Args:
        path: The file; created by the first `append`.
        schema: Column names in order, each with its type: str, int, float, bool or dict (stored as JSON).
            None is an empty cell. If there is a column `run_id`, each run is recorded once.

    Raises:
        UserError: The file has other columns than `schema`, or cannot be read.
    """

    def __init__(self, path: str | Path, schema: Schema = LEDGER_COLUMNS) -> None:
        self.path = Path(path)
        self.schema: dict[str, type] = dict(schema)
        unknown = {kind.__name__ for kind in self.schema.values()} - {"str", "int", "float", "bool", "dict"}
        if unknown:
            raise TypeError(f"a ledger column cannot be of type {', '.join(sorted(unknown))}")
        # inode and size of the part of the file already read, and the run ids in it
        self._seen: tuple[int, int, set[str]] = (-1, 0, set())
        self._narrow = False  # whether the file lacks the columns of DATA
        self._ends = "\n"  # line ending; spreadsheets write other ones
        self._repair()

    @classmethod
    def for_results(cls, path: str | Path, metrics: Schema) -> "Ledger":
        """Open a ledger with the standard columns, `metrics` between identity and provenance.

        Args:
            path: The CSV file.
            metrics: The experiment's own columns, settings and measures, with their types.
        """
        clash = sorted(set(metrics) & set(LEDGER_COLUMNS))
        if clash:
            raise ValueError(f"columns {', '.join(clash)} exist in every ledger already")
        return cls(path, {**IDENTITY, **metrics, **PROVENANCE, **DATA})

    def _repair(self) -> None:
        """Check the header; move an incomplete line away unless a writer is active or the folder is read-only."""
        if not self._learn():
            return
        with suppress(UserError):
            lock = acquire(lock_beside(self.path), patience=0, busy="a writer is active and will handle it")
            try:
                self._reject(self._learn())
            finally:
                lock.release()

    def append(self, row: Mapping[str, Any], *, again: bool = False) -> bool:
        """Add a row; when this returns True, the row survives any crash.

        Args:
            row: A value for every column, None for an empty cell, and no other columns.
            again: Add it even if there is a row of this run id: the run was measured again, and both are kept.

        Returns:
            False if there is already a row of this run id; the file is then unchanged.

        Raises:
            UserError: Missing or unknown columns, a value of the wrong type, or a place that is not writable.
            OSError: The disk is full; the file is unchanged.
        """
        line = self._line(row)
        make_folder(self.path.parent, "folder of the ledger")
        busy = f"ledger {self.path} has been locked for {PATIENCE:.0f} s; end the program that holds it"
        lock = acquire(lock_beside(self.path), patience=PATIENCE, busy=busy)
        try:
            self._reject(self._learn())
            if row.get("run_id") in self._seen[2] and not again:
                return False
            if self._narrow:
                _rewrite(self.path, self.schema)
                self._learn()
            head = join_cells(list(self.schema))
            append_whole(self.path, line.replace("\n", self._ends).encode(), head=head.encode())
        finally:
            lock.release()
        return True

    def rows(self) -> list[Row]:
        """Return all complete rows with typed values, in file order.

        Raises:
            UserError: A line has a wrong number of cells or a cell of a wrong type; the message names it.
        """
        if not self.path.exists():
            return []
        header, rows = read_lines(self.path)
        if header:
            self._check_header(header)
        return [self._typed(number, cells) for number, cells in rows]

    def has(self, run_id: str) -> bool:
        """Tell whether the file has a row of this run id."""
        self._learn()
        return run_id in self._seen[2]

    @classmethod
    def widen(cls, path: str | Path, schema: Schema) -> "Ledger":
        """Add the columns of `schema` that an older ledger lacks, with empty cells.

        Args:
            path: An existing ledger.
            schema: All its columns and new ones, in the new order.

        Raises:
            UserError: The file has a column that `schema` lacks, or cannot be read.
        """
        path = Path(path)
        lock = acquire(
            lock_beside(path), patience=PATIENCE, busy=f"ledger {path} stays locked; try again later"
        )
        try:
            _rewrite(path, schema)
        finally:
            lock.release()
        return cls(path, schema)

    def _learn(self) -> bytes:
        """Read the run ids of lines added since the last call; return the text after the last newline."""
        inode, offset, known = self._seen
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != inode or status.st_size < offset:
                    inode, offset, known = status.st_ino, 0, set[str]()
                    self._narrow, self._ends = False, "\n"
                file.seek(offset)
                data = file.read()
        except FileNotFoundError:
            self._seen, self._narrow, self._ends = (-1, 0, set()), False, "\n"
            return b""
        except OSError as error:
            raise UserError(f"ledger {self.path} cannot be read: {error.strerror}") from error
        complete = data.rfind(b"\n") + 1
        lines = [cells for _, cells in split_lines(self.path, data[:complete])]
        if offset == 0 and lines:
            self._ends = "\r\n" if data[: data.find(b"\n")].endswith(b"\r") else "\n"
            self._check_header(lines.pop(0))
        if "run_id" in self.schema:
            column = list(self.schema).index("run_id")
            known.update(cells[column] for cells in lines if len(cells) > column)
        self._seen = (
            inode,
            offset + complete,
            known,
        )  # in one assignment, so that threads may share a ledger
        return data[complete:]

    def _reject(self, torn: bytes) -> None:
        """Move an incomplete last line to `<name>.rejected`; called under the lock."""
        if not torn:
            return
        rejected = self.path.with_name(f"{self.path.name}.rejected")
        with rejected.open("ab") as file:
            file.write(torn + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.truncate(self.path, self._seen[1])

    def _check_header(self, header: list[str]) -> None:
        names = list(self.schema)
        if header == names:
            return
        _refuse_doubled(self.path, header)
        if header == names[: len(header)] and set(names[len(header) :]) == set(DATA):
            self._narrow = True
            return
        if names == header[: len(names)]:
            raise UserError(
                f"ledger {self.path} has other columns: it has {', '.join(header[len(names) :])} besides, as a newer "
                "version writes; update this program, or write to another file"
            )
        lacking = [name for name in self.schema if name not in header]
        extra = [name for name in header if name not in self.schema]
        what = [
            *([f"it lacks {', '.join(lacking)}"] if lacking else []),
            *([f"it has {', '.join(extra)} besides"] if extra else []),
        ]
        raise UserError(
            f"ledger {self.path} has other columns: {' and '.join(what) or 'their order differs'}; "
            "write to another file, or add new columns to this one with Ledger.widen"
        )

    def _line(self, row: Mapping[str, Any]) -> str:
        """Return the CSV line of a row, every column checked."""
        missing = [name for name in self.schema if name not in row]
        unknown = [name for name in row if name not in self.schema]
        if missing or unknown:
            parts = [f"lacks {', '.join(missing)}"] if missing else []
            parts += [f"has the unknown columns {', '.join(unknown)}"] if unknown else []
            raise UserError(f"a row for ledger {self.path} {' and '.join(parts)}")
        return join_cells([to_cell(name, kind, row[name]) for name, kind in self.schema.items()])

    def _typed(self, number: int, cells: Mapping[str, str]) -> Row:
        row: Row = {}
        for name, kind in self.schema.items():
            try:
                row[name] = from_cell(kind, cells.get(name, ""))
            except ValueError as error:
                raise UserError(
                    f"ledger {self.path} line {number}, column {name}: {_short(cells[name])!r} is not of type "
                    f"{kind.__name__}; repair or remove the row"
                ) from error
        return row


def _short(cell: str, most: int = 80) -> str:
    """Return a cell in short form for messages."""
    return cell if len(cell) <= most else f"{cell[:most]}..."


def read_ledger(path: str | Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read any ledger as text, whatever its columns: the column names, and each complete row by column.

    Raises:
        UserError: As `read_lines`.
    """
    header, rows = read_lines(path)
    return header, [row for _, row in rows]


def read_lines(path: str | Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read any ledger as text, with the number of each row's line.

    Args:
        path: A CSV file with a header line.

    Returns:
        The column names (none if the file has no complete line), and line number and cells of each row.

    Raises:
        UserError: The file cannot be read, a line has a wrong number of cells, line endings differ, or two
            columns have one name.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"ledger {path} cannot be read: {error.strerror}") from error
    complete = data[: data.rfind(b"\n") + 1]
    lines = list(split_lines(path, complete))
    if not lines:
        return [], []
    header = lines[0][1]
    _refuse_doubled(path, header)
    for number, cells in lines:
        if len(cells) != len(header):
            raise UserError(
                f"ledger {path} line {number} has {len(cells)} cells, not {len(header)}; repair the line"
            )
    returns = [line.endswith(b"\r") for line in complete.split(b"\n")[:-1]] if b"\r" in complete else []
    if len(set(returns)) > 1:
        number = returns.index(not returns[0]) + 1
        raise UserError(
            f"ledger {path} line {number} ends in another way than the lines before it (with and without a carriage "
            "return); save the file with one kind of line end"
        )
    return header, [(number, dict(zip(header, cells, strict=True))) for number, cells in lines[1:]]


def _refuse_doubled(path: Path, header: list[str]) -> None:
    doubled = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    if doubled:
        raise UserError(
            f"ledger {path} line 1 has the column {', '.join(doubled)} twice; rename or remove one"
        )


def _rewrite(path: Path, schema: Schema) -> None:
    """Rewrite a ledger with the columns of `schema`, new cells empty; called under the lock."""
    old, rows = read_ledger(path)
    lost = [name for name in old if name not in schema]
    if lost:
        raise UserError(f"ledger {path} has the columns {', '.join(lost)}, which would be lost")
    lines = [join_cells(list(schema))]
    lines += [join_cells([row.get(name, "") for name in schema]) for row in rows]
    atomic_write(path, "".join(lines).encode())


def split_lines(path: Path, lines: bytes) -> Iterator[tuple[int, list[str]]]:
    """Split complete lines into cells; yields (line number from 1, cells)."""
    try:
        reader = csv.reader(io.StringIO(lines.decode("utf-8-sig"), newline=""), strict=True)
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"ledger {path} is not a CSV file this program can read: {error}") from error


def join_cells(cells: list[str]) -> str:
    """Return the line of a row, with its newline."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def to_cell(name: str, kind: type, value: Any) -> str:
    """Return the text of a value, exact: reading it back gives the same value."""
    if isinstance(value, np.generic):
        value = cast("Any", value).item()
    if value is None:
        return ""
    if kind is dict and isinstance(value, Mapping):
        text = json.dumps(plain(cast("Mapping[str, Any]", value), name), separators=(",", ":"))
    elif kind is bool and isinstance(value, bool):
        text = str(value).lower()
    elif kind is int and isinstance(value, int) and not isinstance(value, bool):
        text = str(value)
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        text = repr(float(value))
    elif kind is str and isinstance(value, str):
        text = value
    else:
        raise UserError(f"column {name} takes a {kind.__name__}, not {value!r}")
    if any(sign in text for sign in "\n\r\0") or len(text) > LONGEST_CELL:
        raise UserError(
            f"column {name} takes one line of at most {LONGEST_CELL} characters, not {text[:80]!r}"
        )
    return text


def from_cell(kind: type, cell: str) -> Any:
    """Return the typed value of a cell."""
    if cell == "" and kind is not str:
        return None
    if kind is bool:
        if cell not in ("true", "false"):
            raise ValueError(cell)
        return cell == "true"
    if kind is dict:
        try:
            return json.loads(cell)
        except RecursionError as error:
            raise ValueError(cell) from error
    return kind(cell)
