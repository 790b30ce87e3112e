"""Goals of speed and memory (goals.toml), judged from the newest rows: goals.md.

A goal names a case and one limit for each instruction set: the least ratio, the largest share of the other program's
time, the most seconds, the most seconds more than the other, or the most memory over that of another method. Where
several libraries do the same, the fastest counts. A goal that is missed says where the time goes, and what the
machine's arithmetic or memory alone would allow.
"""

from __future__ import annotations

import fnmatch
import itertools
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reprokit import UserError
from reprokit.bench import open_results
from reprokit.files.atomic import write_file
from reprokit.run.ledger import Ledger

from benchmarks import growth, table
from benchmarks.cases import HERE

Row = Mapping[str, Any]
FILE = HERE / "goals.toml"
LIMITS = {  # how a limit reads
    "ratio": "{:g}x",
    "share": "at most {:g} of its time",
    "seconds": "at most {:g} s",
    "later": "at most {:g} s after it",
    "memory": "at most {:g}x its memory",
}
FIELDS = {"package", "text", "case", "engine", "peer", "threads", "ratio", "share", "seconds", "later", "why"}
MEMORY = {"package", "text", "method", "over", "parameter", "value", "memory", "why"}
HEAD = """# Goals

Written by `make bench` from [goals.toml](goals.toml) and the newest rows of `results.csv` and `growth.csv`. A ratio is
the time of the other program over ours, a share is ours over theirs; of several libraries the fastest counts. The range
is what half of the repeats spread over. At the floor: what would be measured if we took only the time that the machine
needs for the unavoidable arithmetic (a large matrix product's speed) or memory (a copy's speed).

"""
NAMES = (
    "package",
    "goal",
    "set",
    "asked for",
    "measured",
    "verdict",
    "at the floor",
    "missed: where the time goes",
)


def read(file: Path = FILE) -> list[dict[str, Any]]:
    """Return the goals.

    Raises:
        UserError: A goal has an unknown field, or not exactly one limit.
    """
    goals = tomllib.loads(file.read_text(encoding="utf-8")).get("goal", [])
    for goal in goals:
        known = MEMORY if "memory" in goal else FIELDS
        if wrong := set(goal) - known:
            raise UserError(
                f"{file}: {', '.join(sorted(wrong))} is unknown; a goal may have {', '.join(sorted(known))}"
            )
        if len(set(LIMITS) & set(goal)) != 1:
            raise UserError(f"{file}: {goal.get('text')!r} needs exactly one of {', '.join(LIMITS)}")
    return goals


def matches(goal: Row, row: Row) -> bool:
    """Tell whether a row of results.csv, of the goal's package, measures it."""
    words = {"isa": row["isa"], "package": row["package"]}

    def like(name: str, patterns: str | list[str]) -> bool:
        patterns = [patterns] if isinstance(patterns, str) else patterns
        return any(fnmatch.fnmatchcase(row[name], pattern.format(**words)) for pattern in patterns)

    same = row["case"] == goal["case"] and row["threads"] == goal.get("threads", 1)
    return same and like("engine", goal["engine"]) and like("peer", goal["peer"])


def judge(
    rows: Iterable[Row], points: Iterable[Row] = (), goals: Iterable[Row] | None = None
) -> list[dict[str, Any]]:
    """Judge every goal for every instruction set that it names.

    Args:
        rows: Rows of results.csv.
        points: Rows of growth.csv, for goals of memory.
        goals: The goals; None: those of the file.

    Returns:
        For each: package, text, isa, asked, measured, verdict ("reached", "missed", "not run"), floor and why.
    """
    rows = [row for row in table.newest(rows) if row["kind"] != "recorded"]
    curves, found = growth.newest(points), []
    for goal in read() if goals is None else goals:
        kind = next(name for name in LIMITS if name in goal)
        packages = [goal["package"]] if isinstance(goal["package"], str) else goal["package"]
        limits: dict[str, float] = goal[kind]
        for package, isa in itertools.product(packages, limits):
            limit = limits[isa]
            if kind == "memory":
                judged = _memory(goal, isa, limit, curves)
            else:
                here = [row for row in rows if (row["package"], row["isa"]) == (package, isa)]
                own = [row for row in here if matches(goal, row)]
                judged = (
                    _time(kind, limit, min(own, key=lambda row: row["peer_seconds"]), goal["peer"])
                    if own
                    else {}
                )
            entry = {
                "package": package,
                "text": goal["text"],
                "isa": isa,
                "asked": LIMITS[kind].format(limit),
            }
            entry |= {"measured": "", "verdict": "not run", "floor": "", **judged}
            found.append({**entry, "why": goal.get("why", "") if entry["verdict"] == "missed" else ""})
    return found


def _time(kind: str, limit: float, row: Row, peer: str | list[str]) -> dict[str, str]:
    """Judge one row."""
    ours, theirs, floor = row["ours_seconds"], row["peer_seconds"], row["floor_seconds"]
    reached = {"ratio": theirs / ours >= limit, "share": ours / theirs <= limit, "seconds": ours <= limit,
               "later": ours - theirs <= limit}  # fmt: skip

    def number(seconds: float) -> str:
        if kind == "ratio":
            return f"{theirs / seconds:.3g}x"
        return (
            f"{seconds / theirs:.2f}" if kind == "share" else f"{seconds - theirs * (kind == 'later'):.2f} s"
        )

    spread = max(row["ours_spread"] or 0, row["peer_spread"] or 0)
    return {
        "measured": f"{number(ours)} ± {spread:.0%}"
        + (f" ({row['peer']})" if isinstance(peer, list) else ""),
        "verdict": "reached" if reached[kind] else "missed",
        "floor": number(floor) if floor else "",
    }


def _memory(goal: Row, isa: str, limit: float, curves: Mapping[Any, Mapping[int, Row]]) -> dict[str, str]:
    """Judge the memory of one method at one size over that of another; {} without rows."""
    both = [
        curves.get((goal["package"], method, goal["parameter"], isa), {}).get(goal["value"])
        for method in (goal["method"], goal["over"])
    ]
    if both[0] is None or both[1] is None or not both[1]["memory_mb"] > 0:
        return {}
    ours, theirs = both[0]["memory_mb"], both[1]["memory_mb"]
    verdict = "reached" if ours / theirs <= limit else "missed"
    return {"measured": f"{ours / theirs:.2g}x ({ours:.3g} and {theirs:.3g} MB)", "verdict": verdict}


def markdown(verdicts: Iterable[Row]) -> str:
    """Return the table of goals."""
    cells = ("package", "text", "isa", "asked", "measured", "verdict", "floor", "why")
    lines = [NAMES, ["---"] * len(NAMES), *([verdict[name] for name in cells] for verdict in verdicts)]
    return HEAD + "".join(
        f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |\n" for line in lines
    )


def draw(results: Path, points: Path) -> list[Path]:
    """Write goals.md next to the rows; returns the files."""
    if not results.exists():
        return []
    grown = Ledger(points, growth.COLUMNS).rows() if points.exists() else []
    text = markdown(judge(open_results(results).rows(), grown))
    return [write_file(results.with_name("goals.md"), text.encode())]
