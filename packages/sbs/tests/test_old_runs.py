"""Run directories written by version 0.1 (``runs_0_1``) are read by every command that reads runs.

``finished`` is a whole run; ``interrupted`` was killed (SIGKILL) after 13 of 24 updates, 5 beyond its checkpoint.
``expected.json`` contains command lines of version 0.1 and what it printed and computed: nothing in it may change.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from sbs.cli import main

HERE = Path(__file__).parent / "runs_0_1"
EXPECTED = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
CLOCK = {"seconds"}
TRAIN = {
    "finished": "sbs train small.toml --out finished",
    "interrupted": (
        "sbs train small.toml --learning.updates 24 --checkpoint-every 8 --seed 3 --out interrupted"
    ),
}
# What each command prints of numbers and files, by a pattern; RUN is the run directory.
READS = {
    "test": ("sbs test RUN", r"digits: .* correct"),
    "test, other options": ("sbs test RUN --limit 30 --number-of-spikes 12 --seed 5", r"digits: .* correct"),
    "spikes": ("sbs spikes RUN --counts 6 12", r"^ +\d+ +[\d.]+|\w+/figures/spikes\.csv"),
    "show": ("sbs show RUN --images 3", r"[\w-]+\.png"),
    "convert export": ("sbs convert export RUN --out original", r"\d+ files of step \d+"),
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


def test_an_interrupted_run_goes_on(folder: Path, call) -> None:
    log = folder / "interrupted" / "metrics.jsonl"
    assert not (folder / "interrupted" / "summary.json").exists()
    assert len(log.read_text(encoding="utf-8").splitlines()) == EXPECTED["interrupted"]["logged_when_killed"]
    call(TRAIN["interrupted"])
    assert summary(folder / "interrupted") == EXPECTED["interrupted"]["summary"]
    assert len(log.read_text(encoding="utf-8").splitlines()) == EXPECTED["interrupted"]["logged"]
    for label in EXPECTED["interrupted"]["reads"]:
        said = call(READS[label][0].replace("RUN", "interrupted"))
        assert numbers(said, label) == EXPECTED["interrupted"]["reads"][label], label
