"""Run directories written by version 0.1 (``runs_0_1``) are read by every command that reads runs.

``finished`` is a whole run; ``interrupted`` was killed (SIGKILL) while it produced the training set's features.
``expected.json`` contains command lines of version 0.1 and what it printed and computed: nothing in it may change.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from nalsm.cli import main

HERE = Path(__file__).parent / "runs_0_1"
EXPECTED = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
CLOCK = {"seconds"}
TRAIN = {
    "finished": (
        "nalsm train --data digits --dims 4 4 3 --duration 80 --initial-samples 60 "
        "--train-samples 200 --validation-samples 60 --test-samples 80 --readout-epochs 30 "
        "--record 4 --out finished"
    ),
    "interrupted": (
        "nalsm train --data digits --dims 3 3 3 --duration 80 --model lsm-stdp --profile faithful "
        "--batch 20 --initial-samples 60 --train-samples 200 --validation-samples 40 "
        "--test-samples 80 --readout adadelta --readout-epochs 40 --record 4 --out interrupted"
    ),
}
# What each command prints of numbers and files, by a pattern; RUN is the run directory.
READS = {
    "info": ("nalsm info RUN", r"(?:train|validation|test) accuracy .*|branching .*"),
    "features": ("nalsm features RUN", r"\w+/\w+\.npz"),
    "features, noise": ("nalsm features RUN --split validation --noise 20 --out noisy.npz", r"\w+\.npz"),
    "readout lbfgs": ("nalsm readout RUN", r"\w+ accuracy +[\d.]+"),
    "readout ridge": ("nalsm readout RUN --kind ridge --no-soft-labels", r"\w+ accuracy +[\d.]+"),
    "readout adadelta": ("nalsm readout RUN --kind adadelta --epochs 20", r"\w+ accuracy +[\d.]+"),
    "eval accuracy": ("nalsm eval accuracy RUN --plot", r"\w+ accuracy +[\d.]+|\w+/accuracy\.png"),
    "eval branching": ("nalsm eval branching RUN --samples 4", r"branching \w+ +[\d.]+"),
    "eval kernel": ("nalsm eval kernel RUN --repetitions 3", r"\w+ [SAP]+ +[\d.]+|SP - AP +-?[\d.]+"),
    "eval divergence": ("nalsm eval divergence RUN --samples 4", r"distance after \d+ ms +[\d.]+"),
    "plot": ("nalsm plot RUN", r"\w+/\w+\.png"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of both directories in the current folder, so commands name them without a path."""
    copy = shutil.copytree(HERE, tmp_path / "old")
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command line of the package, which must succeed, and return what it printed."""

    def run(words: str) -> str:
        monkeypatch.setattr(sys, "argv", words.split())
        capsys.readouterr()
        try:
            code = main()
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        assert not code, said.err
        return said.out

    return run


def summary(run: Path) -> Any:
    return timeless(json.loads((run / "summary.json").read_text(encoding="utf-8")))


def timeless(value: Any) -> Any:
    """The value without times, memory and the cost of an inference (added later), numbers compared to six digits."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in {*CLOCK, "inference"}}
    if isinstance(value, list):
        return [timeless(item) for item in value]
    return pytest.approx(value, rel=1e-6) if isinstance(value, float) else value


def numbers(said: str, label: str) -> list[str]:
    return re.findall(READS[label][1], said, re.MULTILINE)


@pytest.mark.parametrize("label", READS)
def test_a_finished_run_is_read(folder: Path, call, label: str) -> None:
    said = call(READS[label][0].replace("RUN", "finished"))
    assert numbers(said, label) == EXPECTED["finished"]["reads"][label]


def test_a_finished_run_is_not_trained_again(folder: Path, call) -> None:
    before = {path: path.read_bytes() for path in (folder / "finished").rglob("*") if path.is_file()}
    call(TRAIN["finished"])
    assert summary(folder / "finished") == EXPECTED["finished"]["summary"]
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_an_interrupted_run_goes_on(folder: Path, call) -> None:
    log = folder / "interrupted" / "metrics.jsonl"
    assert not (folder / "interrupted" / "summary.json").exists()
    assert len(log.read_text(encoding="utf-8").splitlines()) == EXPECTED["interrupted"]["logged_when_killed"]
    call("nalsm info interrupted")
    call(TRAIN["interrupted"])
    assert summary(folder / "interrupted") == EXPECTED["interrupted"]["summary"]
    assert len(log.read_text(encoding="utf-8").splitlines()) == EXPECTED["interrupted"]["logged"]
    for label in EXPECTED["interrupted"]["reads"]:
        said = call(READS[label][0].replace("RUN", "interrupted"))
        assert numbers(said, label) == EXPECTED["interrupted"]["reads"][label], label
