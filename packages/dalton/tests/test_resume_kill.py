"""kill -9 at named points of a run, also in the middle of an epoch: the run continues and ends with the same bits."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dalton import train
from small_runs import assert_same, small

CHILD = Path(__file__).with_name("resume_child.py")
OPTIONS = {
    "arch": "small_runs:DROPPED",
    "epochs": 4,
    "train_size": 120,
    "checkpoint_batches": 3,
    "batch_size": 10,
}
POINTS = (
    ("dalton.training.loop:train_step", 8),  # between two checkpoints of the first epoch
    ("dalton.training.loop:_Loop._save", 3),  # after the first epoch's record, before its checkpoint
    ("reprokit.run.checkpoint:atomic_write", 2),  # inside a checkpoint
    ("reprokit:RunDirectory.log", 1),  # weights of the best epoch saved, its record not
    ("dalton.training.loop:train_step", 2),  # just after a resumption
    ("reprokit:RunDirectory.finish", 1),  # all is done but the summary
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_killed_run_ends_bit_equal(tmp_path):
    killed = tmp_path / "killed"
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(CHILD),
        str(killed),
        json.dumps(OPTIONS),
        json.dumps(POINTS),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    assert json.loads(ended.stdout) == [signal.SIGKILL] * len(POINTS)
    assert not (killed / "summary.json").exists()
    train(small(out=killed, **OPTIONS))
    train(small(out=tmp_path / "whole", **OPTIONS))
    assert_same(tmp_path / "whole", killed)
