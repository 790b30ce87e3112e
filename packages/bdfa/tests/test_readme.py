"""The README's example and the commands that need no data run as written."""

import re
import shlex
from pathlib import Path

import pytest
from bdfa import cli

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_example(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {})
    assert "degrees" in capsys.readouterr().out


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for line in README.splitlines() if line.startswith("bdfa ")]
    return [line for line in lines if "--preset smoke" in line]


@pytest.mark.parametrize("command", commands())
def test_commands(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)[1:]
    extra = ["--train-size", "96", "--epochs", "1"]
    assert cli.main([*words, *extra]) == 0


def test_there_are_commands():
    assert len(commands()) >= 3
