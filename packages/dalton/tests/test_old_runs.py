"""Run directories written by version 0.1 (``runs_0_1``) are read by every command that reads runs.

``finished`` is a whole run; ``interrupted`` was killed (SIGKILL) in the middle of its third epoch.
``expected.json`` contains command lines of version 0.1 and what it printed and computed: nothing in it may change.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from dalton.cli import main

HERE = Path(__file__).parent / "runs_0_1"
EXPECTED = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
CLOCK = {"seconds", "peak_memory_mb"}
TRAIN = {
    "finished": (
        "dalton train --dataset digits --arch tiny_arch:TINY --epochs 3 --steps 16 --gain 6 "
        "--weight-scale 4 --train-size 300 --test-size 80 --batch-size 20 --threads 1 --engine "
        "torch --out finished"
    ),
    "interrupted": (
        "dalton train --dataset digits --arch tiny_arch:TINY --method tfr --setting online "
        "--epochs 4 --steps 16 --gain 6 --weight-scale 4 --train-size 200 --test-size 80 "
        "--batch-size 20 --augment --checkpoint-batches 3 --threads 1 --engine torch --out "
        "interrupted"
    ),
}
# What each command prints of numbers and files, by a pattern; RUN is the run directory.
READS = {
    "info": (
        "dalton info RUN",
        r"(?:training|validation|test) accuracy .*|selected epoch .*|firing rates .*",
    ),
    "evaluate": ("dalton evaluate RUN", r"[\d.]+ %|^ *\d+: .*"),
    "evaluate, last epoch": ("dalton evaluate RUN --split validation --which last", r"[\d.]+ %|^ *\d+: .*"),
    "plot": ("dalton plot RUN", r"\w+/[\w-]+\.png"),
    "export": ("dalton export RUN", r"\w+/network\.nir"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of both directories in the current folder, so commands name them without a path."""
    copy = shutil.copytree(HERE, tmp_path / "old")
    monkeypatch.chdir(copy)
    monkeypatch.syspath_prepend(copy)  # tiny_arch
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
    call("dalton info interrupted")
    call(TRAIN["interrupted"])
    assert summary(folder / "interrupted") == EXPECTED["interrupted"]["summary"]
    assert len(log.read_text(encoding="utf-8").splitlines()) == EXPECTED["interrupted"]["logged"]
    for label in EXPECTED["interrupted"]["reads"]:
        said = call(READS[label][0].replace("RUN", "interrupted"))
        assert numbers(said, label) == EXPECTED["interrupted"]["reads"][label], label
