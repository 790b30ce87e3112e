"""The verdicts as text: a table for people, JSON for programs, the counts of each kind of source."""

import json
import math
from collections.abc import Sequence

from reprokit.claims.claims import PUBLISHED, SOURCE_KINDS, seeds_needed
from reprokit.claims.verdicts import STATUSES, Verdict, decimals, with_spread

HEADER = ("claim", "published", "measured", "difference", "z", "tolerance", "seeds", "verdict", "note")
JUDGED = ("ok", "near", "fail", "unclean")


def format_verdicts(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as an aligned text table and the lines of `totals`."""
    lines = [HEADER, *(_cells(verdict) for verdict in verdicts)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    numeric = range(1, 7)
    table = [
        "  ".join(
            cell.rjust(width) if column in numeric else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*table, *totals(verdicts)])


def totals(verdicts: Sequence[Verdict]) -> list[str]:
    """Return the counts of all claims, of each kind of source, of the published ones, and of unidentified data."""
    found = [_counts("", verdicts)]
    for kind in SOURCE_KINDS:
        of_kind = [verdict for verdict in verdicts if verdict.claim.source_kind == kind]
        found += [_counts(f"{kind}: ", of_kind)] if of_kind else []
    published = [verdict for verdict in verdicts if verdict.claim.source_kind in PUBLISHED]
    found.append(_counts("published: ", published))
    unidentified = [v for v in verdicts if v.status in JUDGED and not v.identified]
    return [*found, f"data not identified: {len(unidentified)} claims"] if unidentified else found


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    """Return the headlines as a Markdown table, followed by the totals."""
    lines = ["| package | result | published | ours | verdict |", "|---|---|---|---|---|"]
    for verdict in verdicts:
        claim, cells = verdict.claim, _cells(verdict)
        if claim.headline:
            ours = cells[2] + (f" ({verdict.note})" if verdict.note else "")
            kind = "" if claim.source_kind in PUBLISHED else f" ({claim.source_kind})"
            result = (claim.package, claim.headline, cells[1] + kind, ours, verdict.status)
            lines.append(f"| {' | '.join(result)} |")
    return "\n".join([*lines, "", "; ".join(totals(verdicts)) + "."])


def as_json(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as one JSON object: `claims` in order and `counts` of the statuses, all and published.

    Numbers that are not finite are null.
    """
    published = [verdict for verdict in verdicts if verdict.claim.source_kind in PUBLISHED]
    return json.dumps(
        {
            "claims": [_values(verdict) for verdict in verdicts],
            "counts": {"all": _statuses(verdicts), "published": _statuses(published)},
        },
        indent=1,
        allow_nan=False,
    )


def _values(verdict: Verdict) -> dict[str, object]:
    claim = verdict.claim
    numbers = {
        "published": claim.value,
        "published_spread": claim.spread,
        "measured": verdict.measured,
        "spread": verdict.spread,
        "difference": None if verdict.measured is None else verdict.measured - claim.value,
        "z": verdict.z,
        "tolerance": claim.tolerance,
    }
    return {
        "id": claim.id,
        "package": claim.package,
        "source_kind": claim.source_kind,
        "status": verdict.status,
        "unit": claim.unit,
        **{name: value if value is None or math.isfinite(value) else None for name, value in numbers.items()},
        "seeds": list(verdict.seeds),
        "seeds_needed": seeds_needed(claim),
        "enough_seeds_to_tell": verdict.telling,
        "data_identified": verdict.identified,
        "note": verdict.note,
    }


def _statuses(verdicts: Sequence[Verdict]) -> dict[str, int]:
    statuses = [verdict.status for verdict in verdicts]
    return {status: statuses.count(status) for status in STATUSES}


def _counts(name: str, verdicts: Sequence[Verdict]) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in _statuses(verdicts).items() if count)
    return f"{name}{len(verdicts)} claims: {counts or 'none'}"


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
        "-" if verdict.z is None else f"{verdict.z:+.1f}",
        f"{claim.tolerance:.{decimals(claim)}f}",
        f"{len(verdict.seeds)}/{seeds_needed(claim)}",
        verdict.status,
        verdict.note,
    )
