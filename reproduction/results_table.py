"""Write the results table of the README from what the judge says; with --check only compare.

python reproduction/results_table.py          # after new rows or claims
python reproduction/results_table.py --check  # exit code 1 where the README says something else
"""

import sys
from pathlib import Path

from reprokit.claims import judge, load_claims
from reprokit.claims.table import as_markdown
from reprokit.files import write_file
from reprokit.terminal import say

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results: written by reproduction/results_table.py -->\n", "<!-- end of results -->\n"


def with_results(readme: str, table: str) -> str:
    """Return the text of a README with `table` between the two marks, which must be there once each."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in tail:
        raise SystemExit(f"the README must hold {BEGIN.strip()} and {END.strip()} once, in this order")
    return f"{head}{BEGIN}\n{table}\n\n{END}{tail}"


def main(words: list[str]) -> int:
    """Write or compare; the exit code is 1 where the README is behind the ledgers."""
    if words not in ([], ["--check"]):
        raise SystemExit("usage: results_table.py [--check]")
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    verdicts = judge(load_claims(ROOT / "reproduction" / "claims.toml"), ROOT / "reproduction")
    after = with_results(before, as_markdown(verdicts))
    if words:
        if after != before:
            say(
                "README.md: the results table is not what the judge says; run python reproduction/results_table.py"
            )
        return int(after != before)
    write_file(readme, after)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
