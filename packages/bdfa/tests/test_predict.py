"""A run loaded to classify: from Python and from the command line, as `evaluate` counts; bad samples are refused."""

import csv
from pathlib import Path

import bdfa
import numpy as np
import pytest
import torch
from bdfa import cli
from bdfa.training.evaluation import evaluate_run
from bdfa.training.pretrained import packed, predictor_of
from bdfa.training.runs import open_run
from reprokit import UserError, load_images, run_id
from reprokit.run.pretrained import read_pretrained, write_pretrained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("predict") / "run"
    config = bdfa.TrainConfig(
        dataset="digits", rule="bdfa", hidden=(16,), lr=1e-3, epochs=2, normalize="channel", plot=False, out=path
    )  # fmt: skip
    bdfa.train(config)
    return path


def test_classes_are_those_that_the_error_counts(run: Path) -> None:
    test = load_images("digits").test
    found = bdfa.load(run).predict(test.images)
    assert found.scores.dtype == np.float32
    assert found.scores.shape == (len(test), 10)
    assert found.classes.dtype == np.int64
    error = evaluate_run(run)[0]["error"]
    assert np.mean(found.classes != test.labels) == pytest.approx(error)
    assert error < 0.6
    for form in (test.images[:, 0], test.images.transpose(0, 2, 3, 1), torch.from_numpy(test.images)):
        assert np.array_equal(bdfa.load(run).predict(form).scores, found.scores)


def test_more_images_than_are_computed_at_once_have_the_scores_of_each_alone(run: Path) -> None:
    images = load_images("digits").train.images[:1100]  # 1000 at a time
    loaded = bdfa.load(run)
    whole = loaded.predict(images).scores
    assert np.allclose(whole[:50], loaded.predict(images[:50]).scores)
    assert np.allclose(whole[1000:], loaded.predict(images[1000:]).scores)


def test_the_command_writes_index_class_and_exact_scores(run: Path, tmp_path: Path, capsys) -> None:
    images = load_images("digits").test.images[:7]
    np.savez(tmp_path / "images.npz", samples=images, labels=np.zeros(7))
    out = tmp_path / "predicted.csv"
    assert cli.main(["predict", str(run), "--data", str(tmp_path / "images.npz"), "--out", str(out)]) == 0
    assert "7 images" in capsys.readouterr().out
    rows = list(csv.DictReader(out.read_text().splitlines()))
    found = bdfa.load(run).predict(images)
    assert [int(row["index"]) for row in rows] == list(range(7))
    assert [int(row["class"]) for row in rows] == found.classes.tolist()
    scores = [[np.float32(row[f"score_{k}"]) for k in range(10)] for row in rows]
    assert np.array_equal(scores, found.scores)


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.zeros((2, 9, 9), np.uint8), r"\(sample, 1, 8, 8\)"),
        (np.zeros((0, 8, 8), np.uint8), "one sample or more"),
        (np.random.default_rng(0).random((2, 8, 8)), "uint8 from 0 to 255"),
        (np.full((1, 8, 8), 300), "from 300 to 300"),
        ({"a": np.zeros(1), "b": np.zeros(1)}, "several arrays"),
        ([["x"]], "uint8"),
    ],
)
def test_other_samples_are_refused(run: Path, samples: object, says: str) -> None:
    with pytest.raises(UserError, match=says):
        bdfa.load(run).predict(samples)


def test_a_network_that_is_not_there_is_refused(run: Path) -> None:
    with pytest.raises(UserError, match=r"network is 1, but .* holds 1"):
        bdfa.load(run, network=1)


def test_a_packed_run_predicts_as_the_run_does_without_its_data(run: Path, tmp_path: Path) -> None:
    images = load_images("digits").test.images
    kept = packed(run)
    assert {"model", "input"} == {name.partition("/")[0] for name in kept.arrays}
    row = {"run_id": run_id(kept.config), "test_accuracy": 0.5, "test_samples": 20}
    found = predictor_of(read_pretrained(write_pretrained(tmp_path / "toy", kept, row)))
    assert np.array_equal(found.predict(images).scores, bdfa.load(run).predict(images).scores)


def test_a_trained_network_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="pretrained model 'mnits' is unknown"):
        bdfa.pretrained("mnits")


def test_the_summary_counts_what_an_inference_costs(run: Path) -> None:
    (found,) = open_run(run).summaries()
    weights = 64 * 16 + 16 * 10
    assert found["inference"] == {
        "parameters": weights + 16 + 10, "multiply_adds": weights, "synaptic_events": None
    }  # fmt: skip
