"""Run directories written by version 0.1 (``runs_0_1``) are read by every command that reads runs.

``finished`` is a whole run; ``interrupted`` was killed (SIGKILL) after 5 of 9 epochs.
``expected.json`` contains command lines of version 0.1 and what it printed and computed: nothing in it may change.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from denram.cli import main

HERE = Path(__file__).parent / "runs_0_1"
EXPECTED = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
CLOCK = {"seconds"}
TRAIN = {
    "finished": (
        "denram train --data spoken-toy --profile faithful --n-in 32 --n-delays 2 --nb-epochs 6 "
        "--batch-size 32 --lr 5e-3 --out finished"
    ),
    "interrupted": (
        "denram train --data spoken-toy --n-in 32 --n-delays 2 --nb-epochs 9 --batch-size 32 --lr "
        "5e-3 --seed 9 --engine fft --out interrupted"
    ),
}
# What each command prints of numbers and files, by a pattern; RUN is the run directory.
READS = {
    "info": ("denram info RUN", r"(?:train|val|test)_acc +[\d.]+|best_epoch +\d+|delays +mean .*"),
    "evaluate": ("denram evaluate RUN --noise-std 0 0.2 --devices 3", r"^0\.1 .*"),
    "plot": ("denram plot RUN", r"\w+/\w+\.png"),
    "export": ("denram export RUN", r"\w+/original/\w+\.\w+"),
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


def same_numbers(said: str, label: str, expected: list[str]) -> bool:
    """Whether a command prints what version 0.1 printed; `info` has other columns and also the last record."""
    found = re.findall(READS[label][1], said, re.MULTILINE)
    if label != "info":
        return found == expected
    return {" ".join(line.split()) for line in expected} <= {" ".join(line.split()) for line in found}


@pytest.mark.parametrize("label", READS)
def test_a_finished_run_is_read(folder: Path, call, label: str) -> None:
    said = call(READS[label][0].replace("RUN", "finished"))
    assert same_numbers(said, label, EXPECTED["finished"]["reads"][label]), said


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
    call("denram info interrupted")
    call(TRAIN["interrupted"])
    assert summary(folder / "interrupted") == EXPECTED["interrupted"]["summary"]
    assert len(log.read_text(encoding="utf-8").splitlines()) == EXPECTED["interrupted"]["logged"]
    for label in EXPECTED["interrupted"]["reads"]:
        said = call(READS[label][0].replace("RUN", "interrupted"))
        assert same_numbers(said, label, EXPECTED["interrupted"]["reads"][label]), (label, said)
