"""Published numbers judged by ledger rows alone.

A claim asks for the mean of one metric over a number of seeds. With rows of the published scale on the
claim's own data set, d = |mean - published| decides: `ok` for d <= tolerance, `near` for d <= 2 tolerance,
else `fail`. Rows of another scale or data set, or of too few seeds, are reported as `reduced`; without any
it is `not run`.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprokit.claims.claims import Claim, seeds_needed
from reprokit.errors import UserError
from reprokit.run.ledger import read_ledger
from reprokit.run.provenance import SCALES

STATUSES = ("ok", "near", "fail", "reduced", "not run")


@dataclass(frozen=True)
class Verdict:
    """What the ledger says about a claim.

    Attributes:
        claim: The claim.
        status: "ok", "near", "fail", "reduced" or "not run".
        measured: Mean over seeds in the claim's unit, or None without rows.
        spread: Standard deviation (ddof 1) over seeds, or None below two seeds.
        seeds: Seeds of the rows used.
        note: What the reader must know: scale, data set, missing seeds.
        rows: The ledger rows used, as text.
    """

    claim: Claim
    status: str
    measured: float | None = None
    spread: float | None = None
    seeds: tuple[int, ...] = ()
    note: str = ""
    rows: tuple[dict[str, str], ...] = ()


def judge(claims: Iterable[Claim], reproduction_dir: str | Path) -> list[Verdict]:
    """Compare claims with what the ledgers hold.

    Args:
        claims: From `load_claims`.
        reproduction_dir: Folder that the claims' ledger paths start from.

    Returns:
        One verdict a claim, in order.

    Raises:
        UserError: A ledger is damaged, or lacks a column a claim names.
    """
    folder = Path(reproduction_dir)
    ledgers: dict[str, tuple[list[str], list[dict[str, str]]]] = {}
    verdicts: list[Verdict] = []
    for claim in claims:
        if claim.ledger not in ledgers:
            path = folder / claim.ledger
            ledgers[claim.ledger] = read_ledger(path) if path.exists() else ([], [])
        verdicts.append(_verdict(claim, *ledgers[claim.ledger]))
    return verdicts


def _verdict(claim: Claim, columns: Sequence[str], rows: Sequence[dict[str, str]]) -> Verdict:
    """Judge one claim."""
    if not rows:
        return Verdict(claim, "not run")
    needed = ["package", "dataset", "scale", "seed", claim.metric, *claim.where]
    lacking = [name for name in needed if name not in columns]
    if lacking:
        raise UserError(
            f"ledger {claim.ledger} lacks the column {', '.join(lacking)} that claim {claim.id} needs"
        )
    matching = [row for row in rows if _matches(claim, row)]
    if not matching:
        return Verdict(claim, "not run")
    full = [row for row in matching if row["scale"] == "paper" and row["dataset"] == claim.dataset]
    used = full or _best_substitute(claim, matching)
    used, doubled = _newest_of_each_seed(used)
    values = [float(row[claim.metric] or "nan") * claim.factor for row in used]
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 and math.isfinite(mean) else None
    seeds = tuple(int(row["seed"]) for row in used)
    status, notes = (
        _status(claim, mean, seeds)
        if full
        else ("reduced", ["data {dataset}, scale {scale}".format(**used[0])])
    )
    notes += [f"several rows of seed {', '.join(doubled)}, the newest used"] if doubled else []
    return Verdict(claim, status, mean, spread, seeds, "; ".join(notes), tuple(used))


def _status(claim: Claim, mean: float, seeds: Sequence[int]) -> tuple[str, list[str]]:
    """Judge a mean measured at the published scale on the published data."""
    if isinstance(claim.seeds, list):
        missing = [str(seed) for seed in claim.seeds if seed not in seeds]
        if missing:
            return "reduced", [f"seed {', '.join(missing)} missing"]
    elif len(seeds) < claim.seeds:
        return "reduced", [f"{len(seeds)} of {claim.seeds} seeds"]
    if not math.isfinite(mean):
        return "fail", ["the metric is not finite"]
    distance = abs(mean - claim.value)
    slack = 1e-9 * max(abs(mean), abs(claim.value), claim.tolerance)  # 0.015 is not exact in binary
    if distance <= claim.tolerance + slack:
        return "ok", []
    return ("near" if distance <= 2 * claim.tolerance + slack else "fail"), []


def _matches(claim: Claim, row: Mapping[str, str]) -> bool:
    """Tell whether a ledger row belongs to the claim, whatever its scale and data set."""
    if row["package"] != claim.package or not all(_same(row[k], wanted) for k, wanted in claim.where.items()):
        return False
    return not isinstance(claim.seeds, list) or int(row["seed"] or -1) in claim.seeds


def _same(cell: str, wanted: Any) -> bool:
    """Compare a cell with a TOML value, numbers as numbers."""
    if isinstance(wanted, bool):
        return cell == str(wanted).lower()
    if isinstance(wanted, int | float):
        try:
            return math.isclose(float(cell), wanted, rel_tol=1e-9, abs_tol=1e-12)
        except ValueError:
            return False
    return cell == str(wanted)


def _best_substitute(claim: Claim, rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Of rows that cannot be judged, return the group closest to the claim: one data set, one scale."""
    place = {scale: number for number, scale in enumerate(SCALES)}
    best = min(rows, key=lambda row: (place.get(row["scale"], len(place)), row["dataset"] != claim.dataset))
    return [row for row in rows if (row["scale"], row["dataset"]) == (best["scale"], best["dataset"])]


def _newest_of_each_seed(rows: Sequence[dict[str, str]]) -> tuple[list[dict[str, str]], list[str]]:
    """Keep the last row of each seed; also return the seeds that had several."""
    newest = {row["seed"]: row for row in rows}
    doubled = [seed for seed in newest if sum(row["seed"] == seed for row in rows) > 1]
    return list(newest.values()), doubled


def format_verdicts(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as an aligned text table with a last line of counts."""
    header = ("claim", "published", "measured", "difference", "tolerance", "seeds", "verdict", "note")
    lines = [header, *(_cells(verdict) for verdict in verdicts)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    numeric = range(1, 6)
    table = [
        "  ".join(
            cell.rjust(width) if column in numeric else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    statuses = [verdict.status for verdict in verdicts]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    return "\n".join([*table, f"{len(verdicts)} claims: {counts or 'none'}"])


def _cells(verdict: Verdict) -> tuple[str, ...]:
    """Return the table cells of one verdict, numbers with as many digits as the claim states."""
    claim = verdict.claim
    unit = f" {claim.unit}" if claim.unit else ""
    measured = difference = "-"
    if verdict.measured is not None:
        measured = with_spread(claim, verdict.measured, verdict.spread) + unit
        difference = f"{verdict.measured - claim.value:+.{decimals(claim)}f}"
    return (
        claim.id,
        with_spread(claim, claim.value, claim.spread) + unit,
        measured,
        difference,
        f"{claim.tolerance:.{decimals(claim)}f}",
        f"{len(verdict.seeds)}/{seeds_needed(claim)}",
        verdict.status,
        verdict.note,
    )


def with_spread(claim: Claim, mean: float, spread: float | None) -> str:
    """Write a mean with its standard deviation, for example `86.66 ± 0.76`."""
    digits = decimals(claim)
    return f"{mean:.{digits}f}" if spread is None else f"{mean:.{digits}f} ± {spread:.{digits}f}"


def decimals(claim: Claim) -> int:
    """Return how many decimals show a tenth of the tolerance's leading digit, or at least two."""
    return max(2, 1 - math.floor(math.log10(claim.tolerance)))
