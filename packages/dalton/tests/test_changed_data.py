"""A run does not continue with other data or another network file than it began with (`data.json`)."""

import json
import shutil
import sys
from dataclasses import replace

import dalton
import numpy as np
import pytest
from dalton import TrainConfig, cli
from event_samples import write_recordings
from reprokit import UserError

ARCH = "arch = dalton.Architecture((dalton.ConvSpec(4, 3, pool=2),), ({width}, 8), name='own')\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPROKIT_DATA", str(tmp_path / "cache"))


def images(path, seed):
    rng = np.random.default_rng(seed)
    pixels, labels = rng.integers(0, 256, (40, 8, 8), np.uint8), np.arange(40) % 4
    np.savez(path, x_train=pixels, y_train=labels, x_test=pixels[:8], y_test=labels[:8])
    return path


def frames(path, seed):
    rng = np.random.default_rng(seed)
    np.savez(path, frames=rng.poisson(0.1, (40, 8, 2, 8, 8)).astype(np.uint8), labels=np.arange(40) % 4)
    return path


def recordings(path, seed):
    shutil.rmtree(path, ignore_errors=True)
    return write_recordings(path, seed=seed, end=40_000)


@pytest.mark.parametrize("make", [images, frames, recordings])
@pytest.mark.parametrize("finished", [False, True])
def test_other_data_under_the_same_name_are_refused(make, finished, tmp_path):
    path = make(tmp_path / "own.npz" if make is not recordings else tmp_path / "own", 1)
    config = TrainConfig(
        dataset=str(path), arch="small_runs:TINY", epochs=1, validation=0.0, threads=1, out=tmp_path / "run",
        steps=None if make is frames else 8,
    )  # fmt: skip
    dalton.train(config)
    noted = json.loads((tmp_path / "run" / "data.json").read_text())
    if not finished:
        (tmp_path / "run" / "summary.json").unlink()
        digests = json.loads((tmp_path / "run" / "digests.json").read_text())
        (tmp_path / "run" / "digests.json").write_text(
            json.dumps({name: value for name, value in digests.items() if name != "summary.json"})
        )
    dalton.train(config)
    assert json.loads((tmp_path / "run" / "data.json").read_text()) == noted
    make(path, 2)
    with pytest.raises(
        UserError, match=rf"the data set {path} changed since the run in {tmp_path / 'run'} began"
    ):
        dalton.train(config)
    make(path, 1)
    dalton.train(config)


def test_another_network_file_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "own_architecture.py"
    words = [
        "train",
        "--dataset",
        "digits",
        "--arch",
        "own_architecture:arch",
        "--epochs",
        "1",
        "--steps",
        "8",
    ]
    words += ["--train-size", "40", "--test-size", "20", "--threads", "1", "--out", str(tmp_path / "run")]
    for width, code in ((16, 0), (16, 0), (12, 2)):
        file.write_text("import dalton\n" + ARCH.format(width=width))
        sys.modules.pop("own_architecture", None)
        assert cli.main(words) == code
    assert f"the network file {file} changed since the run in" in capsys.readouterr().err
    sys.modules.pop("own_architecture", None)


def test_a_run_of_an_older_version_gets_its_record(tmp_path):
    config = TrainConfig(
        dataset="digits", arch="small_runs:TINY", epochs=1, steps=8, train_size=40, test_size=20, threads=1
    )
    dalton.train(replace(config, out=tmp_path / "run"))
    noted = (tmp_path / "run" / "data.json").read_text()
    for name in ("data.json", "summary.json", "digests.json"):
        (tmp_path / "run" / name).unlink()
    dalton.train(replace(config, out=tmp_path / "run"))
    assert (tmp_path / "run" / "data.json").read_text() == noted
    assert json.loads(noted)["data"]["samples"] == {"train": 1437, "test": 360}
