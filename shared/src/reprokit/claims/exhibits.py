"""What the results page shows besides claims: figures with their numbers, and tables of other pages."""

import base64
import csv
import io
import mimetypes
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reprokit.claims.verdicts import Verdict
from reprokit.errors import UserError

FIGURES = (".png", ".svg", ".jpg")
COMPARISON, TRUST = "compare", Path("docs") / "trust.md"
SHOWN_ROWS = 100  # of a table of numbers; the whole file can be saved


@dataclass(frozen=True)
class Table:
    """A table that the page shows.

    Attributes:
        name: Its title or file.
        columns, rows: Its cells.
        address: Data address of the whole file, if it is one.
        total: Rows of the file.
    """

    name: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    address: str = ""
    total: int = 0


@dataclass(frozen=True)
class Picture:
    """A figure as a data address, and the numbers it shows if a .csv file of the same name is next to it."""

    name: str
    address: str
    data: Table | None


def figures_of(verdicts: Sequence[Verdict], folder: Path) -> tuple[list[Picture], list[Table]]:
    """Return the figures next to the ledgers, and tables there that belong to none, such as published curves.

    Raises:
        UserError: As `pictures_in`.
    """
    figures: list[Picture] = []
    tables: list[Table] = []
    for place in dict.fromkeys((folder / verdict.claim.ledger).parent for verdict in verdicts):
        found, more = pictures_in(place, folder)
        figures += found
        tables += more
    return figures, tables


def pictures_in(place: Path, folder: Path) -> tuple[list[Picture], list[Table]]:
    """Return the figures of a folder and its other tables; of several formats of a figure the smallest file is taken.

    Args:
        place: The folder.
        folder: Folder of all results; nothing outside it is read.

    Raises:
        UserError: A figure or table is a symbolic link or is outside.
    """
    kinds: dict[str, list[Path]] = {}
    for kind in FIGURES:
        for figure in sorted(place.glob(f"*{kind}")):
            kinds.setdefault(figure.stem, []).append(_inside(figure, folder))
    chosen = {stem: min(some, key=lambda file: file.stat().st_size) for stem, some in sorted(kinds.items())}
    tables = {
        file.stem: _numbers(_inside(file, folder), folder)
        for file in sorted(place.glob("*.csv"))
        if file.name != "results.csv"
    }
    pictures = [
        Picture(file.relative_to(folder).as_posix(), _address(file), tables.get(stem))
        for stem, file in chosen.items()
    ]
    return pictures, [table for stem, table in tables.items() if stem not in chosen]


def tables_in(page: Path) -> list[Table]:
    """Return the tables of a Markdown page, each named by the heading above it; none without a page."""
    if not page.is_file():
        return []
    found: list[Table] = []
    title, lines = "", page.read_text(encoding="utf-8").splitlines()
    for before, line, after in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        if heading := re.match(r"#+ (.*)", line):
            title = _plain(heading[1])
        elif line.startswith("|") and not before.startswith("|") and _is_rule(after):
            found.append(Table(title, _cells(line)))
        elif line.startswith("|") and found and not _is_rule(line):
            found[-1].rows.append(_cells(line))
    return [table for table in found if table.rows]


def _inside(file: Path, folder: Path) -> Path:
    """Return a file that may be shown.

    Raises:
        UserError: It is a symbolic link, or a link above it leads out of the folder.
    """
    if file.is_symlink() or not file.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"{file} is a symbolic link or is outside {folder}; put the file itself there, or remove it"
        )
    return file


def _address(file: Path) -> str:
    """Return a file as a data address; an SVG in an `img` runs no scripts."""
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def _numbers(file: Path, folder: Path) -> Table:
    """Return a table of numbers: its first rows to look at, and the whole file to save."""
    lines = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8", errors="replace"))))
    columns, rows = (lines[0], lines[1:]) if lines else ([], [])
    name = file.relative_to(folder).as_posix()
    return Table(name, columns, [_short(row) for row in rows[:SHOWN_ROWS]], _address(file), len(rows))


def _short(cells: Iterable[str]) -> list[str]:
    """Return cells with numbers of at most six digits."""

    def short(cell: str) -> str:
        try:
            return f"{float(cell):.6g}" if "." in cell else cell
        except ValueError:
            return cell

    return [short(cell) for cell in cells]


def _is_rule(line: str) -> bool:
    """Tell whether a line separates the head of a Markdown table from its rows."""
    return line.startswith("|") and not set(line) - set("|-: ")


def _cells(line: str) -> list[str]:
    return [_plain(cell.strip()) for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _plain(text: str) -> str:
    """Return Markdown without links and code marks."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text).replace("`", "").replace("\\|", "|")
