"""The command `reprokit`: data sets, verdicts on published numbers, the results page."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from reprokit.claims import Claim, Verdict, judge, load_claims
from reprokit.cli import say

HELP = """usage: reprokit COMMAND [options]

  data     list, fetch, verify and locate data sets
  judge    compare measured results with published numbers
  report   write the same as one HTML page, with figures

`reprokit COMMAND --help` tells the options."""


@dataclass(frozen=True)
class JudgeOptions:
    """Judge published numbers by the rows of the result ledgers; exit code 1 if one fails."""

    claims: tyro.conf.Positional[Path] = Path("reproduction/claims.toml")
    """claims file"""
    results: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """folder the ledger paths start from (default: the claims file's folder)"""
    package: str | None = None
    """judge the claims of this package only"""


@dataclass(frozen=True)
class ReportOptions:
    """Write one self-contained HTML page: every claim, its verdict, its ledger rows, the figures."""

    claims: tyro.conf.Positional[Path] = Path("reproduction/claims.toml")
    """claims file"""
    results: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """folder the ledger paths start from (default: the claims file's folder)"""
    out: Path = Path("report.html")
    """page to write"""


def main(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name.

    Returns:
        The exit code.
    """
    commands: dict[str, Callable[[list[str]], int]] = {"data": _data, "judge": _judge, "report": _report}
    if not arguments or arguments[0] in ("-h", "--help"):
        say(HELP)
        return 0 if arguments else 2
    if arguments[0] not in commands:
        sys.stderr.write(f"{HELP}\n\nerror: unknown command {arguments[0]!r}\n")
        return 2
    return commands[arguments[0]](list(arguments[1:]))


def _data(arguments: list[str]) -> int:
    from reprokit.datacli import main as data_main

    return data_main(arguments) or 0


def _judge(arguments: list[str]) -> int:
    options = tyro.cli(JudgeOptions, args=arguments, prog="reprokit judge")
    claims = [claim for claim in load_claims(options.claims) if options.package in (None, claim.package)]
    verdicts = judge(claims, options.results or options.claims.parent)
    say(format_verdicts(verdicts))
    return int(any(verdict.status == "fail" for verdict in verdicts))


def _report(arguments: list[str]) -> int:
    from reprokit.report import write_report

    options = tyro.cli(ReportOptions, args=arguments, prog="reprokit report")
    folder = options.results or options.claims.parent
    write_report(options.out, judge(load_claims(options.claims), folder), folder)
    say(f"wrote {options.out}")
    return 0


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
        difference = f"{verdict.measured - claim.value:+.{_decimals(claim)}f}"
    needed = len(claim.seeds) if isinstance(claim.seeds, list) else claim.seeds
    return (
        claim.id,
        with_spread(claim, claim.value, claim.spread) + unit,
        measured,
        difference,
        f"{claim.tolerance:.{_decimals(claim)}f}",
        f"{len(verdict.seeds)}/{needed}",
        verdict.status,
        verdict.note,
    )


def with_spread(claim: Claim, mean: float, spread: float | None) -> str:
    """Write a mean with its standard deviation, for example `86.66 ± 0.76`."""
    digits = _decimals(claim)
    return f"{mean:.{digits}f}" if spread is None else f"{mean:.{digits}f} ± {spread:.{digits}f}"


def _decimals(claim: Claim) -> int:
    """Return how many decimals show a hundredth of the tolerance's leading digit, or at least two."""
    return max(2, 2 - math.floor(math.log10(claim.tolerance)))
