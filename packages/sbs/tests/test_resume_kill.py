"""Processes that kill themselves with SIGKILL at named points; the same command then ends with the same bits."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reprokit import Checkpoints

FLAGS = [
    "--learning.updates=40",
    "--learning.batch-size=32",
    "--learning.batches-per-update=2",
    "--network.number-of-spikes=60",
    "--data.limit-test=50",
    "--test-every=9",
    "--checkpoint-every=3",
]
# The first two words say where the process dies: before or after the k-th call of one of these functions.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from reprokit import Checkpoints, RunDirectory
from sbs.cli import main

point, number = sys.argv.pop(1), int(sys.argv.pop(1))
owner, name = {
    "log": (RunDirectory, "log"),
    "checkpoint": (Checkpoints, "save"),
    "rename": (Path, "replace"),
}.get(point, (None, ""))
if owner is not None:
    original, calls = getattr(owner, name), 0

    def counted(self, *arguments, **named):
        global calls
        if point != "rename" or "checkpoint-" in str(arguments[0]):
            calls += 1
            if calls == number:
                if point == "log":
                    original(self, *arguments, **named)
                os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *arguments, **named)

    setattr(owner, name, counted)
sys.exit(main())
"""
POINTS = [
    ("log", 2),  # before the first checkpoint
    ("rename", 4),  # a checkpoint is written and has not got its name
    ("checkpoint", 5),  # the log is ahead of the checkpoint
    ("log", 13),  # a second time in the same run
]


def train(folder: Path, point: str = "none", number: int = 0) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM,
            point,
            str(number),
            "train",
            "digits-smoke",
            *FLAGS,
            "--out",
            str(folder),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def log_of(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if "seconds" not in k} for line in lines]


@pytest.mark.slow
def test_killed_runs_end_bit_equal(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for point, number in POINTS:
        done = train(killed, point, number)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not (killed / "summary.json").exists()
    for folder in (whole, killed):
        done = train(folder)
        assert done.returncode == 0, done.stderr
    for name in ("checkpoints", "best"):
        first, second = (Checkpoints(folder / name).load_latest() for folder in (whole, killed))
        assert first is not None
        assert second is not None
        assert first.step == second.step
        assert first.arrays.keys() == second.arrays.keys()
        for key, array in first.arrays.items():
            assert np.array_equal(array, second.arrays[key]), key
    assert log_of(whole) == log_of(killed)
    assert [record["update"] for record in log_of(killed)] == list(range(1, 41))
