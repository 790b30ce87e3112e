"""Side-by-side timings: two programs in turn, medians, spread, and everything needed to repeat them."""

import os
import statistics
import time
import timeit
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import get_type_hints

from reprokit.errors import UserError
from reprokit.run.ledger import Ledger, read_lines
from reprokit.run.provenance import cpu_model, git_commit, versions

RESULTS = Path("benchmarks/results.csv")
SHORTEST = 0.25  # seconds of one timing; shorter calls are repeated in groups


@dataclass(frozen=True)
class Comparison:
    """Result of `compare`: medians in seconds per call, ratio = peer / ours (above 1: ours is faster).

    `ours_spread` and `peer_spread` are the interquartile range over the repeats divided by the median.
    """

    package: str
    case: str
    engine: str
    peer: str
    threads: int
    ours_seconds: float
    peer_seconds: float
    ratio: float
    ours_spread: float
    peer_spread: float

    def __str__(self) -> str:
        return (
            f"{self.package} {self.case}: {self.engine} {self.ours_seconds:.4g} s, {self.peer} "
            f"{self.peer_seconds:.4g} s, {self.ratio:.2f}x faster ({self.threads} threads)"
        )


BENCH_COLUMNS: dict[str, type] = {
    **get_type_hints(Comparison),
    "repeats": int,
    "cpu": str,
    "load": float,
    "versions": dict,
    "git_commit": str,
    "date": str,
    # at the right, as later releases added them; empty in older rows
    "kind": str,
    "isa": str,
    "work": str,
    "floor_seconds": float,
    "floor": str,
}
KINDS = ("measured", "recorded")  # both sides in one run; a time that somebody else wrote down


def compare(
    package: str,
    case: str,
    engine: str,
    peer: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    threads: int = 1,
    repeats: int = 7,
    results: str | Path | None = RESULTS,
    packages: Iterable[str] = (),
    isa: str = "",
    work: str = "",
    floor_seconds: float | None = None,
    floor: str = "",
) -> Comparison:
    """Time two callables in turn and append one row to the benchmark ledger.

    Each is called at least once to warm up, then they alternate, so that a slow moment of the machine affects
    both. Calls shorter than 0.25 s are timed in groups, after an untimed one, because the memory and caches
    left by the other side are not part of either program. Garbage collection is off while the clock runs.

    A program in a separate process keeps the time itself: a callable with a method ``seconds(calls)`` is asked for
    the seconds of that many calls, so that the way to the process and back is not measured.

    Args:
        package: Package measured.
        case: What is computed, sizes included.
        engine: Name of `ours`.
        peer: Name and version of `theirs`.
        ours: One call of our program; on an accelerator it must wait for the result.
        theirs: One call of the other.
        threads: Threads that both use; the caller sets them, this function only records them.
        repeats: Timings of each, at least 3.
        results: CSV file to append to; None records nothing.
        packages: Distributions whose versions are recorded.
        isa: Vector instructions that both use, for example "avx2"; "" if they are not known.
        work: How the work was proven equal, or in what it differs.
        floor_seconds: Time that the machine's arithmetic or memory alone would need; None if it is not known.
        floor: What limits that time, with the speeds that were measured on the spot.

    Returns:
        Medians, ratio and spreads.

    Raises:
        UserError: `repeats` is below 3, or the file has other columns.
    """
    if repeats < 3:
        raise UserError(f"repeats is {repeats}; a median needs at least 3")
    ledger = None if results is None else open_results(results)
    groups = [_group_size(ours), _group_size(theirs)]
    times: list[list[float]] = [[], []]
    for repeat in range(repeats):
        for side in (0, 1) if repeat % 2 == 0 else (1, 0):
            times[side].append(_time((ours, theirs)[side], groups[side]))
    mine, other = (statistics.median(samples) for samples in times)
    spreads = [_spread(samples) for samples in times]
    comparison = Comparison(package, case, engine, peer, threads, mine, other, other / mine, *spreads)
    if ledger is not None:
        provenance = {
            "repeats": repeats,
            "cpu": cpu_model(),
            "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
            "versions": versions(packages),
            "git_commit": git_commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "kind": "measured",
            "isa": isa,
            "work": work,
            "floor_seconds": floor_seconds,
            "floor": floor,
        }
        ledger.append(vars(comparison) | provenance)
    return comparison


def open_results(path: str | Path) -> Ledger:
    """Open a benchmark ledger; one of an older release gets the newer columns at its right, with empty cells.

    Args:
        path: The CSV file; it need not exist.

    Raises:
        UserError: The file has other columns, or cannot be read.
    """
    path, names = Path(path), list(BENCH_COLUMNS)
    header = read_lines(path)[0] if path.exists() else []
    if header and header != names and header == names[: len(header)]:
        return Ledger.widen(path, BENCH_COLUMNS)
    return Ledger(path, BENCH_COLUMNS)


def _group_size(call: Callable[[], object]) -> int:
    """Warm up and return how many calls take at least `SHORTEST` seconds together."""
    call()
    size = 1
    while _time(call, size) * size < SHORTEST:
        size *= 2
    return size


def _time(call: Callable[[], object], size: int) -> float:
    """Return the seconds of one call, averaged over `size` calls; `timeit` turns the garbage collection off."""
    if (own_clock := getattr(call, "seconds", None)) is not None:
        return own_clock(size) / size
    first = call if size > 1 else "pass"
    return timeit.timeit(call, first, time.perf_counter, size) / size


def _spread(samples: list[float]) -> float:
    """Return the interquartile range over the median."""
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
    return (high - low) / middle
