"""Bad input: one sentence that names what is wrong, exit code 2, nothing half-written."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from denram import cli
from denram.config import TrainConfig
from denram.training.evaluation import evaluate
from denram.training.runs import open_run
from reprokit import UserError


@pytest.fixture
def refused(capsys, tmp_path):
    """Run a command that must fail, and return its sentence."""

    def run(command: str) -> str:
        before = {file for file in tmp_path.rglob("*") if file.suffix != ".lock"}
        assert cli.main(command.split()) == 2
        out, err = capsys.readouterr()
        assert err.count("\n") == 1
        assert err.startswith("error: ")
        assert "Traceback" not in err + out
        assert {file for file in tmp_path.rglob("*") if file.suffix != ".lock"} == before
        return err

    return run


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--n-in 701", "n_in is 701, but the data have 700 channels"),
        ("--n-in 0", "n_in is 0; it must be at least 1"),
        ("--n-delays 0", "n_delays is 0; it must be at least 1"),
        ("--noise-std -0.1", "noise_std is -0.1; it must be 0 or a positive number"),
        ("--noise-std nan", "noise_std is nan"),
        ("--tau-mem 0", "tau_mem is 0.0; it must be a positive number"),
        ("--lr inf", "lr is inf"),
        ("--nb-epochs 0", "nb_epochs is 0"),
        ("--batch-size 0", "batch_size is 0"),
        ("--batch-size 512 --profile faithful", "fewer than one batch of 512"),
        ("--steps 281", "steps is 281, but a duration of 1.4 s holds 280 steps"),
        ("--dt 0", "dt is 0.0"),
        ("--max-delay -1", "max_delay is -1"),
        ("--seed -1", "seed is -1"),
        ("--patience 0", "patience is 0"),
        ("--threads 0", "threads is 0"),
        ("--devices 0", "devices is 0"),
        ("--n-out 3", "n_out is 3, but the data have 10 classes"),
        ("--validation 1", "validation is 1.0"),
        ("--r-std -1", "r_std is -1.0"),
    ],
)
def test_settings(refused, tmp_path, flags, words):
    assert words in refused(f"train --data spoken-toy --out {tmp_path / 'run'} {flags}")


@pytest.mark.parametrize("flags", ["--n-in many", "--profile best", "--engine gpu", "--unknown 3"])
def test_flags_the_parser_refuses(tmp_path, flags):
    assert cli.main(["train", "--out", str(tmp_path / "run"), *flags.split()]) == 2
    assert not (tmp_path / "run").exists()


def write_shd(folder: Path, *, times=None, units=None, labels=(0, 1, 2)) -> Path:
    """A tiny data set in SHD layout; the given values spoil the training file."""
    folder.mkdir()
    for part in ("train", "test"):
        with h5py.File(folder / f"shd_{part}.h5", "w") as file:
            spikes = file.create_group("spikes")
            for name, kind, bad, good in (
                ("times", np.float16, times, [0.1, 0.2]),
                ("units", np.uint16, units, [1, 2]),
            ):
                column = spikes.create_dataset(name, (3,), dtype=h5py.vlen_dtype(kind))
                for index in range(3):
                    column[index] = np.array(bad if bad is not None and part == "train" else good, kind)
            file["labels"] = np.array(labels if part == "train" else (0, 1, 2), np.int64)
            file.create_group("extra")["keys"] = np.array([b"a", b"b", b"c"])
    return folder


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        ({"units": [1, 700]}, "700"),
        ({"times": [-0.1, 0.2]}, "-0.09"),
        ({"times": [np.nan, 0.2]}, "nan|not a number|finite"),
        ({"labels": (0, 1, 3)}, "label"),
        ({"labels": (0, -1, 2)}, "label"),
    ],
)
def test_hostile_recordings(refused, tmp_path, spoil, word):
    folder = write_shd(tmp_path / "data", **spoil)
    message = refused(f"train --data {folder} --batch-size 1 --out {tmp_path / 'run'}")
    assert re.search(word, message, re.IGNORECASE), message
    assert "shd_train.h5" in message


def test_truncated_file(refused, tmp_path):
    file = write_shd(tmp_path / "data") / "shd_train.h5"
    data = file.read_bytes()
    for share in (0.0, 0.3, 0.9):
        file.write_bytes(data[: int(share * len(data))])
        assert "shd_train.h5" in refused(f"train --data {tmp_path / 'data'} --out {tmp_path / 'run'}")


def test_missing_data(refused, tmp_path):
    assert "nowhere" in refused(f"train --data {tmp_path / 'nowhere'} --out {tmp_path / 'run'}")
    (tmp_path / "empty").mkdir()
    assert "shd_train.h5" in refused(f"train --data {tmp_path / 'empty'} --out {tmp_path / 'run'}")


def test_run_directory_of_another_configuration(refused, tmp_path, capsys):
    options = f"train --data spoken-toy --n-in 64 --n-delays 2 --nb-epochs 1 --out {tmp_path / 'run'}"
    assert cli.main(options.split()) == 0
    capsys.readouterr()
    assert "seed 42 there, 43 now" in refused(f"{options} --seed 43")
    assert "holds a run already" in refused(f"{options} --no-resume")


def test_folder_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    refused(f"train --data spoken-toy --n-in 64 --out {tmp_path / 'file' / 'run'}")


def test_full_disk_is_one_sentence(refused, tmp_path, monkeypatch):
    import errno

    from reprokit import RunDirectory

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "run/metrics.jsonl"))

    monkeypatch.setattr(RunDirectory, "write_array", full)
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(RunDirectory, "write_text", full)
    assert "disk is full" in refused(
        f"train --data spoken-toy --n-in 64 --nb-epochs 1 --out {tmp_path / 'run'}"
    )


@pytest.mark.parametrize("command", ["info", "plot", "export", "evaluate"])
def test_folder_without_a_run(refused, tmp_path, command):
    assert "holds no run" in refused(f"{command} {tmp_path}")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    from denram.training.loop import train

    out = tmp_path_factory.mktemp("runs") / "run"
    train(TrainConfig(data="spoken-toy", n_in=64, n_delays=2, nb_epochs=1, out=out))
    return out


@pytest.mark.parametrize(
    ("levels", "devices", "words"),
    [([-0.1], 1, "noise_std"), ([float("nan")], 1, "noise_std"), ([0.1], 0, "devices is 0")],
)
def test_evaluate_arguments(finished, levels, devices, words):
    with pytest.raises(UserError, match=words):
        evaluate([open_run(finished)], levels, devices)


def test_evaluate_without_runs():
    with pytest.raises(UserError, match="no run"):
        evaluate([], [0.1], 1)


def test_spoilt_run_directories(finished, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    (copy / "digests.json").unlink()  # as a run of version 0.1
    np.save(copy / "weights.npy", np.zeros((2, 2), np.float32))
    with pytest.raises(UserError, match=r"weights\.npy holds float32 \(2, 2\)"):
        open_run(copy)
    (copy / "weights.npy").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"weights\.npy is damaged or not an array"):
        open_run(copy)
    (copy / "weights.npy").unlink()
    with pytest.raises(UserError, match="no weights yet"):
        open_run(copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(UserError, match="config"):
        open_run(copy)


def test_other_delays_are_not_swapped_under_trained_weights(finished, tmp_path):
    import shutil

    from denram.training import train

    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    (copy / "digests.json").unlink()
    (copy / "summary.json").unlink()  # as if interrupted at the end
    delays = np.load(copy / "delays.npy")
    delays[0, 0] += 1
    np.save(copy / "delays.npy", delays)
    config = TrainConfig(data="spoken-toy", n_in=64, n_delays=2, nb_epochs=1, out=copy)
    with pytest.raises(UserError, match=r"delays\.npy holds other delays"):
        train(config)
    np.testing.assert_array_equal(np.load(copy / "delays.npy"), delays)


def test_jobs_and_scale(refused, tmp_path):
    assert "jobs is 0" in refused(f"fig4d --scale smoke --jobs 0 --out {tmp_path / 'out'}")
