"""A run killed with SIGKILL at any moment and started again with the same command ends with the same bits."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SAME_BYTES = ("config.json", "metrics.jsonl", "summary.json", "weights.npy", "delays.npy")

# Forks a training process (JAX is imported but not yet started), kills it once the log has the given number of
# epochs and a random moment of about one epoch has passed, and so on; the last one may finish. Prints how many
# epochs were logged at every kill.
HARNESS = """
import json, os, random, signal, sys, time, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from denram.config import TrainConfig
from denram.training.loop import train

options, out, targets = json.loads(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
log, moment, seen = out / "killed" / "metrics.jsonl", random.Random(1), []

def start(folder):
    child = os.fork()
    if child == 0:
        train(TrainConfig(**options, out=folder))
        os._exit(0)
    return child

def logged():
    return log.read_bytes().count(b"\\n") if log.exists() else 0

assert os.waitpid(start(out / "whole"), 0)[1] == 0
for target in targets:
    child = start(out / "killed")
    while logged() < target and os.waitpid(child, os.WNOHANG)[0] == 0:
        time.sleep(0.001)
    time.sleep(moment.uniform(0, 0.03 if target else 0.3))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    seen.append(logged())
assert os.waitpid(start(out / "killed"), 0)[1] == 0
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """One thread, and programs compiled once for all processes."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled"))}
    cache["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    return {**os.environ, "NPROC": "1", "OMP_NUM_THREADS": "1", **cache}


def options(profile):
    return {
        "data": "spoken-toy",
        "n_in": 64,
        "n_delays": 4,
        "nb_epochs": 20,
        "batch_size": 16,
        "profile": profile,
    }


@pytest.mark.parametrize(("profile", "targets"), [("faithful", [0, 1, 4, 9]), ("fixed", [4])])
def test_killed_training_ends_with_the_same_bits(tmp_path, environment, profile, targets):
    done = subprocess.run(
        [sys.executable, "-c", HARNESS, json.dumps(options(profile)), str(tmp_path), json.dumps(targets)],
        capture_output=True, text=True, timeout=600, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    epochs = json.loads(done.stdout)
    print(f"\nepochs logged at the kills: {epochs}")
    assert epochs[-1] >= targets[-1]
    for name in SAME_BYTES:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name


def test_the_command_itself_survives_a_kill(tmp_path, environment):
    def command(out: Path) -> list[str]:
        flags = {f"--{name}": str(value) for name, value in options("fixed").items()} | {"--out": str(out)}
        return [
            sys.executable,
            "-m",
            "denram.cli",
            "train",
            *(part for pair in flags.items() for part in pair),
        ]

    killed = tmp_path / "killed"
    process = subprocess.Popen(
        command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    deadline = time.monotonic() + 60
    while (
        not list(killed.glob("checkpoints/*.safetensors"))
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "summary.json").exists()
    again = subprocess.run(command(killed), capture_output=True, text=True, timeout=300, env=environment)
    assert again.returncode == 0, again.stderr
    assert "resuming after epoch" in again.stdout
    whole = subprocess.run(
        command(tmp_path / "whole"), capture_output=True, text=True, timeout=300, env=environment
    )
    assert whole.returncode == 0
    for name in SAME_BYTES:
        assert (tmp_path / "whole" / name).read_bytes() == (killed / name).read_bytes(), name


@pytest.mark.parametrize("profile", ["fixed", "faithful"])
def test_resume_after_every_epoch_is_bit_equal(profile):
    from denram.config import TrainConfig
    from denram.data.loading import load_data
    from denram.training.trainer import make_trainer

    config = TrainConfig(**{**options(profile), "nb_epochs": 5})
    data = load_data(config.data, config.binning)
    whole, _ = make_trainer(config, data)
    snapshots, records = [], []
    while not whole.finished:
        snapshots.append(whole.checkpoint())
        records.append(whole.run_epoch())
    for step, (arrays, state) in enumerate(snapshots):
        resumed, _ = make_trainer(config, data)
        resumed.restore(step, arrays, json.loads(json.dumps(state)))
        record = resumed.run_epoch()
        assert {**record, "duration": 0} == {**records[step], "duration": 0}
        if step == len(snapshots) - 3:
            while not resumed.finished:
                resumed.run_epoch()
            assert (resumed.best_weights == whole.best_weights).all()
            assert resumed.summary() == whole.summary()
