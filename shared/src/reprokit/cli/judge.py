"""The command ``judge`` of every program: published numbers against the rows of the result ledgers."""

from pathlib import Path

from reprokit.errors import UserError
from reprokit.terminal import say

CLAIMS = Path("reproduction/claims.toml")


def judge_claims(claims: Path | None, results: Path | None, package: str | None) -> int:
    """Print a table of verdicts.

    Args:
        claims: Claims file; None looks for `reproduction/claims.toml` in this folder and those above it.
        results: Folder the ledger paths start from; None: the claims file's folder.
        package: Judge the claims of this package only; None: all.

    Returns:
        1 if a claim is judged ``fail``, else 0.

    Raises:
        UserError: No claims file, or a damaged file.
    """
    from reprokit.claims import judge, load_claims
    from reprokit.claims.verdicts import format_verdicts

    file = claims or find_claims()
    chosen = [claim for claim in load_claims(file) if package in (None, claim.package)]
    verdicts = judge(chosen, results or file.parent)
    say(format_verdicts(verdicts))
    return int(any(verdict.status == "fail" for verdict in verdicts))


def find_claims() -> Path:
    """Return the claims file of the clone that holds the working folder.

    Raises:
        UserError: There is none.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / CLAIMS).is_file():
            return (folder / CLAIMS).relative_to(here) if folder == here else folder / CLAIMS
    raise UserError(
        f"no {CLAIMS} in {here} or above it; run this inside a clone, or name the file with --claims"
    )
