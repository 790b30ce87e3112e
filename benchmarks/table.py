"""The newest row of each case as a table (results.md) and as one figure a package (figures/ratios-PACKAGE.svg)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reprokit.bench import BENCH_COLUMNS, open_results
from reprokit.files.atomic import write_file
from reprokit.plots import colour, new_figure, save_figure, style
from reprokit.run.ledger import Ledger

from benchmarks import recorded

Row = Mapping[str, Any]
GREY, FASTER, SLOWER = "published", "dalton", "bdfa"  # roles whose colours are borrowed
HEAD = """# Speed against other programs

Written by `make bench` from the newest row of each case in [results.csv](results.csv), where every row also has
processor, load, versions and commit. Ratio: time of the other program over ours, above 1 ours is faster; both alternate
in one run, and the range is what half of the repeats spread over, of the median. Floor: share of our time that the
machine's arithmetic or memory alone would need, with the speed of a large matrix product and of copying measured on
the spot. Rows without an instruction set are older than this column.
"""
NAMES = ("case", "program", "other", "threads", "set", "ours", "other", "ratio", "floor", "work")
COLUMNS = f"| {' | '.join(NAMES)} |\n{'|---' * len(NAMES)}|\n"


def newest(rows: Iterable[Row]) -> list[Row]:
    """Return the last row of each case, programs, threads and instruction set, in the order of the file.

    Rows without an instruction set, from before the column, count where there are no others.
    """
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = tuple(row[name] for name in ("package", "case", "engine", "peer", "threads", "isa"))
        found.pop(key, None)
        found[key] = row
    named = {key[:-1] for key in found if key[-1]}  # a row without its set is older than one with it
    return [
        row for key, row in found.items() if key[-1] or key[:-1] not in named or row["kind"] == "recorded"
    ]


def with_recorded(rows: Iterable[Row]) -> list[Row]:
    """Give rows of recorded times our time of the same case from the newest measured row; leave out those without one.

    The ratio is that of two different runs, so that the row keeps its kind.
    """
    rows = list(rows)
    ours = {(r["package"], r["case"], r["engine"], r["threads"]): r for r in rows if r["kind"] != "recorded"}
    result: list[Row] = []
    for row in rows:
        if row["kind"] != "recorded":
            result.append(row)
        elif (own := ours.get((row["package"], row["case"], row["engine"], row["threads"]))) is not None:
            seconds = own["ours_seconds"]
            result.append({**row, "ours_seconds": seconds, "ratio": row["peer_seconds"] / seconds, "isa": own["isa"],
                           "ours_spread": own["ours_spread"]})  # fmt: skip
    return result


def seconds(value: float) -> str:
    """Write a time with three digits in a unit that suits it."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if value * factor >= 1 or unit == "ms":
            return f"{value * factor:.3g} {unit}"
    raise AssertionError


def spread(row: Row) -> str:
    """Return the ratio with the larger spread of both sides; recorded times have none."""
    if row["kind"] == "recorded":
        return f"{row['ratio']:.3g}x (recorded elsewhere, not the same run)"
    return f"{row['ratio']:.3g}x ± {max(row['ours_spread'] or 0, row['peer_spread'] or 0):.0%}"


def markdown(rows: Iterable[Row]) -> str:
    """Return the tables, one a package."""
    text, rows = HEAD, list(rows)
    for package in dict.fromkeys(row["package"] for row in rows):
        text += f"\n## {package}\n\n![Ratios](figures/ratios-{package}.svg)\n\n{COLUMNS}"
        for row in rows:
            if row["package"] == package:
                floor = f"{row['floor_seconds'] / row['ours_seconds']:.0%}" if row["floor_seconds"] else ""
                cells = (
                    row["case"], row["engine"], row["peer"], row["threads"], row["isa"], seconds(row["ours_seconds"]),
                    seconds(row["peer_seconds"]), spread(row), floor, row["work"],
                )  # fmt: skip
                text += "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |\n"
    return text


@style()
def figure(rows: Iterable[Row], path: Path) -> list[Path]:
    """Draw the ratios of one package, each with its spread, and where the floor would be."""
    rows = list(rows)[::-1]
    drawn, (axes,) = new_figure(width="page", height=0.6 + 0.13 * len(rows))
    for place, row in enumerate(rows):
        role = GREY if row["kind"] == "recorded" else FASTER if row["ratio"] >= 1 else SLOWER
        half = row["ratio"] * max(row["ours_spread"] or 0, row["peer_spread"] or 0) / 2
        axes.errorbar(
            row["ratio"], place, xerr=min(half, row["ratio"] * 0.99), fmt="o", ms=3, color=colour(role)
        )
        if row["floor_seconds"]:
            axes.plot(row["peer_seconds"] / row["floor_seconds"], place, "|", color="0.3", ms=6)
    names = [f"{r['case']} | {r['engine']}" + (f" | {r['isa']}" if r["isa"] else "") for r in rows]
    axes.set_yticks(
        range(len(rows)), [f"{n} vs {r['peer']}" for n, r in zip(names, rows, strict=True)], fontsize=4.5
    )
    axes.axvline(1, color="0.6", lw=0.6)
    axes.set(xscale="log", ylim=(-0.7, len(rows) - 0.3))
    axes.set_xlabel(
        "time of the other program / ours (range of half the repeats; |: at the floor; grey: recorded)"
    )
    return save_figure(drawn, path)


def draw(results: Path) -> list[Path]:
    """Enter recorded times, then write table and figures next to the results; returns the files."""
    if not results.exists():
        return []
    ledger: Ledger = open_results(results)
    assert list(ledger.schema) == list(BENCH_COLUMNS)
    recorded.enter(ledger)
    rows = with_recorded(newest(ledger.rows()))
    files = [write_file(results.with_name(f"{results.stem}.md"), markdown(rows).encode())]
    for package in dict.fromkeys(row["package"] for row in rows):
        own = [row for row in rows if row["package"] == package]
        files += figure(own, results.parent / "figures" / f"ratios-{package}.svg")
    return files
