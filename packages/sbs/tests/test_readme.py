"""The commands and programs of the README run as written, and change no file of the repository."""

import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from sbs.cli import main
from sbs.presets import preset
from sbs.reproduce import plan

PACKAGE = Path(__file__).parents[1]
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
PROGRAMS = [text for language, text in FENCES if language == "python"]
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for language, text in FENCES
    for line in text.splitlines()
    if not language and line.startswith("sbs ")
]
# What makes a command short, by its first word; a flag given twice keeps the last value.
QUICK = {
    "train": ["--learning.updates", "2", "--data.limit-test", "20"],
    "evaluate": ["--limit", "20"],
    "spikes": ["--limit", "20"],
    "plot": ["--images", "2"],
    "reproduce": ["--scale", "smoke", "--jobs", "1"],  # test_cli has the one with two processes
}
NEEDS_MNIST = ["mnist.json"]  # test_cli trains from one of the original's files


def changes() -> str:
    done = subprocess.run(["git", "status", "--porcelain"], cwd=PACKAGE, capture_output=True, text=True)
    return done.stdout


def test_there_is_something_to_run():
    assert len(PROGRAMS) == 2
    assert {command[0] for command in COMMANDS} >= {
        *("train", "evaluate", "spikes", "plot", "export", "convert", "info", "reproduce", "completion")
    }


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_programs(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(PROGRAMS[number], f"README program {number}", "exec"), {})
    if number == 0:
        assert capsys.readouterr().out.count("spikes: ") == 3


@pytest.mark.slow
def test_commands(tmp_path, monkeypatch, capsys):
    """The study in its smallest form; test_cli checks its output."""
    smoke = preset("digits-smoke")
    monkeypatch.setattr(plan, "preset", lambda _: replace(smoke, learning=replace(smoke.learning, updates=2)))
    monkeypatch.setitem(plan.SPIKE_COUNTS, "smoke", (5,))
    monkeypatch.chdir(tmp_path)
    before = changes()
    (tmp_path / "mine.toml").write_text(
        "[augmentation]\ncrop = 0\n[network]\nnumber_of_spikes = 5\n[[network.layers]]\nneurons = 10\nkernel = [8, 8]\n"
    )
    for command in COMMANDS:
        if not set(NEEDS_MNIST) & set(command):
            assert main([*command, *QUICK.get(command[0], [])]) == 0, command
    for made in (
        "runs/digits/figures/spikes.png",
        "runs/digits.csv",
        "files/Weights/Weight_L0_S1.npy",
        "runs/back/summary.json",
        "runs/reproduce/sbs/smoke/results.csv",
    ):
        assert (tmp_path / made).exists()
    assert changes() == before
    capsys.readouterr()
