"""A run killed with SIGKILL at any point and started again with the same command ends with the same bits."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from denram.cli import main

SAME_BYTES = ("config.json", "metrics.jsonl", "summary.json", "weights.npy", "delays.npy")

# `die_at(point, when, count)`: this process kills itself before or after the count-th call at a point of training.
HOOK = """
import os, signal
from pathlib import Path
from denram.engines.network import DelayNetwork
from reprokit import Checkpoints, RunDirectory

def any_call(*_):
    return True

POINTS = {
    "batch": (DelayNetwork, "loss_and_gradient", any_call),
    "array": (RunDirectory, "write_array", any_call),
    "record": (RunDirectory, "log", any_call),
    "checkpoint": (Checkpoints, "save", any_call),
    "rename": (Path, "replace", lambda source, target: Path(target).suffix == ".safetensors"),
}

def die_at(point, when, count):
    owner, name, counts = POINTS[point]
    real, calls = getattr(owner, name), 0

    def step(*args, **more):
        nonlocal calls
        calls += counts(*args)
        if (calls, when) == (count, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **more)
        if (calls, when) == (count, "after"):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, step)
"""

# Forks a training process for each kill (JAX is imported but not yet started); the last one may finish. Prints how
# many epochs were logged at every kill.
HARNESS = (
    HOOK
    + """
import json, sys, warnings
warnings.simplefilter("ignore")
from denram.config import TrainConfig
from denram.data.loading import load_data
from denram.training import train

options, out, kills = json.loads(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
log, seen = out / "killed" / "metrics.jsonl", []
data = load_data(options["data"], TrainConfig(**options).binning)  # once for all of them

def start(folder, kill=None):
    child = os.fork()
    if child == 0:
        if kill:
            die_at(*kill)
        train(TrainConfig(**options, out=folder), data)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

assert start(out / "whole") == 0
for kill in kills:
    assert start(out / "killed", kill) == -signal.SIGKILL, kill
    seen.append(log.read_bytes().count(b"\\n") if log.exists() else 0)
assert start(out / "killed") == 0
print(json.dumps(seen))
"""
)


@pytest.fixture(scope="module")
def environment():
    """One thread; programs are compiled once for all processes (conftest)."""
    return {**os.environ, "NPROC": "1", "OMP_NUM_THREADS": "1"}


def options(profile):
    return {
        "data": "spoken-toy",
        "n_in": 64,
        "n_delays": 4,
        "nb_epochs": 8,
        "batch_size": 16,
        "profile": profile,
    }


FAITHFUL = (  # where to kill, and the epochs in the log then
    (("batch", "before", 3), 0),
    (("record", "before", 1), 0),
    (("record", "after", 1), 1),  # logged, but in no checkpoint: trained again
    (("checkpoint", "after", 2), 2),
    (("rename", "before", 3), 5),  # leaves the temporary file of a checkpoint
    (("array", "after", 1), 5),
)
FIXED = ((("checkpoint", "before", 4), 4),)


@pytest.mark.slow
@pytest.mark.parametrize(("profile", "kills"), [("faithful", FAITHFUL), ("fixed", FIXED)])
def test_killed_training_ends_with_the_same_bits(tmp_path, environment, profile, kills):
    points = json.dumps([point for point, _ in kills])
    done = subprocess.run(
        [sys.executable, "-c", HARNESS, json.dumps(options(profile)), str(tmp_path), points],
        capture_output=True, text=True, timeout=600, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [epochs for _, epochs in kills]
    for name in SAME_BYTES:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name


@pytest.mark.slow
def test_the_command_itself_survives_a_kill(tmp_path, environment, capsys):
    """Another process was killed; this one, in which JAX was used before, continues and ends with the same bits."""

    def command(out: Path) -> list[str]:
        flags = {f"--{name}": str(value) for name, value in options("fixed").items()} | {"--out": str(out)}
        return ["train", *(part for pair in flags.items() for part in pair)]

    killed = tmp_path / "killed"
    hooked = (
        f"{HOOK}\nfrom denram.cli import main\ndie_at('checkpoint', 'after', 3)\nraise SystemExit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", hooked, *command(killed)], capture_output=True, timeout=600, env=environment
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list(killed.glob("checkpoints/*.safetensors"))
    assert not (killed / "summary.json").exists()
    assert main(command(killed)) == 0
    assert "resuming after epoch 2" in capsys.readouterr().out
    assert main(command(tmp_path / "whole")) == 0
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
