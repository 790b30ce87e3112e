"""Own images: what is kept is reported, limits are seeded and keep every class, and a run accepts only its data."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reprokit import UserError
from sbs import Dataset, evaluate, load_dataset, preset, train
from sbs.cli import main
from sbs.config import TrainConfig
from sbs.data.images import Images

CLASSES, EACH = 10, 8


def images(seed: int = 0, labels: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Own arrays sorted by class, as folders and files usually are."""
    draw = np.random.default_rng(seed)
    sorted_labels = np.repeat(np.arange(CLASSES), EACH) if labels is None else labels
    pictures = draw.integers(0, 200, (len(sorted_labels), 8, 8), np.uint8)
    arrays = {"images": pictures, "labels": sorted_labels}
    return {
        f"{split}_{name}": array[:: 1 + (split == "test")]
        for split in ("train", "test")
        for name, array in arrays.items()
    }


def written(path: Path, **changes: np.ndarray) -> str:
    np.savez(path, **(images() | changes))
    return str(path)


def small(source: str = "digits", **data: int) -> TrainConfig:
    base = preset("digits-smoke")
    return replace(
        base,
        data=replace(base.data, source=source, **data),
        learning=replace(base.learning, updates=2, batch_size=8, batches_per_update=1),
        network=replace(base.network, number_of_spikes=10),
    )


def test_limits_of_own_data_keep_every_class(tmp_path: Path) -> None:
    source = written(tmp_path / "mine.npz")
    found = load_dataset(source, limit_train=20, limit_test=10, seed=3)
    assert np.bincount(found.train.labels).tolist() == [2] * CLASSES
    assert np.bincount(found.test.labels).tolist() == [1] * CLASSES
    again = load_dataset(source, limit_train=20, limit_test=10, seed=3)
    assert np.array_equal(again.train.images, found.train.images)
    other = load_dataset(source, limit_train=20, seed=4)
    assert not np.array_equal(other.train.images, found.train.images)
    whole = load_dataset(source)
    assert found.identity() == whole.identity()
    assert found.identity().samples == {"train": CLASSES * EACH, "test": CLASSES * EACH // 2}
    assert found.mean == whole.mean
    for limits in ({"limit_train": 5}, {"limit_test": 999}):
        with pytest.raises(UserError, match=rf"data\.{next(iter(limits))} is .*give 10 "):
            load_dataset(source, **limits)


def test_a_named_set_keeps_its_first_images() -> None:
    whole = load_dataset("digits")
    assert not whole.own
    assert np.array_equal(load_dataset("DIGITS", 7, seed=5).train.labels, whole.train.labels[:7])


def test_limits_hold_for_given_images_too(tmp_path: Path) -> None:
    lines: list[str] = []
    given = load_dataset(written(tmp_path / "mine.npz"))
    train(small(limit_train=30, limit_test=10), tmp_path / "run", dataset=given, report=lines.append)
    expected = "data set mine: 30 of 80 training and 10 of 40 test images, 10 classes, 1 x 8 x 8"
    assert lines[0].startswith(expected)


def test_what_is_cut_from_images_is_said(tmp_path: Path) -> None:
    config = small(written(tmp_path / "mine.npz"))
    lines: list[str] = []
    layers = config.network.layers
    first = replace(layers[0], kernel=(1, 1))
    cropped = replace(
        config,
        augmentation=replace(config.augmentation, crop=1),
        network=replace(config.network, layers=(first, replace(layers[-1], kernel=(6, 6), stride=(1, 1)))),
    )
    train(cropped, tmp_path / "run", report=lines.append)
    assert lines[0].endswith("1 x 8 x 8, of which 6 x 6 are seen (augmentation.crop)")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.repeat(np.arange(1, 11), EACH), "no training image has the label 0 and labels reach 10"),
        (np.repeat([0, 1, 2, 3, 4, 5, 6, 7, 9, 10], EACH), "no training image has the label 8"),
        (np.repeat(np.arange(10) * 100, EACH), r"the label 1, 2, 3, 4, 5, \.\.\. and labels reach 900"),
    ],
)
def test_labels_from_1_or_with_gaps_are_refused(tmp_path: Path, labels: np.ndarray, words: str) -> None:
    source = written(tmp_path / "mine.npz", **images(labels=labels))
    with pytest.raises(UserError, match=words):
        train(small(source), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_bright_pixel_changes_no_result(tmp_path: Path) -> None:
    """Patches are distributions: the largest value of a data set scales all of them."""
    model = train(small(), tmp_path / "run")
    digits = load_dataset("digits")
    bright = np.append(digits.train.images, np.full((1, 1, 8, 8), 255, np.uint8), 0)
    for largest in (digits.test.largest, float(bright.max())):
        part = replace(digits.test, largest=largest)
        found = evaluate(model.network, model.presentation, part)
        assert found.correct == evaluate(model.network, model.presentation, digits.test).correct


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": np.zeros((4, 8, 8), np.uint8)}, r"images are uint8 \(4, 8, 8\)"),
        ({"images": np.zeros((4, 1, 8, 8), bool)}, "images are bool"),
        ({"labels": np.arange(3)}, "4 whole numbers"),
        ({"labels": np.array([0, 1, -1, 2])}, "4 whole numbers"),
        ({"labels": np.array([0.0, 1.0, 2.0, 3.0])}, "4 whole numbers"),
        ({"largest": 0.0}, "largest is 0.0"),
        ({"largest": float("nan")}, "largest is nan"),
    ],
)
def test_arrays_that_are_no_labelled_images_are_refused(changes: dict, words: str) -> None:
    right = {"images": np.ones((4, 1, 8, 8), np.uint8), "labels": np.arange(4), "largest": 255.0}
    assert Images(**right | {"labels": np.arange(4, dtype=np.int32)}).labels.dtype == np.int64
    with pytest.raises(UserError, match=words):
        Images(**right | changes)


def test_labels_beyond_the_classes_and_a_foreign_mean_are_refused() -> None:
    part = Images(np.ones((4, 1, 8, 8), np.uint8), np.arange(4), 255.0)
    with pytest.raises(UserError, match="a label is 3 and there are 3 classes"):
        Dataset("mine", part, part, 3, (0.5,))
    with pytest.raises(UserError, match="mean has 3 entries and the images 1 channels"):
        Dataset("mine", part, part, 4, (0.5, 0.5, 0.5))


def test_a_run_goes_on_with_its_own_data_only(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = tmp_path / "mine.npz"
    config = small(written(source))
    train(config, tmp_path / "run")
    noted = json.loads((tmp_path / "run" / "data.json").read_text())["data"]
    assert noted == load_dataset(str(source)).identity().plain()
    (tmp_path / "run" / "summary.json").unlink()  # as if it had been killed
    train(config, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    written(source, **images(seed=1))
    with pytest.raises(UserError, match=r"data set .*mine\.npz changed since the run"):
        train(config, tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    assert main(["evaluate", str(tmp_path / "run")]) == 2
    assert "changed since the run" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(source), "--limit", "10"]) == 0
    assert "of 10 test images correct" in capsys.readouterr().out
