"""Every `reprokit` command of the READMEs of the repository and of the shared package, and `make demo`."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "shared/README.md", "CONTRIBUTING.md")
# what a command of a README needs to end here, offline and without touching a tracked file
COMPLETED = {
    "reprokit data list": "reprokit data list",
    "reprokit judge reproduction/claims.toml": "reprokit judge reproduction/claims.toml",
    "reprokit report": "reprokit report --out {tmp}/report.html",
}


def commands() -> list[str]:
    """Commands in backticks or on a line of a code block."""
    found: set[str] = set()
    for name in READMES:
        text = (ROOT / name).read_text(encoding="utf-8")
        found.update(re.findall(r"`(reprokit [^`]+)`", text))
        found.update(re.findall(r"^(?:\$ )?(reprokit [^#\n]+?)\s*(?:#.*)?$", text, re.MULTILINE))
    return sorted(found)


def status() -> str:
    return subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(autouse=True)
def _nothing_tracked_changes():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git clone, to see that no tracked file changes")
    before = status()
    yield
    assert status() == before


def test_every_command_is_in_the_table():
    assert set(commands()) == set(COMPLETED)


@pytest.mark.parametrize("command", sorted(COMPLETED))
def test_commands_of_the_readmes(command, tmp_path):
    words = shlex.split(COMPLETED[command].format(tmp=tmp_path))[1:]
    code = "import sys; from reprokit.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.slow
def test_make_demo():
    if not any((ROOT / ".venv").glob(".installed*")) or shutil.which("make") is None:
        pytest.skip("needs make and the environment of `make develop`")
    done = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "figure: " in done.stdout
