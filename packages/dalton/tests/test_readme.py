"""The README's example and commands run as written (in small), and every deviation is in code and tests."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from dalton import cli
from small_runs import FLAGS, recordings

PACKAGE = Path(__file__).parents[1]
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    *re.findall(r"^(dalton [a-z]+\b[^#\n]*?)\s*(?:#.*)?$", README, re.MULTILINE),
    *re.findall(r"`(dalton [a-z]+ [^`\n]+)`", README),
]
# What a command needs to end here, offline, in seconds: added to it, and the last of two flags counts.
SMALL = "--epochs 1 --steps 12 --batch-size 2 --train-size 10 --test-size 10 --threads 1"
ADDED = {
    "dalton train --method dalton --dataset mnist": f"{SMALL} --dataset digits",
    "dalton train --method tfr": f"{SMALL} --dataset images.npz",
    "dalton train --method DALTON_RTRL_SCNN": f"{SMALL} --dataset events.zip --device cpu --validation 0",
    "dalton train runs/own": "",
    "dalton sweep": f"{SMALL} --arch small_runs:TINY --jobs 1",
    "dalton evaluate runs/own": "",
    "dalton predict runs/own": "",
    "dalton plot runs/own": "",
    "dalton export runs/own": "",
    "dalton info runs/own": "",
    "dalton reproduce": "--scale smoke",
    "dalton completion": "",
    "dalton judge": f"--claims {PACKAGE.parents[1] / 'reproduction' / 'claims.toml'}",
}
NEEDED = {"dalton plot": "matplotlib", "dalton export": "nir"}


def added(command: str) -> str:
    """What the table adds to a command: the entry with the longest fitting beginning."""
    return ADDED[max((start for start in ADDED if command.startswith(start)), key=len)]


def status() -> str:
    if shutil.which("git") is None or not (PACKAGE.parents[1] / ".git").exists():
        return ""
    words = ["git", "status", "--porcelain", "packages/dalton", "reproduction", "benchmarks"]
    return subprocess.run(words, cwd=PACKAGE.parents[1], check=True, capture_output=True, text=True).stdout


def test_example(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {})
    printed = capsys.readouterr().out
    assert float(re.findall(r"test accuracy (0\.\d+)", printed)[0]) > 0.6


def test_every_command_is_shown():
    assert {command.split()[1] for command in COMMANDS} == {*cli.app.commands, "judge", "completion"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a run and small data sets of the kinds that the commands name."""
    path = tmp_path_factory.mktemp("readme")
    recordings(path / "events.zip")
    pixels = np.random.default_rng(0).integers(0, 255, (30, 3, 32, 32), np.uint8)
    labels = np.arange(30) % 10
    np.savez(
        path / "images.npz", train_images=pixels, train_labels=labels, test_images=pixels, test_labels=labels
    )
    assert cli.main(["train", *FLAGS, "--out", str(path / "runs" / "own")]) == 0
    np.save(path / "images.npy", np.zeros((2, 8, 8), np.uint8))
    return path


@pytest.mark.parametrize(
    "command",
    [pytest.param(words, marks=pytest.mark.slow) if "reproduce" in words else words for words in COMMANDS],
)
def test_commands_run_and_change_no_tracked_file(command, folder, monkeypatch):
    for start, module in NEEDED.items():
        if command.startswith(start):
            pytest.importorskip(module)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("REPROKIT_DATA", str(folder / "data"))
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")
    before = status()
    assert cli.main([*shlex.split(command)[1:], *shlex.split(added(command))]) == 0
    assert status() == before


def test_every_deviation_is_in_code_and_tests():
    listed = set(re.findall(r"^\| (DEV-\d+) ", README, re.MULTILINE))
    assert len(listed) >= 14
    for folder, kinds in (("src", ("*.py",)), ("tests", ("*.py",))):
        files = [file for kind in kinds for file in sorted((PACKAGE / folder).rglob(kind))]
        text = "".join(file.read_text(encoding="utf-8") for file in files)
        assert listed == set(re.findall(r"DEV-\d+", text)), folder
