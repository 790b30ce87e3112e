"""Damaged files of a run, and those of another program: exit code 2, one sentence, nothing written."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from denram.cli import main
from denram.config import TrainConfig
from denram.data.loading import load_data
from denram.training import train, trainer
from reprokit import Checkpoints, UserError

OLD = Path(__file__).parent / "runs_0_1"
COMMANDS = ("info", "evaluate", "plot", "export")
FOREIGN = {
    "config.json": '{"package": "nalsm", "astrocyte_weight": 1.0}',
    "options.json": '{"package": "nalsm", "threads": 1}',
    "metrics.jsonl": '{"update": 1, "error": 0.5}\n' * 9,
    "summary.json": '{"error": 0.5}',
    "data.json": '{"data": {"set": "mnist"}}',
    "timing.json": '{"minutes": 1}',
    "source.json": '{"source": "mnist"}',
    "digests.json": '{"config.json": ["' + "0" * 64 + '"]}',
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of this version, and those of version 0.1."""
    out = tmp_path_factory.mktemp("runs") / "new"
    train(TrainConfig(data="spoken-toy", n_in=32, n_delays=2, nb_epochs=3, batch_size=64, out=out))
    return {"new": out, **{name: OLD / name for name in ("finished", "interrupted")}}


def damaged(file: Path, scratch: Path) -> Iterator[tuple[str, bytes]]:
    """What may have happened to a file: the kind of damage, and the bytes after it."""
    data = file.read_bytes()
    yield "truncated", data[: len(data) // 2]
    yield "emptied", b""
    if file.suffix == ".safetensors":
        other = Checkpoints(scratch / "other").save(3, {"network": np.zeros((2, 2))}, {})
        yield "of another program", other.read_bytes()
    elif file.suffix == ".npy":
        np.save(scratch / "other.npy", np.zeros((2, 2)))
        yield "of another program", (scratch / "other.npy").read_bytes()
    else:
        yield "of another program", FOREIGN[file.name].encode()
    noted = (file.parent / "digests.json").exists()
    if file.suffix != ".npy" or noted:  # arrays of version 0.1 have no digest, and all bits are numbers
        held = file.suffix == ".safetensors" or (noted and file.name != "digests.json")  # against a digest
        place = len(data) // 2 if held else 0  # the first bit of a text makes it unreadable
        yield "with a flipped bit", data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("label", ["new", "finished", "interrupted"])
def test_every_damaged_file_is_named_by_every_command(runs, label, tmp_path, capsys):
    run = tmp_path / "run"
    if not runs[label].exists():
        pytest.skip("the runs of version 0.1 are not part of this copy")
    shutil.copytree(runs[label], run)
    (run / ".run.lock").unlink(missing_ok=True)
    commands = COMMANDS if label != "interrupted" else COMMANDS[:-1]  # only finished runs can be exported
    files = sorted(file for file in run.rglob("*") if file.is_file())
    assert len(files) >= 7
    for file in files:
        whole = file.read_bytes()
        for kind, data in damaged(file, tmp_path):
            file.write_bytes(data)
            before = contents(run)
            for command in commands:
                code = main([command, str(run)])
                said = capsys.readouterr().err
                case = f"{command}, {file.relative_to(run)} {kind}: {said}"
                assert code == 2, case
                assert said.startswith("error: "), case
                assert said.count("\n") <= 2, case
                named = file.name in said or f"{run} holds a run of nalsm" in said
                assert named or file.name == "digests.json", case
                assert str(run) in said, case
                assert contents(run) == before, case
        file.write_bytes(whole)
    assert main(["info", str(run)]) == 0
    assert main(["evaluate", str(run), "--devices", "1"]) == 0


def test_a_folder_of_another_program_or_none(runs, tmp_path, capsys):
    (tmp_path / "config.json").write_text(FOREIGN["config.json"])
    for folder, words in ((tmp_path, "a run of nalsm"), (tmp_path / "none", "holds no run")):
        for command in COMMANDS:
            assert main([command, str(folder)]) == 2
            assert words in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def test_a_run_goes_on_with_the_delays_and_recordings_it_began_with(tmp_path, monkeypatch):
    """`delays.npy` may be gone, and the delays that are drawn now may be others; the run has their digest."""
    config = TrainConfig(
        data="spoken-toy", n_in=32, n_delays=2, nb_epochs=2, batch_size=80, devices=2, out=tmp_path / "run"
    )
    train(config)
    noted = json.loads((tmp_path / "run" / "data.json").read_text())
    assert noted["files"]["delays"]["path"] == "delays.npy"
    assert noted["data"]["samples"] == {"train": 400, "test": 200}
    (tmp_path / "run" / "summary.json").unlink()  # as if it had been killed
    data = load_data(config.data, config.binning)
    assert data.identity is not None
    with pytest.raises(UserError, match=r"the data set .*changed since the run"):
        train(config, replace(data, identity=replace(data.identity, digest="0" * 64)))
    (tmp_path / "run" / "delays.npy").unlink()
    drawn = trainer.initialise
    monkeypatch.setattr(
        trainer, "initialise", lambda *args: (made := drawn(*args))._replace(delays=made.delays[::-1].copy())
    )
    with pytest.raises(UserError, match=r"the delays file .*delays\.npy changed since the run"):
        train(config)
