"""The README's example and commands run as written (in small), and every deviation is in code and tests."""

import re
import shlex
from pathlib import Path

import pytest
from dalton import cli
from reprokit.cli import run
from small_runs import FLAGS

PACKAGE = Path(__file__).parents[1]
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line, comments=True)[1:] for line in README.splitlines() if re.match(r"dalton [a-z]+ ", line)
]


def test_example(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {})
    printed = capsys.readouterr().out
    assert float(re.findall(r"test accuracy (0\.\d+)", printed)[0]) > 0.6


def test_every_command_is_shown():
    assert {words[0] for words in COMMANDS} == set(cli.COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:3]))
def test_commands_are_understood(words, monkeypatch):
    """The parsed options of each command arrive; nothing is run."""
    arrived = []
    for name in ("_train", "_sweep", "_evaluate", "_plot", "_export", "_info", "_reproduce"):
        options = {
            "_train": cli.TrainOptions, "_sweep": cli.SweepOptions, "_evaluate": cli.EvaluateOptions,
            "_plot": cli.PlotOptions, "_export": cli.ExportOptions, "_info": cli.InfoOptions,
            "_reproduce": cli.ReproduceOptions,
        }[name]  # fmt: skip
        monkeypatch.setitem(cli.COMMANDS, name[1:], cli._of(options, arrived.append, name[1:]))
    assert run(lambda: cli.dispatch(words)) == 0
    (options,) = arrived
    if words[0] == "train":
        cli._config(options)


def test_commands_on_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(lambda: cli.dispatch(["train", *FLAGS, "--out", "runs/own"])) == 0
    for words in COMMANDS:
        if words[0] in ("evaluate", "info"):
            assert run(lambda w=words: cli.dispatch(w)) == 0, words


def test_every_deviation_is_in_code_and_tests():
    listed = set(re.findall(r"^\| (DEV-\d+) ", README, re.MULTILINE))
    assert len(listed) >= 14
    for folder, kinds in (("src", ("*.py",)), ("tests", ("*.py",))):
        files = [file for kind in kinds for file in sorted((PACKAGE / folder).rglob(kind))]
        text = "".join(file.read_text(encoding="utf-8") for file in files)
        assert listed == set(re.findall(r"DEV-\d+", text)), folder
