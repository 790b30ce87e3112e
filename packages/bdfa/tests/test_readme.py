"""The READMEs' example and all their commands run as written, made smaller by the table below."""

import re
import shlex
from pathlib import Path

import pytest
import reprokit
from bdfa import cli

PACKAGE = Path(__file__).parents[1]
REPOSITORY = PACKAGE.parents[1]
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
REPRODUCTION = REPOSITORY / "reproduction"
# What is put behind a command that would take long, or would look for what a temporary folder has not.
SMALL = {
    "bdfa train": "--epochs 1 --train-size 96 --hidden 8",
    "bdfa th": "-epoch 2 -num_hidden 8",
    "bdfa table": "--epochs 1 --train-size 96",
    "bdfa angles": "--epochs 1 --train-size 96",
    "bdfa reproduce": "--scale smoke --epochs 1 --seeds 1 --nets 1x8 --out results",  # all: test_reproduce
    "bdfa judge": f"--claims {REPRODUCTION / 'claims.toml'}",
}


def test_example(capsys):
    code, resident = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {})
    assert "degrees" in capsys.readouterr().out
    names: dict[str, object] = {}
    exec(resident, names)
    assert tuple(names["scores"].shape) == (5, 5, 3)


def commands() -> list[str]:
    """Commands in blocks and in the text."""
    text = README + (REPRODUCTION / "bdfa" / "README.md").read_text(encoding="utf-8")
    lines = [line.split("#")[0].strip() for line in text.splitlines() if line.startswith("bdfa ")]
    inline = re.findall(r"`(bdfa [a-z]+[^`]*)`", text)
    return list(
        dict.fromkeys([*lines, *(words for words in inline if words.split()[1:] not in (["judge"],))])
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "RUN"
    words = ["train", "smoke", "--rule", "bfa", "--epochs", "1", "--train-size", "96", "--out", str(run)]
    assert cli.main(words) == 0
    return run


@pytest.mark.parametrize(
    "command",
    [pytest.param(words, marks=pytest.mark.slow) if "reproduce" in words else words for words in commands()],
)
def test_commands(command, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # MNIST is not there: the digits stand in for it.
    monkeypatch.setattr(reprokit, "load_images", lambda _, load=reprokit.load_images: load("digits"))
    extra = next((words for start, words in SMALL.items() if command.startswith(start)), "")
    words = [str(trained) if word == "RUN" else word for word in shlex.split(f"{command} {extra}")[1:]]
    # 1: `judge` says that a recorded result misses its claim
    assert cli.main(words) in ((0, 1) if words[0] == "judge" else (0,))


def test_there_are_commands():
    assert len(commands()) >= 14
