"""Every example and command of the README runs, offline and in its own folder, in this process."""

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from denram.cli import main
from denram.reproduce import plan

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
# What a command needs to end in seconds; commands not named here run as they stand.
SHORT = {
    "denram train": "--nb-epochs 1",
    "denram evaluate": "--devices 2",
    "denram reproduce": "--scale smoke --seeds 42 --data spoken-toy --out study",
}
NEEDS_A_CLONE = "denram judge"
GRAMMAR = {"denram fig4d", "denram train --help", "denram completion bash"}  # named in the text, run too


def commands() -> list[str]:
    """Commands in backticks, in the order of the README."""
    found = dict.fromkeys(re.findall(r"`(denram [a-z-][^`]*)`", TEXT))
    return [command for command in found if command != "denram train"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which all commands run, one after another."""
    return tmp_path_factory.mktemp("readme")


def test_the_commands_are_found():
    assert set(commands()) >= {*GRAMMAR, NEEDS_A_CLONE, "denram info runs/toy", "denram --version"}


@pytest.fixture(autouse=True)
def _two_points(monkeypatch):
    """The smoke study with two noise levels and one epoch: the same as its command, in less time."""
    smoke = plan.PROTOCOLS["smoke"]
    short = replace(
        smoke, noise_levels=(0.0, 0.2), settings={**smoke.settings, "nb_epochs": 1, "n_delays": 2}
    )
    monkeypatch.setitem(plan.PROTOCOLS, "smoke", short)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(words, marks=pytest.mark.slow) if "reproduce" in words or "fig4d" in words else words
        for words in commands()
    ],
)
def test_command(command, folder, monkeypatch, capsys):
    words = shlex.split(command.replace("<folder with SHD>", "spoken-toy"))
    if "--help" not in words:
        if command == "denram fig4d":
            words += shlex.split(SHORT["denram reproduce"])
        words += shlex.split(SHORT.get(" ".join(words[:2]), ""))
    place = README.parents[2] if command == NEEDS_A_CLONE else folder
    if command == NEEDS_A_CLONE and not (place / "reproduction" / "claims.toml").is_file():
        pytest.skip("reproduction/claims.toml is not part of this copy")
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["denram", *words[1:]])
    code = main()
    said = capsys.readouterr()
    assert code == 0, said.err
    assert said.out


def test_first_example(folder, monkeypatch, capsys):
    block = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)[0].replace(
        "nb_epochs=10", "nb_epochs=2"
    )
    monkeypatch.chdir(folder)
    exec(compile(block, str(README), "exec"), {"__name__": "__main__"})
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_example_of_the_layer(capsys):
    block = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)[1]
    exec(compile(block, str(README), "exec"), {"__name__": "__main__"})
    assert float(capsys.readouterr().out.split()[1]) < 0.6  # chance: 0.69


@pytest.mark.slow
def test_example_of_networks_trained_together(folder, monkeypatch, capsys):
    block = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)[2]
    monkeypatch.chdir(folder)
    exec(compile(block, str(README), "exec"), {"__name__": "__main__"})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["1", "0.0"], ["1", "0.1"], ["2", "0.0"], ["2", "0.1"]]


def test_example_of_own_arrays(folder, monkeypatch, capsys):
    block = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)[3]
    monkeypatch.chdir(folder)
    exec(compile(block, str(README), "exec"), {"__name__": "__main__"})
    assert 0 <= float(capsys.readouterr().out) <= 1
