"""Run directories with damaged or foreign files: one sentence that names the file, exit code 2, nothing changed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dalton import cli
from small_runs import FLAGS

RUN = [*FLAGS, "--epochs", "3"]
PLAIN = ("config.json", "options.json", "metrics.jsonl", "summary.json")
FOREIGN = {
    "config.json": b'{"batch_size": 7, "learning": 1}\n',
    "options.json": b'{"package": "sbs", "batch_size": 7}\n',
    "metrics.jsonl": b'{"step": 1, "accuracy": 0.5}\n' * 3,
    "summary.json": b'{"accuracy": 0.5}\n',
}
STORED = [
    path for path in sorted(Path(__file__).parent.glob("runs_0_1/*")) if (path / "config.json").is_file()
]


def flipped(content: bytes) -> bytes:
    """Flip a bit of the first byte and of one in the middle."""
    middle = len(content) // 2
    return bytes([content[0] ^ 4]) + content[1:middle] + bytes([content[middle] ^ 64]) + content[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "emptied": lambda _: b"",
    "flipped": flipped,
    "foreign": lambda _: b"\x89PNG\r\n\x1a\n" + bytes(100),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "run"
    assert cli.main(["train", *RUN, "--out", str(path)]) == 0
    return path


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def refused(words: list[str], run: Path, file: str, capsys) -> None:
    """The command says in one or two lines what is wrong with the file, and does not change the folder."""
    before = contents(run)
    capsys.readouterr()
    assert cli.main(words) == 2, words
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert len(captured.err.splitlines()) <= 2
    assert Path(file).name in captured.err or Path(file).parent.name in captured.err or "sbs" in captured.err
    assert any(
        remedy in captured.err for remedy in ("restore", "choose", "train", "delete", "give", "remove", "use")
    )
    assert contents(run) == before


def readers(run: Path, which: str = "best") -> list[list[str]]:
    elsewhere, samples = str(run.parent / "elsewhere"), run.parent / "samples.npy"
    np.save(samples, np.zeros((1, 8, 8), np.uint8))
    return [
        ["evaluate", str(run), "--which", which],
        ["predict", str(run), "--which", which, "--data", str(samples), "--out", f"{elsewhere}.csv"],
        ["plot", str(run), "--which", which, "--out", elsewhere],
        ["export", str(run), "--which", which, "--to", "npz", "--out", f"{elsewhere}.npz"],
    ]


@pytest.mark.parametrize("name", [*PLAIN, "digests.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file(finished, tmp_path, capsys, name, damage):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    file = run / name
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    for words in (*readers(run), ["info", str(run)], ["train", *RUN, "--out", str(run)]):
        refused(words, run, name, capsys)
    assert not list(tmp_path.glob("elsewhere*"))


@pytest.mark.parametrize("name", PLAIN)
def test_a_file_of_another_program(finished, tmp_path, capsys, name):
    """Also without digests, which runs of version 0.1 do not have."""
    for digests in (True, False):
        run = tmp_path / str(digests) / "run"
        shutil.copytree(finished, run)
        if not digests:
            (run / "digests.json").unlink()
        (run / name).write_bytes(FOREIGN[name])
        for words in (*readers(run), ["info", str(run)], ["train", *RUN, "--out", str(run)]):
            refused(words, run, name, capsys)


@pytest.mark.parametrize("which", ["best", "last"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint(finished, tmp_path, capsys, which, damage):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    newest = sorted((run / ("best" if which == "best" else "checkpoints")).glob("checkpoint-*"))[-1]
    newest.write_bytes(DAMAGES[damage](newest.read_bytes()))
    for words in readers(run, which):
        refused(words, run, newest.relative_to(run).as_posix(), capsys)


def test_a_checkpoint_of_another_network(finished, tmp_path, capsys):
    """A whole checkpoint that does not fit the options."""
    run, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(finished, run)
    assert cli.main(["train", *FLAGS, "--arch", "small_runs:DROPPED", "--out", str(other)]) == 0
    shutil.rmtree(run / "best")
    shutil.copytree(other / "best", run / "best")
    for words in readers(run):
        refused(words, run, "run", capsys)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_log_damaged_half_way(finished, tmp_path, capsys, damage):
    """In an unfinished run a torn last line is due to a crash and accepted; damage before it is refused."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "summary.json").unlink()
    log = run / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([DAMAGES[damage](lines[0]).rstrip(b"\n") + b"\n", *lines[1:]]))
    for words in (["info", str(run)], ["train", *RUN, "--out", str(run)]):
        refused(words, run, "metrics.jsonl", capsys)


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.name)
def test_runs_of_version_0_1_are_read(stored, tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    monkeypatch.syspath_prepend(stored.parent)  # the architecture
    shutil.copytree(stored, run)
    before = contents(run)
    for words in (*readers(run), ["info", str(run)]):
        assert cli.main(words) == 0, capsys.readouterr().err
    assert contents(run) == before
    for name in PLAIN:
        for damage in ("emptied", "flipped", "foreign"):
            # without a summary an empty log is that of a run whose first epoch continues
            unknown = (name, damage) == ("metrics.jsonl", "emptied") and "summary.json" not in before
            if name in before and not unknown:
                (run / name).write_bytes(DAMAGES[damage](before[name]))
                refused(["info", str(run)], run, name, capsys)
                (run / name).write_bytes(before[name])
