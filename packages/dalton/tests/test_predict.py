"""A run loaded to classify images or frames: results equal those of `evaluate`, also on the command line."""

import csv
from pathlib import Path

import dalton
import numpy as np
import pytest
import torch
from dalton import cli
from dalton.training.pretrained import packed, predictor_of
from reprokit import UserError, load_images, run_id
from reprokit.run.pretrained import read_pretrained, write_pretrained
from small_runs import small


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("predict") / "run"
    dalton.train(small(epochs=1, test_size=None, setting="online", out=path))
    return path


def test_classes_are_those_that_the_accuracy_counts(run: Path) -> None:
    test = load_images("digits").test
    loaded, counted = dalton.load(run), dalton.evaluate_run(run)
    found = loaded.predict(test.images)
    assert found.scores.shape == (len(test), 10)
    rows = dalton.load_run(run).data.test.rows.numpy()
    assert np.array_equal(found.classes[rows], counted.predictions.numpy())
    scaled = torch.from_numpy(test.images[:9]).float() / 255
    assert np.array_equal(loaded.predict(scaled).scores, found.scores[:9])


def test_frames_are_shown_as_long_as_the_runs_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 3, (40, 6, 2, 8, 8)).astype(np.float32)
    splits = dalton.data.splits_of((frames, np.arange(40) % 4), (frames, np.arange(40) % 4))
    dalton.train(small(dataset="mnist", steps=None, epochs=1, train_size=None, test_size=None, out=tmp_path / "run"),
                 data=splits)  # fmt: skip
    loaded = dalton.load(tmp_path / "run", data=splits)
    counted = dalton.evaluate_run(tmp_path / "run", data=splits)
    assert loaded.steps == 6
    assert np.array_equal(loaded.predict(frames).classes, counted.predictions.numpy())
    short = np.concatenate([frames[:3, :4], np.zeros_like(frames[:3, :2])], axis=1)
    assert np.array_equal(loaded.predict(frames[:3, :4]).scores, loaded.predict(short).scores)
    with pytest.raises(UserError, match=r"takes event counts \(sample, time, 2, 8, 8\)"):
        loaded.predict(frames[:, :, 0])


def test_the_command_writes_what_python_returns(run: Path, tmp_path: Path) -> None:
    images = load_images("digits").test.images[:5]
    np.save(tmp_path / "images.npy", images)
    words = ["predict", str(run), "--data", str(tmp_path / "images.npy"), "--out", str(tmp_path / "out.csv")]
    assert cli.main(words) == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    found = dalton.load(run).predict(images)
    assert [int(row["class"]) for row in rows] == found.classes.tolist()
    assert [np.float32(row["score_3"]) for row in rows] == found.scores[:, 3].tolist()


def test_other_images_are_refused(run: Path) -> None:
    for samples, says in ((np.zeros((1, 9, 9)), r"\(sample, 1, 8, 8\)"), (np.full((1, 8, 8), -0.5), "uint8")):
        with pytest.raises(UserError, match=says):
            dalton.load(run).predict(samples)


def test_a_packed_run_predicts_as_the_run_does_without_its_data(run: Path, tmp_path: Path) -> None:
    images = load_images("digits").test.images[:60]
    kept = packed(run)
    assert not any(name.startswith("net/readout_") for name in kept.arrays)
    row = {"run_id": run_id(kept.config), "test_accuracy": 0.5, "test_samples": 20}
    found = predictor_of(read_pretrained(write_pretrained(tmp_path / "toy", kept, row)))
    assert np.array_equal(found.predict(images).scores, dalton.load(run).predict(images).scores)


def test_a_trained_network_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="pretrained model 'mnits' is unknown"):
        dalton.pretrained("mnits")


def test_the_summary_counts_connections_and_the_spikes_that_pass_through_them(run: Path) -> None:
    loaded = dalton.load_run(run)
    summary = loaded.run.stored.summary
    net, steps, test = loaded.net, loaded.data.test.steps, loaded.data.test
    images, _ = test.take(torch.arange(10), 1, 0)
    _, recorded = dalton.observe(net, images, steps, record=("encoder", "spikes"))
    below = [*recorded["encoder"].values(), *recorded["spikes"].values()]
    events, connections = 0.0, 0
    for layer, spikes in zip(net.layers, below, strict=False):
        ones = torch.ones(layer.weight_shape)
        if layer.kind == "conv":
            maps = torch.nn.functional.conv2d(spikes.flatten(0, 1).float(), ones, stride=layer.stride)
            events += float(maps.sum())
            connections += ones.numel() * maps[0, 0].numel()
        else:
            events += float(spikes.sum()) * layer.units
            connections += ones.numel()
    events += float(below[-1].sum()) * 10
    assert summary["inference"]["multiply_adds"] == steps * (connections + net.out.numel())
    assert summary["inference"]["synaptic_events"] == pytest.approx(events / 10)
    assert summary["inference"]["parameters"] == sum(p.numel() for p in net.parameters())
