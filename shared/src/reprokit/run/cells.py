"""The text form of a ledger: one row a line, every value exact, nothing that could look like two rows."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from reprokit.errors import UserError
from reprokit.run.provenance import plain

LONGEST_CELL = 131_072  # characters; what Python's csv reader accepts


def split_lines(path: Path, lines: bytes) -> Iterator[tuple[int, list[str]]]:
    """Split complete lines into cells; yields (line number from 1, cells)."""
    try:
        reader = csv.reader(io.StringIO(lines.decode("utf-8-sig"), newline=""), strict=True)
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"ledger {path} is no CSV file this program can read: {error}") from error


def join_cells(cells: list[str]) -> str:
    """Return the line of a row, with its newline."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def to_cell(name: str, kind: type, value: Any) -> str:
    """Return the text of a value, exact: reading it back gives the same value."""
    if isinstance(value, np.generic):
        value = value.item()
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
        return json.loads(cell)
    return kind(cell)
