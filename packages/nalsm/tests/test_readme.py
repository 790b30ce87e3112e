"""The README's examples and commands run as written, and every deviation is in code and tests."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from nalsm.cli import main

PACKAGE = Path(__file__).parents[1]
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
STUDY = PACKAGE.parents[1] / "reproduction/nalsm/README.md"
SMALL = ("--data digits --dims 4 4 4 --duration 80 --initial-samples 20 --train-samples 80 --validation-samples 20 "
         "--test-samples 60 --record 2 --readout-epochs 20")  # fmt: skip
# What a command of a README needs to end here in seconds and offline; of a flag that stands twice, the last counts.
COMPLETED = {
    "network": "--dims 4 4 4",
    "train": SMALL,
    "sweep": f"{SMALL} --jobs 1",
    "features": "",
    "readout": "--epochs 20",
    "evaluate": "--repetitions 2",
    "plot": "",
    "export": "",
    "info": "",
    "reproduce": "--scale smoke --only lsm",
}


def commands(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if re.match(r"nalsm [a-z]+\b", line)]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_examples(capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    printed = []
    for example in examples:
        exec(example, {})
        printed.append(capsys.readouterr().out)
    digits, wine, spikes, series, parts = printed
    assert float(re.findall(r"test accuracy (0\.\d+)", digits)[0]) > 0.7
    assert float(re.findall(r"accuracy (0\.\d+)", wine)[0]) > 0.8
    assert float(re.findall(r"accuracy on spikes ([\d.]+)", spikes)[0]) > 0.9
    assert all(float(error) < 0.2 for error in re.findall(r"error \D*([\d.]+)", series))
    assert 0.5 < float(re.findall(r"branching factor ([\d.]+)", parts)[0]) < 2


def test_there_are_commands() -> None:
    assert {words[0] for words in commands(README)} == set(COMPLETED)


@pytest.mark.slow
def test_commands_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All in one folder; they write nothing outside it."""
    monkeypatch.chdir(tmp_path)
    study = commands(STUDY.read_text(encoding="utf-8")) if STUDY.exists() else []
    for words in (*commands(README), *study):
        assert main([*words, *COMPLETED[words[0]].split()]) == 0, (words, capsys.readouterr().err)
    assert {file.name for file in tmp_path.iterdir()} == {"net.npz", "liquid.npz", "runs"}
    assert (tmp_path / "runs/reproduce/nalsm/smoke/results.csv").exists()
    assert (tmp_path / "runs/nalsm/kernel.png").exists()


def test_every_deviation_is_in_code_and_tests() -> None:
    listed = set(re.findall(r"^\| (DEV-\d+) ", README, re.MULTILINE))
    assert len(listed) >= 9
    for folder in ("src", "tests"):
        text = "".join(f.read_text(encoding="utf-8") for f in sorted((PACKAGE / folder).rglob("*.py")))
        assert listed == set(re.findall(r"DEV-\d+", text)), folder
