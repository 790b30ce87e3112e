"""The quick starts run from another folder, offline, and write a figure and numbers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
METHODS = ("bdfa", "dalton", "denram", "nalsm", "sbs")


def test_there_is_one_for_every_method():
    assert [file.stem for file in sorted(EXAMPLES.glob("*.py"))] == [f"{name}_quickstart" for name in METHODS]


@pytest.mark.parametrize("package", METHODS)
def test_a_quick_start_says_how_to_take_own_data(package):
    text = (EXAMPLES / f"{package}_quickstart.py").read_text("utf-8")
    assert re.search(r"^# Your own (data|images|recordings)", text, re.M)
    assert len(text.splitlines()) <= 60


@pytest.mark.slow
@pytest.mark.parametrize("package", METHODS)
def test_a_quick_start_runs(package, tmp_path):
    environment = os.environ | {"MPLBACKEND": "agg", "REPROKIT_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{package}_quickstart.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") >= 3
    assert {file.name for file in tmp_path.iterdir()} <= {f"{package}_quickstart.png", "runs"}
    assert (tmp_path / f"{package}_quickstart.png").read_bytes().startswith(b"\x89PNG")
