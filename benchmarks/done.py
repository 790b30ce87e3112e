"""What a stopped run has measured already, so that the same command continues there.

A row counts if the same code measured it on this machine with as many repeats: the commit without changes, the
processor, the instruction set and the threads are the same. In a modified working tree nothing counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from reprokit.bench import open_results
from reprokit.run.ledger import Ledger
from reprokit.run.provenance import MODIFIED, cpu_model, git_commit

Key = tuple[object, ...]
CASE = ("package", "case", "engine", "peer", "threads")
POINT = ("package", "method", "parameter", "value", "threads")


def keys(rows: Iterable[Mapping[str, Any]], names: tuple[str, ...], isa: str, repeats: str) -> dict[Key, int]:
    """Return the most repeats of each key among the rows of this commit and machine.

    Args:
        rows: Rows of a ledger.
        names: Columns of a key.
        isa: Instruction set of this run.
        repeats: Column of the repeats.
    """
    commit, found = git_commit(), dict[Key, int]()
    if commit.endswith(MODIFIED) or commit == "unknown":
        return {}
    here = (commit, cpu_model(), isa)
    for row in rows:
        if (row["git_commit"], row["cpu"], row["isa"]) == here:
            key = tuple(row[name] for name in names)
            found[key] = max(found.get(key, 0), row[repeats])
    return found


def cases(results: Path, isa: str) -> dict[Key, int]:
    """Return the repeats of the cases that need not be measured again, by package, case, programs and threads."""
    rows = open_results(results).rows() if results.exists() else []
    return keys((row for row in rows if row["kind"] == "measured"), CASE, isa, "repeats")


def points(results: Path, columns: dict[str, type], isa: str) -> dict[Key, int]:
    """Return the processes of the points of growth that need not be measured again, by curve, value and threads."""
    rows = Ledger(results, columns).rows() if results.exists() else []
    return keys(rows, POINT, isa, "processes")


def left(count: int, say: Callable[[str], object]) -> None:
    """Say how much was not measured in the time that the command line allowed."""
    if count:
        say(f"the time is over: {count} not measured; the same command continues there")
