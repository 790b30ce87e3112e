"""Joins what `make coverage` counted; fails where a suite runs fewer lines of its package than its floor."""

import io
import sys
import tomllib
from pathlib import Path

import coverage

ROOT = Path(__file__).resolve().parents[1]


def percent(suite: str, folder: str) -> float:
    """Return the share of lines below `folder`/src that the suite's own tests ran (`.coverage-SUITE.*`)."""
    data = ROOT / f".coverage-{suite}"
    found = sorted(ROOT.glob(f"{data.name}.*"))
    if not found:
        sys.exit(f"no lines of {suite} were counted: run `make coverage`")
    counted = coverage.Coverage(data_file=str(data), config_file=str(ROOT / "pyproject.toml"))
    counted.combine([str(file) for file in found], strict=True)
    counted.save()
    return counted.report(include=[f"{folder}/src/*"], file=io.StringIO())


def main() -> int:
    """Print a line for each package; 1 if one is below its floor."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["coverage-floors"]
    below = False
    for name, floor in table.items():
        suite, folder = ("shared", "shared") if name == "reprokit" else (name, f"packages/{name}")
        share = percent(suite, folder)
        below |= share < floor
        print(f"{name:9} {share:6.2f} % of lines run by its tests; the floor is {floor} %")
    if below:
        print("write the missing tests: floors are raised, never lowered")
    return int(below)


if __name__ == "__main__":
    sys.exit(main())
