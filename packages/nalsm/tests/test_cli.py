"""The command line as a whole: it answers without loading what it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
sys.argv = ["nalsm", *{words}]
from nalsm.cli import main
try:
    code = main()
except SystemExit as ended:
    code = ended.code
heavy = [name for name in ("torch", "jax", "scipy", "sklearn", "matplotlib") if name in sys.modules]
assert code in (0, None) and not heavy, (code, heavy)
"""


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["reproduce", "--help"]])
def test_help_loads_neither_torch_nor_anything_heavy(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(words=words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage: nalsm" in done.stdout
