"""A run loaded to classify: results equal those of `evaluate`, also on the command line; the seed sets the spikes."""

import csv
from pathlib import Path

import numpy as np
import pytest
import sbs
from reprokit import UserError, load_images, read_run, run_id
from reprokit.run.pretrained import read_pretrained, write_pretrained
from sbs.cli import main
from sbs.training.pretrained import packed, predictor_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict") / "run"
    words = ["--learning.updates=3", "--learning.batch_size=8", "--network.number_of_spikes=20"]
    assert main(["train", "digits-smoke", *words, "--data.limit-test=20", "--out", str(folder)]) == 0
    return folder


def test_classes_are_those_that_the_accuracy_counts(run: Path) -> None:
    test = load_images("digits").test
    part = sbs.load_dataset("digits").test.first(
        130
    )  # more than a block of images that share a stream of spikes
    loaded = sbs.load(run)
    result = sbs.evaluate(loaded.model.network, loaded.model.presentation, part, seed=loaded.seed)
    found = loaded.predict(test.images[:130])
    assert found.scores.shape == (130, 10)
    assert int((found.classes == test.labels[:130]).sum()) == result.correct
    assert np.array_equal(loaded.predict(test.images[:130, 0], batch_size=33).scores, found.scores)
    assert not np.array_equal(
        sbs.load(run, seed=loaded.seed + 1).predict(test.images[:130]).scores, found.scores
    )


def test_the_command_writes_what_python_returns(run: Path, tmp_path: Path) -> None:
    images = load_images("digits").test.images[:5]
    np.save(tmp_path / "images.npy", images)
    words = ["predict", str(run), "--data", str(tmp_path / "images.npy"), "--out", str(tmp_path / "out.csv")]
    assert main([*words, "--number-of-spikes", "7"]) == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    found = sbs.load(run).predict(images, number_of_spikes=7)
    assert [int(row["class"]) for row in rows] == found.classes.tolist()
    assert [np.float32(row["score_9"]) for row in rows] == found.scores[:, 9].tolist()


def test_images_of_another_size_are_refused(run: Path) -> None:
    with pytest.raises(UserError, match=r"the network takes \(sample, 1, 8, 8\)"):
        sbs.load(run).predict(np.zeros((2, 7, 7), np.uint8))


def test_a_packed_run_predicts_as_the_run_does_without_its_data(run: Path, tmp_path: Path) -> None:
    images = load_images("digits").test.images[:7]
    kept = packed(run)
    assert kept.config == read_run(run, package="sbs").config
    row = {"run_id": run_id(kept.config), "test_accuracy": 0.5, "test_samples": 20}
    found = predictor_of(read_pretrained(write_pretrained(tmp_path / "toy", kept, row)))
    assert np.array_equal(found.predict(images).scores, sbs.load(run).predict(images).scores)


def test_a_trained_network_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="pretrained model 'mnits' is unknown"):
        sbs.pretrained("mnits")


def test_the_summary_counts_what_the_spikes_of_an_inference_set_in_motion(run: Path) -> None:
    summary = read_run(run, package="sbs").summary or {}
    events = 20 * (6 * 6 * 16 + 32 + 10)  # 20 spikes at each position of 16 neurons, of 32, of 10
    assert summary["inference"] == {
        "parameters": 9 * 16 + 16 * 9 * 32 + 32 * 10,
        "multiply_adds": 2 * events + 16 * 3 * 3 * 4,
        "synaptic_events": events,
    }
