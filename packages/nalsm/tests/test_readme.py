"""The README's examples run as written, its commands exist, and every deviation is in code and tests."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from nalsm.cli import main

PACKAGE = Path(__file__).parents[1]
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line, comments=True)[1:] for line in README.splitlines() if re.match(r"nalsm [a-z]+ ", line)
]


def test_examples(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    first, second = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(first, {})
    printed = capsys.readouterr().out
    assert float(re.findall(r"test accuracy (0\.\d+)", printed)[0]) > 0.7
    exec(second, {})
    assert 0.5 < float(re.findall(r"branching factor ([\d.]+)", capsys.readouterr().out)[0]) < 2


def test_there_are_commands() -> None:
    assert {words[0] for words in COMMANDS} == {
        "network", "train", "sweep", "features", "readout", "eval", "plot", "reproduce", "info",
    }  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_commands_have_their_flags(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nalsm", words[0], "--help"])
    with pytest.raises(SystemExit) as ended:
        sys.exit(main())
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert not {word for word in words if word.startswith("--") and word not in text}


def test_every_deviation_is_in_code_and_tests() -> None:
    listed = set(re.findall(r"^\| (DEV-\d+) ", README, re.MULTILINE))
    assert len(listed) >= 9
    for folder in ("src", "tests"):
        text = "".join(f.read_text(encoding="utf-8") for f in sorted((PACKAGE / folder).rglob("*.py")))
        assert listed == set(re.findall(r"DEV-\d+", text)), folder
