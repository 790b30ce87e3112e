"""Command lines of small runs, run in this process."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from nalsm.cli import main

SMALL = {
    "--data": "digits", "--dims": ("4", "4", "4"), "--duration": "80", "--initial-samples": "60",
    "--train-samples": "200", "--validation-samples": "60", "--test-samples": "80", "--readout-epochs": "30",
    "--record": "4",
}  # fmt: skip
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(out: Path, **changes: str) -> list[str]:
    """Return the command of a small run."""
    options = {**SMALL, **{f"--{k.replace('_', '-')}": v for k, v in changes.items()}}
    words = [
        w for key, value in options.items() for w in (key, *([value] if isinstance(value, str) else value))
    ]
    return [sys.executable, "-m", "nalsm.cli", "train", *words, "--out", str(out)]


@dataclass
class Done:
    """The result of a command."""

    returncode: int
    stdout: str
    stderr: str


def run(words: list[str]) -> Done:
    """Run a command line to its end, in this process."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["nalsm", *words[3:]]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main()
    finally:
        sys.argv = before
    return Done(code, out.getvalue(), err.getvalue())
