"""Every example and command of the README runs, offline and in a folder of its own."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

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
    """The folder in which all commands run, one after the other."""
    return tmp_path_factory.mktemp("readme")


def test_the_commands_are_found():
    assert set(commands()) >= {*GRAMMAR, NEEDS_A_CLONE, "denram info runs/toy", "denram --version"}


@pytest.mark.parametrize("command", commands())
def test_command(command, folder):
    words = shlex.split(command.replace("<folder with SHD>", "spoken-toy"))
    if "--help" not in words:
        if command == "denram fig4d":
            words += shlex.split(SHORT["denram reproduce"])
        words += shlex.split(SHORT.get(" ".join(words[:2]), ""))
    place = README.parents[2] if command == NEEDS_A_CLONE else folder
    if command == NEEDS_A_CLONE and not (place / "reproduction" / "claims.toml").is_file():
        pytest.skip("reproduction/claims.toml is not part of this copy")
    done = subprocess.run(
        [sys.executable, "-m", "denram.cli", *words[1:]], cwd=place, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_first_example(folder):
    block = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)[0].replace(
        "nb_epochs=10", "nb_epochs=2"
    )
    done = subprocess.run([sys.executable, "-c", block], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
