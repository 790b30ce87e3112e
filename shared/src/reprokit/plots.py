"""Figures in one style, written as files with the numbers they show; matplotlib is imported when one is drawn.

The style is `paper.mplstyle`. Drawing functions are decorated with `@style()`, so that they follow this style
and restore the caller's settings.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reprokit.config import nearest
from reprokit.errors import UserError, library
from reprokit.files.atomic import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Iterable[Mapping[str, Any]]
WIDTHS = {"column": 3.35, "page": 6.9}  # inches
_METADATA: dict[str, dict[str, None]] = {  # nothing may differ between two runs of the same program
    ".png": {"Software": None},
    ".pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    ".svg": {"Creator": None, "Date": None},
}
_ROLES = {  # Okabe and Ito's colours, three of Tol's for rules that rarely appear together, grey for others' numbers
    "#000000": "bp surrgd lsm none test",
    "#E69F00": "sbs fa tfr lsm-stdp stdp train input",
    "#56B4E9": "dfa rtrl lsm-apstdp ap-stdp calcium",
    "#009E73": "denram bfa delays",
    "#F0E442": "usf",
    "#0072B2": "dalton brsf validation val inhibitory",
    "#D55E00": "bdfa excitatory",
    "#CC79A7": "nalsm frsf astrocyte recurrent",
    "#44AA99": "kolen-pollack",
    "#999933": "sign-dfa",
    "#882255": "drtp",
    "#999999": "published no-delays",
}
COLOURS = {role: value for value, roles in _ROLES.items() for role in roles.split()}


def colour(role: str) -> str:
    """Return the colour of a method, learning rule or part of the data, the same in every figure.

    Raises:
        UserError: No such role.
    """
    if role not in COLOURS:
        raise UserError(f"no colour for {role!r}{nearest(role, COLOURS)}; choose one of {', '.join(COLOURS)}")
    return COLOURS[role]


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of papers inside the block, or in the function this decorates.

    Raises:
        UserError: matplotlib is missing.
    """
    styles = library("matplotlib.style", "figures need matplotlib", "matplotlib")
    with styles.context(Path(__file__).with_name("paper.mplstyle")):
        yield


@style()
def new_figure(
    rows: int = 1,
    columns: int = 1,
    *,
    width: Literal["column", "page"] = "column",
    height: float | None = None,
    **subplots: Any,
) -> "tuple[Figure, list[Axes]]":
    """Return an empty figure and its axes, row by row; no window opens.

    Args:
        rows: Rows of axes.
        columns: Columns of axes.
        width: One column of a paper (3.35 in) or its page (6.9 in).
        height: Inches; None gives each row 0.7 times the width of its axes.
        **subplots: Arguments of `Figure.subplots`, for example `sharex=True`.
    """
    from matplotlib.figure import Figure

    across = WIDTHS[width]
    figure = Figure(figsize=(across, height or 0.7 * rows * across / columns))
    return figure, list(figure.subplots(rows, columns, squeeze=False, **subplots).flat)


def note(axes: "Axes", *lines: str, corner: Literal["top", "bottom"] = "top") -> None:
    """Write small lines inside a figure, at the right: which data, whether reduced, what the bars are.

    Args:
        axes: Where.
        *lines: What is said; empty ones are left out.
        corner: Top or bottom.
    """
    y, align = (0.99, "top") if corner == "top" else (0.01, "bottom")
    text = "\n".join(line for line in lines if line)
    axes.text(0.99, y, text, transform=axes.transAxes, ha="right", va=align, fontsize=6, color="0.35")


def scale_note(dataset: str, scale: str) -> str:
    """Return what a figure says of its data: the data set really used, and the scale unless it is the paper's."""
    return dataset if scale == "paper" else f"{dataset}, scale {scale}"


def save_figure(figure: "Figure", path: str | Path, *, table: Rows | None = None) -> list[Path]:
    """Write a figure atomically, equal figures as equal bytes, and return the files.

    Args:
        figure: The figure.
        path: With a suffix .png, .pdf or .svg, that file; without one, .png (300 dpi), .pdf and .svg.
        table: The numbers it shows, one mapping per row, written next to it as .csv.

    Raises:
        UserError: Another suffix, or a folder that cannot be created.
    """
    path = Path(path)
    stem = path.with_suffix("") if path.suffix in _METADATA else path
    if path.suffix[1:].isalpha() and stem == path:
        raise UserError(f"figure {path} has the suffix {path.suffix}; use .png, .pdf, .svg, or none")
    files = []
    for kind in _METADATA if stem == path else (path.suffix,):
        buffer = io.BytesIO()
        with style():
            figure.savefig(buffer, format=kind[1:], metadata=_METADATA[kind])
        files.append(write_file(stem.with_name(stem.name + kind), buffer.getvalue()))
    if table is not None:
        rows, text = list(table), io.StringIO()
        columns = dict.fromkeys(key for row in rows for key in row)
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        files.append(write_file(stem.with_name(stem.name + ".csv"), text.getvalue()))
    return files
