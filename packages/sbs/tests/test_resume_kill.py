"""Real processes, real ``kill -9``: the same command afterwards ends with the same bits."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from reprokit import Checkpoints

COMMAND = [
    sys.executable,
    "-c",
    "import sys; from sbs.cli import main; sys.exit(main())",
    "train",
    "digits-smoke",
]
FLAGS = [
    "--learning.updates=40",
    "--learning.batch-size=32",
    "--learning.batches-per-update=2",
    "--network.number-of-spikes=60",
    "--data.limit-test=50",
    "--test-every=9",
    "--checkpoint-every=3",
]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, *FLAGS, "--out", str(folder)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder: Path) -> None:
    process = start(folder)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors


def wait_for(folder: Path, records: int, process: subprocess.Popen) -> None:
    log = folder / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and log.read_bytes().count(b"\n") >= records:
            return
        time.sleep(0.002)


@pytest.mark.slow
def test_killed_runs_end_bit_equal(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(whole)
    chance = random.Random(4)
    kills = 0
    for records in (2, 22):
        process = start(killed)
        wait_for(killed, records, process)
        time.sleep(chance.random() * 0.05)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
    assert kills == 2
    finish(killed)
    first, second = (Checkpoints(folder / "checkpoints").load_latest() for folder in (whole, killed))
    assert first is not None
    assert second is not None
    assert first.step == second.step == 40
    assert first.arrays.keys() == second.arrays.keys()
    for name, array in first.arrays.items():
        assert np.array_equal(array, second.arrays[name]), name
    logs = [
        [
            {key: value for key, value in json.loads(line).items() if "seconds" not in key}
            for line in (folder / "metrics.jsonl").read_text().splitlines()
        ]
        for folder in (whole, killed)
    ]
    assert logs[0] == logs[1]
    assert [record["update"] for record in logs[1]] == list(range(1, 41))
