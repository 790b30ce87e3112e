"""Own images: what is read, what is kept, what is refused; a run continues only with the data it began with."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import bdfa
import numpy as np
import pytest
import torch
from bdfa import cli
from bdfa.config import TrainConfig
from bdfa.data.loading import load_data
from bdfa.formats.lua_flags import parse_flags
from bdfa.training.evaluation import evaluate_run
from bdfa.training.runs import open_run
from reprokit import UserError, run_id

drawn = np.random.default_rng(0)


def images(count: int, shape: tuple[int, ...] = (6, 6)) -> np.ndarray:
    return drawn.integers(0, 256, (count, *shape), dtype=np.uint8)


def npz(path: Path, labels: np.ndarray | None = None, test: np.ndarray | None = None, **changed) -> Path:
    labels = np.arange(60) % 3 if labels is None else labels
    test = np.arange(30) % 3 if test is None else test
    parts = {
        "train_images": images(len(labels)),
        "train_labels": labels,
        "test_images": images(len(test)),
        "test_labels": test,
    }
    np.savez(path, **{**parts, **changed})
    return path


def options(source: Path, **changed) -> TrainConfig:
    small = {"hidden": (8,), "epochs": 1, "plot": False, "batch_size": 20}
    return TrainConfig(dataset=str(source), **{**small, **changed})


# CIFAR's files


def python_2(pixels: np.ndarray, labels: list[int], key: bytes) -> bytes:
    """A batch as Python 2 wrote the published ones."""
    content = pixels.tobytes()
    return (
        b"\x80\x02}q\x00(U\x04dataq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02(cnumpy\nndarray\nq\x03K\x00\x85U\x01b"
        b"tRq\x04(K\x01M" + struct.pack("<H", len(pixels)) + b"M\x00\x0c\x86cnumpy\ndtype\nq\x05(U\x02u1K\x00K\x01tR"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", len(content)) + content
        + b"tbU" + bytes([len(key)]) + key + b"]("
        + b"".join(b"K" + bytes([label]) for label in labels)
        + b"eu."
    )  # fmt: skip


WRITERS = {
    "Python 2": python_2,
    **{
        f"protocol {protocol}": lambda pixels, labels, key, protocol=protocol: pickle.dumps(
            {b"data": pixels, key: labels}, protocol
        )
        for protocol in (2, 3, 4, 5)
    },
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("nested", [False, True])
def test_cifar_10_pickles(writer, nested, tmp_path):
    folder = tmp_path / "mine" / ("cifar-10-batches-py" if nested else "")
    folder.mkdir(parents=True)
    pixels, labels = images(12, (3072,)), [0, 1] * 6
    for k, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        part = slice(2 * k, 2 * k + 2)
        (folder / name).write_bytes(WRITERS[writer](pixels[part], labels[part], b"labels"))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"cat", b"dog"]}, 2))
    data = load_data(options(tmp_path / "mine", normalize="none"))
    assert (data.name, data.input_shape, data.class_names) == ("mine", (3, 32, 32), ("cat", "dog"))
    assert torch.equal(data.train.images, torch.from_numpy(pixels[:10].reshape(-1, 3, 32, 32)).float())
    assert data.train.labels.tolist() == labels[:10]
    assert data.test.labels.tolist() == labels[10:]


def test_cifar_100_pickles(tmp_path):
    pixels = images(4, (3072,))
    for name, part in (("train", slice(0, 2)), ("test", slice(2, 4))):
        fine, coarse = [0, 1], [7, 7]
        content = {b"data": pixels[part], b"coarse_labels": coarse, b"fine_labels": fine}
        (tmp_path / name).write_bytes(pickle.dumps(content, 2))
    data = load_data(options(tmp_path, normalize="none"))
    assert data.train.labels.tolist() == [0, 1]
    assert torch.equal(data.test.images.flatten(1), torch.from_numpy(pixels[2:]).float())


class Marker:
    """Its pickle would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("where", ["labels", "data", "aside"])
def test_pickles_run_nothing(where, tmp_path):
    content = {b"data": images(2, (3072,)), b"labels": [0, 1], where.encode(): Marker(tmp_path / "made")}
    for name in ("train", "test"):
        (tmp_path / name).write_bytes(pickle.dumps(content, 2))
    if where == "aside":
        load_data(options(tmp_path))
    else:
        with pytest.raises(
            UserError, match=r"cannot be read \(.*mkdir where an array belongs\); get it again"
        ):
            load_data(options(tmp_path))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "damage", [b"", b"\x80\x02}q\x00(U", b"no pickle", pickle.dumps([1, 2]), pickle.dumps({"a": 1})]
)
def test_damaged_pickles_are_refused(damage, tmp_path):
    for name in ("train", "test"):
        (tmp_path / name).write_bytes(damage)
    with pytest.raises(UserError, match="get it again"):
        load_data(options(tmp_path))


def test_random_damage_to_pickles_is_refused_or_read(tmp_path):
    whole = python_2(images(2, (3072,)), [0, 1], b"labels")
    (tmp_path / "test").write_bytes(whole)
    for _ in range(300):
        cut = bytearray(whole[: drawn.integers(1, 300)] + whole[-40:])
        cut[drawn.integers(len(cut))] = drawn.integers(256)
        (tmp_path / "train").write_bytes(bytes(cut))
        with pytest.raises(UserError):
            load_data(options(tmp_path))


# MNIST's files and others


def idx(folder: Path, packed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, count in (("train", 60), ("t10k", 30)):
        for kind, array in (
            ("images-idx3", images(count)),
            ("labels-idx1", (np.arange(count) % 3).astype(np.uint8)),
        ):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            content = head + array.tobytes()
            path = folder / f"{prefix}-{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_own_idx_files(packed, tmp_path):
    data = load_data(options(idx(tmp_path / "own", packed)))
    assert (data.name, len(data.train), len(data.test), data.input_shape) == ("own", 60, 30, (1, 6, 6))


def test_a_folder_with_one_npz_file(tmp_path):
    npz(tmp_path / "some.npz")
    assert len(load_data(options(tmp_path)).train) == 60


def test_own_files_under_a_published_name_have_a_way_in(tmp_path, monkeypatch, capsys):
    """Another checksum is refused; the message says how to read the files as own data."""
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    idx(tmp_path / "sets" / "mnist")
    words = ["train", "smoke", "--dataset", "mnist", "--hidden", "8", "--epochs", "1", "--no-plot"]
    assert cli.main([*words, "--data", "sets"]) == 2
    said = capsys.readouterr().err
    assert "as your own data: --data sets/mnist" in " ".join(said.split())
    assert cli.main([*words, "--data", "sets/mnist"]) == 0
    assert "sets/mnist: 60 training and 30 test images, 1 x 6 x 6, 3 classes" in capsys.readouterr().out


# what is kept of own data


def test_subsets_of_own_data_are_chosen_by_seed_each_class_in_its_share(tmp_path):
    """DEV-30: the first samples of a file sorted by class are of one class."""
    source = npz(tmp_path / "sorted.npz", np.repeat(np.arange(3), 40), np.arange(30) % 3)
    found = []
    for seed in (1, 1, 2):
        data = load_data(options(source, train_size=30, val_split=30, seed=seed, normalize="none"))
        assert data.train.labels.bincount().tolist() == [10, 10, 10]
        assert data.validation is not None
        assert data.validation.labels.bincount().tolist() == [10, 10, 10]
        both = torch.cat([data.train.images, data.validation.images]).flatten(1)
        assert len(both.unique(dim=0)) == 60  # no image is in both
        found.append(both)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    with pytest.raises(UserError, match="--train-size is 2; give 3"):
        load_data(options(source, train_size=2))
    with pytest.raises(UserError, match="no training sample of class 1"):
        load_data(options(source, train_size=30, profile="faithful"))


def test_dev30_has_a_revision_of_its_own(tmp_path):
    source = npz(tmp_path / "own.npz")
    for cut in ({"train_size": 30}, {"val_split": 30}):
        new, old = options(source, **cut), options(source, revision=1, **cut)
        assert new.content()["revision"] == 2
        assert "revision" not in old.content()
        assert run_id(new.content()) != run_id(old.content())
        first = load_data(replace(old, normalize="none"))
        assert first.train.labels.tolist() == (np.arange(60) % 3)[:30].tolist()
        faithful = options(source, profile="faithful", **cut).content()
        assert "revision" not in faithful
    for other in (options(source), options(Path("digits"), train_size=96)):
        assert "revision" not in other.content()


def test_labels_that_do_not_start_at_0_are_refused(tmp_path):
    one = npz(tmp_path / "one.npz", np.arange(60) % 3 + 1, np.arange(30) % 3 + 1)
    with pytest.raises(UserError, match=r"labels run from 1 to 3, .*subtract 1 from all labels"):
        load_data(options(one))
    gaps = npz(tmp_path / "gaps.npz", np.arange(60) % 3 * 2, np.arange(30) % 3 * 2)
    with pytest.warns(UserWarning, match="no training sample of class 1, 3"):
        load_data(options(gaps))


def test_one_line_says_what_was_kept(tmp_path):
    source = npz(tmp_path / "own.npz")
    blank = images(60)
    blank[:4] = 7
    npz(source, train_images=blank)
    line = load_data(options(source, train_size=30, val_split=6, zero_variance="one")).note
    assert line.startswith(
        f"{source}: 30 of 60 training, 6 validation and 30 test images, 1 x 6 x 6, 3 classes"
    )
    assert load_data(options(source)).note.endswith("; 4 images have one value everywhere")
    assert load_data(options(Path("digits"))).note == ""


def test_th_has_the_remedy_of_its_own_sentence():
    words = ["-dataset", "MNIST", "-normalization", "image"]
    assert parse_flags(words).zero_variance == "error"
    assert parse_flags([*words, "--zero-variance", "one"]).zero_variance == "one"
    with pytest.raises(UserError, match="must be one of error, one"):
        parse_flags([*words, "--zero-variance", "two"])


# what a run continues with


def test_a_run_refuses_to_go_on_with_other_data(tmp_path):
    source, run = npz(tmp_path / "own.npz"), tmp_path / "run"
    config = options(source, out=run, epochs=2, checkpoint_steps=1)
    bdfa.train(config)
    kept = json.loads((run / "data.json").read_text())
    assert kept["data"]["samples"] == {"train": 60, "test": 30}
    before = source.read_bytes()
    npz(source)  # other pixels
    for changed in (config, replace(config, threads=1)):
        with pytest.raises(UserError, match=r"data set .*own\.npz changed since the run"):
            bdfa.train(changed)
    (run / "summary.json").unlink()  # as if it had been killed
    with pytest.raises(UserError, match=r"data set .*own\.npz changed since the run"):
        bdfa.train(config)
    for use in (lambda: evaluate_run(run), lambda: open_run(run).load()):
        with pytest.raises(UserError, match=r"own\.npz changed since .* was trained on it"):
            use()
    source.write_bytes(before)
    bdfa.train(config)
    assert evaluate_run(run)[0]["samples"] == 30


def test_a_run_refuses_to_go_on_with_another_network_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    code = tmp_path / "my_network.py"
    text = (
        "import math, torch\n"
        "def make(shape, classes):\n"
        "    first, last = torch.nn.Linear(math.prod(shape), 8), torch.nn.Linear(8, classes)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), first, torch.nn.Tanh(), last)\n"
    )
    code.write_text(text)
    config = options(npz(tmp_path / "own.npz"), model="my_network:make", out=tmp_path / "run")
    bdfa.train(config)
    code.write_text(text.replace("Tanh", "ReLU"))
    with pytest.raises(UserError, match=r"network file .*my_network\.py changed since the run"):
        bdfa.train(config)


def test_a_run_without_the_record_gets_it(tmp_path):
    source, run = npz(tmp_path / "own.npz"), tmp_path / "run"
    config = options(source, out=run, epochs=1)
    bdfa.train(config)
    (run / "data.json").unlink()
    (run / "summary.json").unlink()
    digests = json.loads((run / "digests.json").read_text()) if (run / "digests.json").exists() else None
    if digests is not None:
        (run / "digests.json").write_text(
            json.dumps({k: v for k, v in digests.items() if k not in ("data.json", "summary.json")})
        )
    bdfa.train(config)
    assert (run / "data.json").exists()
