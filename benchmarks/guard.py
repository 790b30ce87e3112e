"""Did it become slower? Ratios measured now against those of the committed rows.

Seconds differ between machines and hours; the ratio of two programs in the same run differs less. A row counts if
it has the same case, programs, threads and instruction set. Where there is none, one is recorded instead.
"""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from reprokit import bench

from benchmarks.cases import Case

TOLERANCE = 0.15  # share of the committed ratio that may be lost
KEY = ("package", "case", "engine", "peer", "threads", "isa")
Key = tuple[str, ...]
Measure = Callable[[Iterable[Case], Path | None], tuple[list[bench.Comparison], list[str]]]


def committed(results: Path) -> list[dict[str, str]]:
    """Return the rows of the last commit; those of the file itself where git does not know it."""
    done = subprocess.run(
        ["git", "-C", str(results.parent), "show", f"HEAD:./{results.name}"], capture_output=True, text=True
    )
    text = done.stdout if done.returncode == 0 else results.read_text("utf-8") if results.exists() else ""
    return list(csv.DictReader(io.StringIO(text)))


def ratios(rows: Iterable[dict[str, str]]) -> dict[Key, float]:
    """Return the newest measured ratio of each case, by case, programs, threads and instruction set."""
    found = {}
    for row in rows:
        if row.get("isa") and row.get("kind") == "measured":
            found[tuple(row[name] for name in ("package", "case", "engine", "peer", "threads", "isa"))] = (
                float(row["ratio"])
            )
    return found


def verdict(ratio: float, before: float) -> tuple[bool, str]:
    """Say whether a ratio holds against the committed one, and how they compare."""
    change = ratio / before - 1
    words = f"{ratio:.2f}x, committed {before:.2f}x ({change:+.0%})"
    if change < -TOLERANCE:
        return False, f"SLOWER: {words}"
    return (
        True,
        f"faster: {words}; record it with make bench" if change > TOLERANCE else f"as before: {words}",
    )


def run(
    cases: Sequence[Case], isa: str, results: Path, measure: Measure, say: Callable[[str], object] = print
) -> int:
    """Measure the cases that have a committed row and compare them; record the others.

    Args:
        cases: What is measured.
        isa: Instruction set of this run.
        results: The ledger.
        measure: Measures cases and appends rows to a file, or to none.
        say: Prints a line.

    Returns:
        1 if a ratio lost more than `TOLERANCE` or the sides of a case differ, else 0.
    """
    known, status = ratios(committed(results)), 0
    for case in cases:
        before = known.get((*map(str, case.key), isa))
        found, failures = measure([case], None if before is not None else results)
        status = max(status, 1 if failures else 0)
        for comparison in found:
            if before is None:
                missing = f"no committed row with {isa} and {case.threads} threads"
                say(f"recorded: {case}: {missing}, {comparison.ratio:.2f}x now")
                continue
            if comparison.case != case.name:
                say(f"not compared: {case}: other data stood in ({comparison.case})")
                continue
            holds, words = verdict(comparison.ratio, before)
            say(f"{words}: {case}")
            status = status if holds else 1
    return status
