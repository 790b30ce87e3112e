"""The program `reprokit`: data sets, verdicts on published numbers, the results page."""

from pathlib import Path

from tyro.conf import Positional

from reprokit.cli.app import App, judge_claims
from reprokit.terminal import say

app = App("reprokit", summary="Data sets, verdicts on published numbers, the results page.")
app.command(judge_claims, name="judge")


@app.command
def report(
    claims: Positional[Path | None] = None, results: Path | None = None, out: Path = Path("report.html")
) -> None:
    """Write one self-contained HTML page: every claim, its verdict, its ledger rows, the figures.

    Args:
        claims: Claims file; none: reproduction/claims.toml in this folder or one above it.
        results: Folder from which the ledger paths start; none: the claims file's folder.
        out: Page to write.
    """
    from reprokit.claims import judge, load_claims
    from reprokit.claims.claims import find_claims, load_papers
    from reprokit.claims.report import write_report

    file = claims or find_claims()
    folder = results or file.parent
    write_report(out, judge(load_claims(file), folder), folder, load_papers(file))
    say(f"wrote {out}")


main = app.main
