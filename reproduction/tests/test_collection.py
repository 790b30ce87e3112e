"""The suites can be collected together: `pytest` in the root."""

from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_two_suites_have_a_helper_of_the_same_name():
    folders = [
        *ROOT.glob("packages/*/tests"),
        ROOT / "shared/tests",
        ROOT / "reproduction/tests",
        ROOT / "reproduction/trust",
    ]
    helpers = [path.name for folder in folders for path in folder.rglob("*.py")]
    counts = Counter(name for name in helpers if not name.startswith("test_") and name != "conftest.py")
    assert counts
    assert [name for name, count in counts.items() if count > 1] == []
