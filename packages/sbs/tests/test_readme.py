"""The commands and programs of the README run as written."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from sbs.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text()
FENCES = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
PROGRAMS = [text for language, text in FENCES if language == "python"]
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for language, text in FENCES
    for line in text.splitlines()
    if not language and line.startswith("sbs ")
]


def test_there_is_something_to_run():
    assert len(PROGRAMS) == 2
    assert {command[0] for command in COMMANDS} >= {"train", "test", "spikes", "show", "convert", "info"}


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_programs(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(PROGRAMS[number], f"README program {number}", "exec"), {})
    if number == 0:
        assert capsys.readouterr().out.count("spikes: ") == 3


def test_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(
        "[augmentation]\ncrop = 0\n[network]\nnumber_of_spikes = 5\n[[network.layers]]\nneurons = 10\nkernel = [8, 8]\n"
    )
    for command in COMMANDS:
        if "mnist.json" in command:
            continue  # needs MNIST; test_cli trains from one of the original's files
        quick = ["--learning.updates", "2", "--data.limit-test", "20"] if command[0] == "train" else []
        command = [part for part in command if part != "500" and part != "--learning.updates"] + quick
        assert main(command) == 0, command
    assert (tmp_path / "files/Weights/Weight_L0_S1.npy").exists()
    assert (tmp_path / "runs/digits/figures/spikes.png").exists()
    assert torch.get_num_threads() >= 1
    capsys.readouterr()
