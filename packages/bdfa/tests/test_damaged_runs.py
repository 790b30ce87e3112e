"""Run directories with damaged or foreign files: one sentence that names the file, exit code 2, nothing changed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from bdfa import cli

FLAGS = ["smoke", "--rule", "bfa", "--hidden", "8", "--epochs", "2", "--train-size", "96", "--angles-every", "3",
         "--no-plot"]  # fmt: skip
FILES = ("config.json", "options.json", "metrics.jsonl", "summary.json")
FOREIGN = {
    "config.json": b'{"batch_size": 7, "learning": 1}\n',
    "options.json": b'{"package": "sbs", "batch_size": 7}\n',
    "metrics.jsonl": b'{"step": 1, "accuracy": 0.5}\n' * 3,
    "summary.json": b'{"accuracy": 0.5}\n',
}
STORED = [path for path in sorted(Path(__file__).parent.glob("runs_0_1/*")) if path.is_dir()]
REMEDIES = ("restore", "choose", "train", "delete", "give", "remove", "use")


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
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "run"
    assert cli.main(["train", *FLAGS, "--out", str(path)]) == 0
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def network_readers(run: Path) -> list[list[str]]:
    """Commands that load the network, writing elsewhere."""
    elsewhere = str(run.parent / "elsewhere")
    return [
        ["evaluate", str(run)],
        ["predict", str(run), "--data", f"{elsewhere}.npy", "--out", f"{elsewhere}.csv"],
        ["generate", str(run), "--out", f"{elsewhere}.png"],
        ["export", str(run), "--out", f"{elsewhere}.npz"],
        ["train", *FLAGS, "--init-from", str(run), "--out", elsewhere],
        ["train", *FLAGS, "--continue-from", str(run), "--out", elsewhere],
    ]


def readers(run: Path) -> list[list[str]]:
    """Commands that read the run, writing elsewhere."""
    return [
        *network_readers(run),
        ["plot", str(run), "--out", str(run.parent / "elsewhere")],
        ["info", str(run)],
    ]


def refused(words: list[str], run: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command says in one or two lines what is wrong with the file, and does not change the folder."""
    before = contents(run)
    capsys.readouterr()
    assert cli.main(words) == 2, words
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert len(said.err.splitlines()) <= 2
    assert Path(file).name in said.err or Path(file).parent.name in said.err
    assert any(remedy in said.err for remedy in REMEDIES)
    assert contents(run) == before
    assert not list(run.parent.glob("elsewhere*"))


@pytest.mark.parametrize("name", [*FILES, "digests.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file(run, capsys, name, damage):
    file = run / name
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    for words in (*readers(run), ["train", *FLAGS, "--out", str(run)]):
        refused(words, run, name, capsys)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("digests", [True, False])
def test_a_file_of_another_program(run, capsys, name, digests):
    """Also without digests, which runs of version 0.1 do not have."""
    if not digests:
        (run / "digests.json").unlink()
    (run / name).write_bytes(FOREIGN[name])
    for words in (*readers(run), ["train", *FLAGS, "--out", str(run)]):
        refused(words, run, "run" if name == "options.json" else name, capsys)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint(run, capsys, damage):
    newest = sorted((run / "checkpoints").iterdir())[-1]
    newest.write_bytes(DAMAGES[damage](newest.read_bytes()))
    for words in network_readers(run):
        refused(words, run, newest.relative_to(run).as_posix(), capsys)


def test_a_checkpoint_of_another_network(run, capsys, tmp_path):
    other = tmp_path / "other"
    words = [*FLAGS, "--hidden", "9", "--out", str(other)]
    assert cli.main(["train", *words]) == 0
    for old, new in zip(
        sorted((run / "checkpoints").iterdir()), sorted((other / "checkpoints").iterdir()), strict=True
    ):
        old.write_bytes(new.read_bytes())
    for command in ("evaluate", "generate", "train"):
        words = next(words for words in network_readers(run) if words[0] == command)
        refused(words, run, "run", capsys)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_log_damaged_half_way(run, capsys, damage):
    """In an unfinished run a torn last line is due to a crash and accepted; damage before it is refused."""
    (run / "summary.json").unlink()
    log = run / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([DAMAGES[damage](lines[0]).rstrip(b"\n") + b"\n", *lines[1:]]))
    for words in (["info", str(run)], ["train", *FLAGS, "--out", str(run)]):
        refused(words, run, "metrics.jsonl", capsys)


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.name)
def test_runs_of_version_0_1(stored, tmp_path, capsys):
    run = shutil.copytree(stored, tmp_path / "run")
    before = contents(run)
    for words in (
        ["evaluate", str(run)],
        ["info", str(run)],
        ["export", str(run), "--out", str(tmp_path / "a.npz")],
    ):
        assert cli.main(words) == 0, capsys.readouterr().err
    assert contents(run) == before
    for name in FILES:
        for damage in ("emptied", "flipped", "foreign"):
            # without a summary an empty log is that of a run whose first epoch continues
            unknown = (name, damage) == ("metrics.jsonl", "emptied") and "summary.json" not in before
            if name in before and not unknown:
                (run / name).write_bytes(DAMAGES[damage](before[name]))
                refused(["info", str(run)], run, name, capsys)
                (run / name).write_bytes(before[name])
