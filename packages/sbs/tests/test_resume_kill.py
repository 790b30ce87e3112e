"""Processes that kill themselves with SIGKILL at named points; the same command then ends with the same bits."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch._dynamo  # noqa: F401  (the first optimiser imports it: here once, not in every child)
from reprokit import Checkpoints, RunDirectory
from sbs.cli import main

UPDATES = 16
FLAGS = [
    f"--learning.updates={UPDATES}",
    "--learning.batch-size=16",
    "--learning.batches-per-update=2",
    "--network.number-of-spikes=20",
    "--data.limit-test=20",
    "--test-every=5",
    "--checkpoint-every=3",
]
FUNCTIONS = {
    "log": (RunDirectory, "log"),
    "checkpoint": (Checkpoints, "save"),
    "rename": (Path, "replace"),
}
POINTS = [  # a function, which of its calls kills (after it for the log, else before), and the records then logged
    ("log", 2, 2),  # before the first checkpoint
    ("rename", 2, 4),  # a checkpoint is written and has not got its name
    ("checkpoint", 3, 9),  # the log is ahead of the checkpoint
    ("log", 5, 11),  # a second time in the same run
]


def die_at(point: str, number: int) -> None:
    """Kill this process at the ``number``-th call of a function from now on."""
    owner, name = FUNCTIONS[point]
    original, calls = getattr(owner, name), 0

    def counted(self: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal calls
        if point != "rename" or "checkpoint-" in str(arguments[0]):
            calls += 1
            if calls == number:
                if point == "log":
                    original(self, *arguments, **named)
                os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *arguments, **named)

    setattr(owner, name, counted)


def train(folder: Path, *kill: Any) -> int:
    """Run the command in a child of this process; a negative exit code is the signal that killed it."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            if kill:
                die_at(*kill)
            code = main(["train", "digits-smoke", *FLAGS, "--out", str(folder)])
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def log_of(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if "seconds" not in k} for line in lines]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_runs_end_bit_equal(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for point, number, records in POINTS:
        assert train(killed, point, number) == -signal.SIGKILL, point
        assert not (killed / "summary.json").exists()
        assert len(log_of(killed)) == records, point
    assert [train(folder) for folder in (whole, killed)] == [0, 0]
    for name in ("checkpoints", "best"):
        first, second = (Checkpoints(folder / name).load_latest() for folder in (whole, killed))
        assert first is not None
        assert second is not None
        assert first.step == second.step
        assert first.arrays.keys() == second.arrays.keys()
        for key, array in first.arrays.items():
            assert np.array_equal(array, second.arrays[key]), key
    assert log_of(whole) == log_of(killed)
    assert [record["update"] for record in log_of(killed)] == list(range(1, UPDATES + 1))
