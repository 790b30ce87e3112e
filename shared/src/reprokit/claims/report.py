"""The results page: one HTML file with every claim, its verdict, its ledger rows, the figures and their numbers.

The comparison of the methods (``compare/README.md`` among the results) and the measurements of trust (``docs/trust.md``
next to the folder of results) are shown where they exist.
"""

import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from reprokit.claims.claims import Claim, Paper, seeds_needed
from reprokit.claims.exhibits import COMPARISON, TRUST, figures_of, pictures_in, tables_in
from reprokit.claims.verdicts import STATUSES, Verdict, decimals, with_spread
from reprokit.errors import library
from reprokit.files.atomic import write_file
from reprokit.run.provenance import git_commit

MEANINGS = {
    "ok": "within the tolerance",
    "near": "within twice the tolerance",
    "fail": "further away",
    "reduced": "other data, smaller scale or fewer seeds: not judged",
    "unclean": "measured with a modified working tree",
    "not run": "no rows yet",
}
HIDDEN = ("config", "versions")  # columns too long for a page; the ledger has them
BANDS = 3  # a gauge covers this many tolerances on each side


def write_report(
    path: str | Path,
    verdicts: Sequence[Verdict],
    reproduction_dir: str | Path,
    papers: Mapping[str, Paper] | None = None,
) -> Path:
    """Write the results page: no scripts, no other files; filters use only the style sheet.

    Figures and their numbers come from the folders of the ledgers. A symbolic link among them is refused, because it
    could lead to any file of the machine.

    Args:
        path: HTML file to write; it needs no other file.
        verdicts: From `judge`.
        reproduction_dir: Folder above the claims' ledgers; figures next to a ledger are shown.
        papers: What each package reproduces, from `load_papers`; packages without an entry show their name.

    Returns:
        `path`.

    Raises:
        UserError: jinja2 is not installed, a figure is a symbolic link, or the folder of `path` cannot be created.
    """
    jinja2 = library("jinja2", "the results page needs jinja2", "jinja2")
    packages: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        packages.setdefault(verdict.claim.package, []).append(verdict)
    template = (files("reprokit.claims") / "report.html.jinja").read_text(encoding="utf-8")
    folder, papers = Path(reproduction_dir), papers or {}
    text = (
        jinja2.Environment(autoescape=True, trim_blocks=True)
        .from_string(template)
        .render(
            commit=git_commit(),
            total=len(verdicts),
            statuses=_counts(verdicts),
            packages=[_package(name, group, folder, papers.get(name)) for name, group in packages.items()],
            comparison=_comparison(folder),
            trust=tables_in(folder.resolve().parent / TRUST),
            hidden=HIDDEN,
            css=_css,
            gauge=_gauge,
            needed=seeds_needed,
            number=_number,
        )
    )
    return write_file(path, text)


def _package(name: str, verdicts: Sequence[Verdict], folder: Path, paper: Paper | None) -> dict[str, Any]:
    """Return what the page shows for one package."""
    figures, tables = figures_of(verdicts, folder)
    return {
        "name": name,
        "title": paper.title if paper else "",
        "paper": paper.url if paper else "",
        "statuses": _counts(verdicts),
        "figures": figures,
        "tables": tables,
        "measured": [verdict for verdict in verdicts if verdict.status != "not run"],
        "pending": [verdict for verdict in verdicts if verdict.status == "not run"],
    }


def _counts(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return every status with its number of verdicts, its meaning and its class in the style sheet."""
    found = [verdict.status for verdict in verdicts]
    return [
        {
            "number": number,
            "name": status,
            "css": _css(status),
            "count": found.count(status),
            "meaning": MEANINGS[status],
        }
        for number, status in enumerate(STATUSES, start=1)
    ]


def _css(status: str) -> str:
    return status.replace(" ", "-")


def _gauge(verdict: Verdict) -> dict[str, Any] | None:
    """Place a measured mean on a line from -100 to 100, the published value at 0, a tolerance 100 / BANDS long.

    Returns:
        Positions of the mean (`at`, with `beyond` -1 or 1 if it is outside) and of one standard deviation
        around it, and a label; None without a measured number on the claim's own data.
    """
    claim, mean = verdict.claim, verdict.measured
    if mean is None or not math.isfinite(mean) or verdict.rows[0].get("dataset") != claim.dataset:
        return None

    def place(value: float) -> float:
        return round(max(-1.0, min(1.0, (value - claim.value) / (BANDS * claim.tolerance))) * 94, 1)

    spread, distance = verdict.spread or 0.0, mean - claim.value
    outside = abs(distance) > BANDS * claim.tolerance
    return {
        "at": place(mean),
        "beyond": int(math.copysign(1, distance)) if outside else 0,
        "low": place(mean - spread),
        "high": place(mean + spread),
        "label": f"{distance:+.{decimals(claim)}f} {claim.unit} from the published value, "
        f"tolerance {claim.tolerance:g}",
    }


def _number(claim: Claim, mean: float | None, spread: float | None) -> str:
    return "–" if mean is None else with_spread(claim, mean, spread)


def _comparison(folder: Path) -> dict[str, Any] | None:
    """Return tables and figures of the comparison of the methods; None while there are none."""
    tables = tables_in(folder / COMPARISON / "README.md")
    return {"tables": tables, "figures": pictures_in(folder / COMPARISON, folder)[0]} if tables else None
