"""The command `reprokit`: data sets, verdicts on published numbers, the results page."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from reprokit.claims.claims import load_claims, load_papers
from reprokit.claims.verdicts import format_verdicts, judge
from reprokit.terminal import say

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
    from reprokit.cli.datacli import main as data_main

    return data_main(arguments) or 0


def _judge(arguments: list[str]) -> int:
    options = tyro.cli(JudgeOptions, args=arguments, prog="reprokit judge")
    claims = [claim for claim in load_claims(options.claims) if options.package in (None, claim.package)]
    verdicts = judge(claims, options.results or options.claims.parent)
    say(format_verdicts(verdicts))
    return int(any(verdict.status == "fail" for verdict in verdicts))


def _report(arguments: list[str]) -> int:
    from reprokit.claims.report import write_report

    options = tyro.cli(ReportOptions, args=arguments, prog="reprokit report")
    folder = options.results or options.claims.parent
    verdicts = judge(load_claims(options.claims), folder)
    write_report(options.out, verdicts, folder, load_papers(options.claims))
    say(f"wrote {options.out}")
    return 0
