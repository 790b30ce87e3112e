"""Verdicts as a text table, and how their numbers are written."""

import math
from collections.abc import Sequence

from reprokit.claims.claims import Claim, seeds_needed
from reprokit.claims.verdicts import Verdict


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
