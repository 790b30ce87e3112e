"""Runs from start to end: command line, kill and resume, bad input, deviations, the estimator."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nalsm import Config, LiquidNetwork, Run
from nalsm.names import canonical
from nalsm.reproduce.plan import run_one
from nalsm.training.liquid import Liquid
from nalsm_commands import command, run
from reprokit import Checkpoints, RunDirectory


def result(out: Path) -> dict[str, object]:
    """Return everything of a finished run that must be reproducible."""
    summary = json.loads((out / "summary.json").read_text())
    summary.pop("seconds")
    arrays = {f.name: np.load(f).tobytes() for f in sorted(out.glob("*.npy"))}
    with np.load(out / "readout.npz") as readout:
        arrays |= {k: readout[k].tobytes() for k in readout.files}
    return summary | arrays


def files(out: Path) -> set[str]:
    """Names of the files of a run."""
    return {str(f.relative_to(out)) for f in out.rglob("*") if f.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("nalsm") / "run"
    done = run(command(out))
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    return out


def test_run_learns_and_can_be_inspected(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["dataset"] == "digits"
    assert summary["test_accuracy"] > 0.4
    info = run([sys.executable, "-m", "nalsm.cli", "info", str(finished)])
    assert "test accuracy" in info.stdout
    plot = run([sys.executable, "-m", "nalsm.cli", "plot", str(finished), "--out", str(finished / "figures")])
    assert plot.returncode == 0, plot.stderr
    assert len(list((finished / "figures").glob("*.png"))) == 5


@pytest.mark.parametrize("what", ["accuracy", "branching", "kernel", "divergence"])
def test_measures_of_a_run(finished: Path, what: str) -> None:
    done = run(
        [
            sys.executable,
            "-m",
            "nalsm.cli",
            "eval",
            what,
            str(finished),
            "--repetitions",
            "2",
            "--samples",
            "3",
            "--plot",
        ]
    )
    assert done.returncode == 0, done.stderr
    assert (finished / f"{what}.png").stat().st_size > 5000
    assert what[:4] in done.stdout.lower() or what in ("kernel", "divergence")


def test_features_and_other_readouts(finished: Path) -> None:
    done = run(
        [sys.executable, "-m", "nalsm.cli", "features", str(finished), "--split", "test", "--noise", "60"]
    )
    assert done.returncode == 0, done.stderr
    with np.load(done.stdout.strip()) as data:
        assert data["counts"].shape == (80, 64)
    done = run([sys.executable, "-m", "nalsm.cli", "readout", str(finished), "--kind", "ridge"])
    assert "test accuracy" in done.stdout


def killed_after(owner: type, name: str, point: str | None, words: list[str]) -> int:
    """Run a command in a child that kills itself right after a call (whose first argument is ``point``)."""
    child = os.fork()
    if child == 0:
        try:
            original = getattr(owner, name)

            def replaced(*arguments: Any, **options: Any) -> Any:
                result = original(*arguments, **options)
                if point in (None, arguments[1]):
                    os.kill(os.getpid(), signal.SIGKILL)
                return result

            setattr(owner, name, replaced)
            run(words)
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed at four named points, each time right after a file was written."""
    out = tmp_path_factory.mktemp("nalsm") / "killed"
    for owner, name, point, written in (
        (RunDirectory, "write_bytes", "network.npz", "network.npz"),
        (Checkpoints, "save", None, "checkpoints/initialise"),
        (RunDirectory, "write_array", "features_validation", "features_validation.npy"),
        (RunDirectory, "write_array", "features_train", "features_train.npy"),
    ):
        assert killed_after(owner, name, point, command(out)) == -signal.SIGKILL
        assert (out / written).exists()
        assert not (out / "summary.json").exists()
    return out


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_runs_killed_in_every_phase_end_bit_equal(finished: Path, killed: Path) -> None:
    assert run(command(killed)).returncode == 0
    assert result(killed) == result(finished)
    assert files(killed) <= files(finished)  # no part is left


def test_interrupted_initialisation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nalsm.training.pipeline.INITIAL_CHUNK", 20)
    config = Config(data="digits", dims=(4, 4, 4), initial_samples=60, train_samples=100)
    whole = Run(tmp_path / "whole", config)
    weights = whole.initialise()
    whole.directory.close()
    calls = 0
    original = Liquid.initialise

    def dies(self: Liquid, *args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return original(self, *args)  # pyright: ignore

    monkeypatch.setattr(Liquid, "initialise", dies)
    broken = Run(tmp_path / "broken", config)
    with pytest.raises(KeyboardInterrupt):
        broken.initialise()
    broken.directory.close()
    again = Run(tmp_path / "broken", config)
    np.testing.assert_array_equal(again.initialise(), weights)
    again.directory.close()


def test_network_command(tmp_path: Path) -> None:
    out = tmp_path / "net.npz"
    words = ["network", "--out", str(out), "--dims", "4", "4", "4", "--inputs", "64", "--seed", "2"]
    done = run([sys.executable, "-m", "nalsm.cli", *words])
    assert done.returncode == 0, done.stderr
    assert "n_input_syn" in done.stdout
    Run(tmp_path / "run", Config(data="digits", network=str(out))).directory.close()


def test_names_of_the_prompts_are_understood(tmp_path: Path) -> None:
    line = [
        "train",
        "--dataset",
        "nmnist",
        "--run-dir=x",
        "--w-abs",
        "2",
        "--astro-weight",
        "0.02",
        "--out-of-this",
    ]
    assert canonical(line) == ["train", "--data", "nmnist", "--out=x", "--weight", "2", "--astrocyte-weight", "0.02",
                               "--out-of-this"]  # fmt: skip
    for name, inputs in (("nmnist", 2312), ("fashion", 784)):
        out = tmp_path / f"{name}.npz"
        words = ["network", "--out", str(out), "--dims", *"333", "--dataset", name, "--conn", "0.3", "0.2", "0.4",
                 "0.1", "--lambda", "2", "--exc-frac", "0.7"]  # fmt: skip
        done = run([sys.executable, "-m", "nalsm.cli", *words])
        assert done.returncode == 0, done.stderr
        network = LiquidNetwork.load(out)
        assert (network.inputs, network.excitatory) == (inputs, 19)
        assert network.metadata["connection"] == [0.3, 0.2, 0.4, 0.1]


def test_event_recordings_make_a_run(tmp_path: Path) -> None:
    config = Config(
        data="digits-events", dims=(4, 4, 4), model="lsm", train_samples=60, validation_samples=20, test_samples=30,
        duration=120, weight=2.0, record=0, readout="ridge",
    )  # fmt: skip
    summary = Run(tmp_path / "run", config).train()
    assert summary["dataset"] == "digits-events"
    assert summary["test_accuracy"] > 0.15


def test_sweep_makes_every_combination_once(tmp_path: Path) -> None:
    words = command(tmp_path / "sweep", model="lsm", readout="ridge", record="0")
    words[3:4] = ["sweep"]
    words += ["--vary", "network_seed=1,2", "weight=2.5"]
    done = run(words)
    assert done.returncode == 0, done.stderr
    assert "network_seed 2, weight 2.5: test" in done.stdout
    assert len(list((tmp_path / "sweep" / "runs").iterdir())) == 2
    assert "2 of 2 runs are finished already" in run(words).stdout


def test_smoke_reproduction_and_labels(tmp_path: Path) -> None:
    out = tmp_path / "reproduction"
    words = ["reproduce", "--only", "lsm", "--out", str(out)]
    done = run([sys.executable, "-m", "nalsm.cli", *words])
    assert done.returncode == 0, done.stderr
    assert "1 done" in done.stdout
    assert "1 skipped" in run([sys.executable, "-m", "nalsm.cli", *words]).stdout
    done = run([sys.executable, "-m", "nalsm.cli", "reproduce", "--only", "nothing", "--out", str(out)])
    assert done.returncode == 2
    config = Config(
        data="digits", dims=(4, 4, 4), model="lsm", weight=2.0, duration=40, record=0, readout="ridge"
    )
    settings = {"experiment": "models", "kernel": False, "scale": "paper"} | asdict(config)
    work = pickle.loads(
        pickle.dumps(partial(run_one, runs=tmp_path, scale="paper"))
    )  # as it goes to a worker
    assert work(settings)["scale"] == "reduced"  # digits are not a published set
