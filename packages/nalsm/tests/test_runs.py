"""Runs from start to end: command line, kill and resume, bad input, deviations, the estimator."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
from nalsm import Config, Run
from nalsm.cli import main
from nalsm.liquid import Liquid
from nalsm.reproduce import run_one
from nalsm_small import small_network
from reprokit import UserError

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
    """What a command left behind."""

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


def result(out: Path) -> dict[str, object]:
    """Return everything of a finished run that must be reproducible."""
    summary = json.loads((out / "summary.json").read_text())
    summary.pop("seconds")
    arrays = {f.name: np.load(f).tobytes() for f in sorted(out.glob("*.npy"))}
    with np.load(out / "readout.npz") as readout:
        arrays |= {k: readout[k].tobytes() for k in readout.files}
    return summary | arrays


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
        ]
    )
    assert done.returncode == 0, done.stderr
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


def test_killed_runs_end_bit_equal(finished: Path, tmp_path: Path) -> None:
    expected = result(finished)
    for attempt, seconds in enumerate((3.0, 4.0)):
        out = tmp_path / f"killed{attempt}"
        for _ in range(2):
            process = subprocess.Popen(
                command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT
            )
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = run(command(out))
        assert done.returncode == 0, done.stderr
        assert result(out) == expected


def test_interrupted_initialisation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nalsm.pipeline.INITIAL_CHUNK", 20)
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dims": ("0", "4", "4")}, "dims"),
        ({"weight": "-1"}, "weight is -1"),
        ({"duration": "0"}, "duration is 0"),
        ({"data": "nowhere"}, "nowhere"),
        ({"tau_v": "0"}, "tau_v is 0"),
        ({"train_samples": "0"}, "train_samples is 0"),
        ({"weight": "0.0001", "model": "lsm"}, "silent"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    done = run(command(tmp_path / "run", **changes))  # pyright: ignore
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_resuming_with_other_settings_names_them(finished: Path) -> None:
    done = run(command(finished, astrocyte_weight="0.1"))
    assert done.returncode == 2
    assert "astrocyte_weight" in done.stderr


def test_network_for_other_inputs_is_refused(tmp_path: Path) -> None:
    file = small_network().save(tmp_path / "net.npz")
    with pytest.raises(UserError, match="40 input neurons, digits has 64 channels"):
        Run(tmp_path / "run", Config(data="digits", network=str(file)))


def test_network_command(tmp_path: Path) -> None:
    out = tmp_path / "net.npz"
    words = ["network", "--out", str(out), "--dims", "4", "4", "4", "--inputs", "64", "--seed", "2"]
    done = run([sys.executable, "-m", "nalsm.cli", *words])
    assert done.returncode == 0, done.stderr
    assert "n_input_syn" in done.stdout
    Run(tmp_path / "run", Config(data="digits", network=str(out))).directory.close()


def test_event_recordings_make_a_run(tmp_path: Path) -> None:
    config = Config(
        data="digits-events", dims=(4, 4, 4), model="lsm", train_samples=60, validation_samples=20, test_samples=30,
        duration=120, weight=2.0, record=0, readout="ridge",
    )  # fmt: skip
    summary = Run(tmp_path / "run", config).train()
    assert summary["dataset"] == "digits-events"
    assert summary["test_accuracy"] > 0.15


def test_directory_is_released_when_a_run_ends_or_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(data="digits", dims=(4, 4, 4), model="lsm", weight=1e-4, duration=20, train_samples=20,
                    validation_samples=10, test_samples=10, record=0)  # fmt: skip
    for _ in range(2):  # a directory that is still held would be refused the second time
        with pytest.raises(UserError, match="silent"):
            Run(tmp_path / "run", config).train()

    def fails(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("nalsm.pipeline.generate", fails)
        with pytest.raises(MemoryError):
            Run(tmp_path / "other", config)
    Run(tmp_path / "other", config).directory.close()


@pytest.mark.parametrize("words", [["eval", "accuracy"], ["eval", "kernel"], ["eval", "branching"], ["plot"],
                                   ["readout"], ["features"]])  # fmt: skip
def test_unfinished_and_absent_runs_are_one_sentence(tmp_path: Path, words: list[str]) -> None:
    config = Config(data="digits", dims=(4, 4, 4), initial_samples=10)
    Run(tmp_path / "begun", config).directory.close()
    for folder, message in (("absent", "no run"), ("begun", "finish the run")):
        done = run([sys.executable, "-m", "nalsm.cli", *words, str(tmp_path / folder)])
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_accuracy_of_a_run_without_readout_is_one_sentence(tmp_path: Path) -> None:
    config = Config(data="digits", dims=(4, 4, 4), initial_samples=10)
    with Run(tmp_path / "begun", config) as begun:
        begun.initialise()
    for words in (["eval", "accuracy"], ["eval", "kernel"], ["readout"]):
        done = run([sys.executable, "-m", "nalsm.cli", *words, str(tmp_path / "begun")])
        assert done.returncode == 2, done.stdout
        assert "finish the run" in done.stderr


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
    assert (
        run_one(settings, runs=tmp_path, scale="paper")["scale"] == "reduced"
    )  # digits are no published set
