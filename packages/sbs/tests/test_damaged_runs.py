"""Damaged or foreign run directories: exit code 2, one sentence with file and remedy, and no byte is changed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from reprokit import Checkpoints
from sbs.cli import main

HERE = Path(__file__).parent
QUICK = [
    "--learning.updates=2",
    "--learning.batch-size=8",
    "--network.number-of-spikes=5",
    "--data.limit-train=20",
    "--data.limit-test=10",
]
READERS = [
    "evaluate RUN --limit 5",
    "test RUN --limit 5",
    "spikes RUN --counts 5 --limit 5",
    "plot RUN --images 1",
    "export RUN --out OUT",
    "convert export RUN --out OUT",
    "info RUN",
]
OTHERS = {  # files of another program
    ".json": b'{"package": "denram", "n_delays": 8, "threshold": 1.0}',
    ".jsonl": b"epoch,loss\n1,0.5\n",
}


@pytest.fixture(scope="module")
def new(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("damaged") / "run"
    assert main(["train", "digits-smoke", *QUICK, "--out", str(folder)]) == 0
    return folder


def truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


def empty(_: bytes) -> bytes:
    return b""


def flip_first(data: bytes) -> bytes:
    """The first bit of a file: a brace, or the length of a header."""
    return bytes([data[0] ^ 1]) + data[1:]


def flip_middle(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGES = {
    "truncated": truncate,
    "empty": empty,
    "first bit": flip_first,
    "middle bit": flip_middle,
    "foreign": "foreign",
}
NEW = ["config.json", "options.json", "metrics.jsonl", "summary.json", "digests.json", "checkpoints", "best"]
OLD = ["config.json", "metrics.jsonl", "summary.json", "checkpoints"]
# A digest that fits nothing is noticed with its file, whichever that is. Version 0.1 noted no digests: a log cut after
# a whole line is a log, a changed number is a number, and any JSON object is a summary.
UNSEEN = {("digests.json", "middle bit")}
UNSEEN_0_1 = {("metrics.jsonl", how) for how in ("truncated", "empty", "middle bit")} | {
    ("config.json", "middle bit"),
    ("summary.json", "middle bit"),
    ("summary.json", "foreign"),
}


def cases(names: list[str], unseen: set[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, how) for name in names for how in DAMAGES if (name, how) not in unseen]


def damage(run: Path, name: str, how: str) -> Path:
    """Damage one file of a run and return it."""
    file = run / name
    if name in ("checkpoints", "best"):
        file = max((run / name).iterdir())
        if how == "foreign":
            file.unlink()
            return Checkpoints(run / name).save(2, {"weights": np.zeros(3, np.float32)}, {"epoch": 2})
    file.write_bytes(OTHERS[file.suffix] if how == "foreign" else DAMAGES[how](file.read_bytes()))
    return file


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refuses(command: str, run: Path, out: Path, named: str, capsys) -> None:
    before = snapshot(run)
    words = [{"RUN": str(run), "OUT": str(out)}.get(word, word) for word in command.split()]
    capsys.readouterr()
    assert main(words) == 2, command
    said = capsys.readouterr().err
    assert 1 <= said.count("\n") <= 2, said
    assert "Traceback" not in said
    assert named in said, said
    assert any(
        remedy in said for remedy in ("restore", "delete", "choose", "give", "remove", "train again", "anew")
    ), said
    assert snapshot(run) == before
    assert not out.exists()


def commands_that_read(name: str) -> list[str]:
    if name == "best":
        return ["evaluate RUN --limit 5 --which best", "plot RUN --images 1 --which best"]
    return [command for command in READERS if name != "checkpoints" or not command.startswith("info")]


@pytest.mark.parametrize(("name", "how"), cases(NEW, UNSEEN))
def test_a_damaged_file_is_named(new, tmp_path, capsys, name, how):
    run = shutil.copytree(new, tmp_path / "run")
    file = damage(run, name, how)
    for command in commands_that_read(name):
        refuses(command, run, tmp_path / "out", file.name, capsys)


@pytest.mark.parametrize(("name", "how"), cases(OLD, UNSEEN_0_1))
def test_a_damaged_file_of_version_0_1_is_named(tmp_path, capsys, name, how):
    run = shutil.copytree(HERE / "runs_0_1" / "finished", tmp_path / "run")
    file = damage(run, name, how)
    named = str(run) if (name, how) == ("config.json", "foreign") else file.name
    for command in commands_that_read(name):
        refuses(command, run, tmp_path / "out", named, capsys)


@pytest.mark.parametrize(
    ("name", "how"), cases(["config.json", "metrics.jsonl", "summary.json", "checkpoints"], set())
)
def test_training_does_not_load_a_damaged_finished_run(new, tmp_path, capsys, name, how):
    run = shutil.copytree(new, tmp_path / "run")
    file = damage(run, name, how)
    refuses(f"train digits-smoke {' '.join(QUICK)} --out RUN", run, tmp_path / "out", file.name, capsys)


@pytest.mark.parametrize(
    ("name", "how"),
    [("config.json", how) for how in ("truncated", "empty", "first bit", "foreign")]
    + [("metrics.jsonl", "first bit"), ("metrics.jsonl", "foreign"), ("checkpoints", "foreign")],
)
def test_training_does_not_go_on_from_a_damaged_run(tmp_path, capsys, name, how):
    run = shutil.copytree(HERE / "runs_0_1" / "interrupted", tmp_path / "run")
    (run / ".run.lock").touch()
    config = shutil.copy(run / "config.json", tmp_path / "config.json")
    file = damage(run, name, how)
    named = str(run) if (name, how) == ("config.json", "foreign") else file.name
    refuses(f"train {config} --out RUN", run, tmp_path / "out", named, capsys)


def test_a_run_of_another_program_is_refused(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"package": "denram", "n_delays": 8}))
    for command in READERS:
        refuses(command, run, tmp_path / "out", "run of denram", capsys)
    before = (run / "config.json").read_bytes()
    for force in ("--no-force", "--force"):
        assert main(["train", "digits-smoke", force, "--out", str(run)]) == 2
        assert "denram" in capsys.readouterr().err
    assert (run / "config.json").read_bytes() == before


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    for command in READERS:
        refuses(command, tmp_path / "run", tmp_path / "out", "config.json", capsys)
