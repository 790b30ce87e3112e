"""Damaged runs, and files of other programs: every command that reads runs prints one sentence and changes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nalsm_commands import run

HERE = Path(__file__).parent / "runs_0_1"
TRAIN = ["--data", "digits", "--dims", "3", "3", "3", "--duration", "80", "--initial-samples", "60",
         "--train-samples", "200", "--validation-samples", "40", "--test-samples", "80", "--readout-epochs", "40",
         "--record", "4"]  # fmt: skip
FAITHFUL = [*TRAIN, "--model", "lsm-stdp", "--profile", "faithful", "--batch", "20", "--readout", "adadelta"]
COMMANDS = {
    "info": ["info", "RUN"],
    "features": ["features", "RUN"],
    "readout": ["readout", "RUN", "--kind", "ridge"],
    "accuracy": ["evaluate", "accuracy", "RUN"],
    "kernel": ["evaluate", "kernel", "RUN", "--repetitions", "1", "--noise", "0"],
    "branching": ["evaluate", "branching", "RUN", "--samples", "1"],
    "plot": ["plot", "RUN"],
    "export": ["export", "RUN"],
}
# Which commands read a file; the others have no need of it.
NETWORK = ("features", "readout", "accuracy", "kernel", "branching", "plot", "export")
READ_BY = {
    "config.json": tuple(COMMANDS),
    "options.json": tuple(COMMANDS),
    "metrics.jsonl": tuple(COMMANDS),
    "summary.json": tuple(COMMANDS),
    "digests.json": tuple(COMMANDS),
    "network.npz": NETWORK,
    "initial_weights.npy": NETWORK,
    "features_test.npy": ("features", "readout", "accuracy", "kernel", "plot"),
    "labels_test.npy": ("features", "readout", "accuracy", "kernel", "plot"),
    "features_train.npy": ("readout", "accuracy"),
    "labels_validation.npy": ("readout", "accuracy"),
    "readout.npz": ("accuracy", "export"),
    "raster.npy": ("plot",),
    "depression.npy": ("plot",),
}
# Files in the interrupted run from which training continues.
CONTINUED = ("config.json", "network.npz", "initial_weights.npy", "features_test.npy", "checkpoints/trace_test.npy",
             "checkpoints/features_train/00000000.npz")  # fmt: skip


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def flipped(file: Path) -> None:
    """Flip a bit where the file has structure or content that is checked."""
    content = bytearray(file.read_bytes())
    noted = (file.parent / "digests.json").exists() and file.name != "digests.json"
    place = len(content) * 2 // 3 if noted or file.suffix in (".npy", ".npz") else 0
    content[place] ^= 0x10
    file.write_bytes(bytes(content))


def foreign(file: Path) -> None:
    """Put a whole file of the same kind in its place, as another program would write it."""
    if file.suffix == ".npy":
        np.save(file, np.zeros((2, 3), np.float64))
    elif file.suffix == ".npz":
        np.savez(file, other=np.zeros(3))
    elif file.suffix == ".jsonl":
        file.write_text('{"epoch": 1}\nloss: 0.5\n')
    else:
        file.write_text('{"other": [1, 2]}\n' if file.name != "digests.json" else "[1, 2]\n")


DAMAGES = (truncated, emptied, flipped, foreign)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("nalsm") / "fresh"
    done = run([*[""] * 3, "train", *TRAIN, "--out", str(out)])
    assert done.returncode == 0, done.stderr
    return out


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the lock, which is empty."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != ".run.lock"
    }


def refused(words: list[str], folder: Path, file: str) -> None:
    before = contents(folder)
    done = run([*[""] * 3, *words])
    assert done.returncode == 2, (words, done.stdout, done.stderr)
    said = done.stderr.strip()
    assert len(said.splitlines()) <= 2, said
    assert "Traceback" not in said
    # digests.json and the options tell of a configuration that does not fit; the run's folder is named then
    assert Path(file).name in said or str(folder) in said, said
    assert any(
        word in said for word in ("restore", "remove", "again", "choose", "give", "delete", "finish")
    ), said
    assert contents(folder) == before


def words_of(command: str, folder: Path) -> list[str]:
    return [str(folder) if word == "RUN" else word for word in COMMANDS[command]]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("file", READ_BY)
def test_damaged_files_of_a_fresh_run(
    fresh: Path, tmp_path: Path, file: str, damage: Callable[[Path], None]
) -> None:
    folder = shutil.copytree(fresh, tmp_path / "run")
    damage(folder / file)
    for command in READ_BY[file]:
        refused(words_of(command, folder), folder, file)
    if file in (
        "config.json",
        "options.json",
        "metrics.jsonl",
        "summary.json",
        "digests.json",
        "network.npz",
    ):
        refused(["train", *TRAIN, "--out", str(folder)], folder, file)


# Version 0.1 kept no digests, so a bit in the middle of numbers cannot be noticed, and a log that ends early is what a
# killed run leaves; everything else is.
OLD = [
    pytest.param(file, damage, id=f"{file}-{damage.__name__}")
    for file in READ_BY
    for damage in (truncated, emptied, foreign)
    if (HERE / "finished" / file).exists() and (file != "metrics.jsonl" or damage is foreign)
]
INTERRUPTED = [
    pytest.param(file, damage, id=f"{file}-{damage.__name__}")
    for file in CONTINUED
    for damage in DAMAGES
    if not (damage is flipped and file.endswith(".npy"))
]


@pytest.mark.parametrize(("file", "damage"), OLD)
def test_damaged_files_of_an_old_run(tmp_path: Path, file: str, damage: Callable[[Path], None]) -> None:
    folder = shutil.copytree(HERE / "finished", tmp_path / "run")
    damage(folder / file)
    for command in READ_BY[file]:
        refused(words_of(command, folder), folder, file)


@pytest.mark.parametrize(("file", "damage"), INTERRUPTED)
def test_an_interrupted_run_is_not_continued_from_damaged_files(
    tmp_path: Path, file: str, damage: Callable[[Path], None]
) -> None:
    folder = shutil.copytree(HERE / "interrupted", tmp_path / "run")
    damage(folder / file)
    refused(["train", *FAITHFUL, "--out", str(folder)], folder, file)


def test_runs_of_other_programs_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"fb_scale": 1.0, "rule": "dfa"}))
    for command in COMMANDS:
        refused(words_of(command, folder), folder, "config.json")
    refused(["train", *TRAIN, "--out", str(folder)], folder, "config.json")
    refused(["train", *TRAIN, "--out", str(folder), "--force"], folder, "config.json")


def test_checkpoints_of_other_programs_are_refused(tmp_path: Path, fresh: Path) -> None:
    from reprokit import Checkpoints

    folder = shutil.copytree(fresh, tmp_path / "run")
    for name in ("summary.json", "initial_weights.npy"):
        (folder / name).unlink()
    Checkpoints(folder / "checkpoints" / "initialise").save(99, {"other": np.zeros(3)}, {})
    done = run([*[""] * 3, "train", *TRAIN, "--out", str(folder)])
    assert done.returncode == 2
    assert "checkpoints of another program; delete the folder" in done.stderr
