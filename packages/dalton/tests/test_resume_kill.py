"""kill -9 at several points of a run, also in the middle of an epoch: the run goes on and ends with the same bits."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dalton import train
from small_runs import assert_same, small

CHILD = Path(__file__).with_name("resume_child.py")
OPTIONS = {
    "arch": "small_runs:DROPPED",
    "epochs": 8,
    "train_size": 300,
    "checkpoint_batches": 3,
    "batch_size": 10,
}


def checkpoints(path: Path) -> list[str]:
    return sorted(file.name for file in (path / "checkpoints").glob("checkpoint-*"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_run_ends_bit_equal(tmp_path):
    killed = tmp_path / "killed"
    command = [sys.executable, "-W", "ignore", str(CHILD), str(killed), json.dumps(OPTIONS)]
    for wanted, delay in ((2, 0.02), (7, 0.0)):  # after so many more checkpoints, and a little later
        before = (checkpoints(killed) or [""])[-1]
        seen: set[str] = set()
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        deadline = time.monotonic() + 100
        while process.poll() is None and len(seen) < wanted and time.monotonic() < deadline:
            time.sleep(0.002)
            seen |= {name for name in checkpoints(killed) if name > before}
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was killed before its end"
        assert checkpoints(killed)[-1] > before, "progress survived"
    train(small(out=killed, **OPTIONS))
    train(small(out=tmp_path / "whole", **OPTIONS))
    assert_same(tmp_path / "whole", killed)
