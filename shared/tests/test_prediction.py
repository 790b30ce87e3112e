"""Samples read from files, checked, and predictions written as exact tables."""

from pathlib import Path

import numpy as np
import pytest
from reprokit import Prediction, UserError, read_samples
from reprokit.run.prediction import image_samples, one_array


def test_a_table_holds_index_class_and_every_digit_of_the_scores(tmp_path: Path) -> None:
    scores = np.array([[0.1, 0.25, 0.25], [1 / 3, -2.0, 1e-30]], np.float32)
    found = Prediction.of(scores)
    assert found.classes.tolist() == [1, 0]  # of equal scores the first
    lines = found.write(tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "index,class,score_0,score_1,score_2"
    assert [line.split(",")[:2] for line in lines[1:]] == [["0", "1"], ["1", "0"]]
    read = np.array([[np.float32(word) for word in line.split(",")[2:]] for line in lines[1:]])
    assert np.array_equal(read, scores)
    with pytest.raises(UserError, match="sample 1 are not finite"):
        Prediction.of(np.array([[0.0, 1.0], [np.nan, 0.0]]))


def test_files_hold_one_array_or_several(tmp_path: Path) -> None:
    images = np.arange(4, dtype=np.uint8).reshape(1, 2, 2)
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "one.npz", x=images)
    np.savez(tmp_path / "named.npz", samples=images, labels=np.zeros(1))
    np.savez(tmp_path / "several.npz", times=np.zeros(3), units=np.ones(3))
    for name in ("a.npy", "one.npz", "named.npz"):
        found = read_samples(tmp_path / name)
        assert isinstance(found, np.ndarray)
        assert np.array_equal(found, images)
    several = read_samples(tmp_path / "several.npz")
    assert isinstance(several, dict)
    assert set(several) == {"times", "units"}
    with pytest.raises(UserError, match="several arrays \\(times, units\\)"):
        one_array(several, "images")


def test_files_that_hold_none_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 and no more")
    for name, says in (
        ("objects.npy", "damaged or not a .npy file"),
        ("torn.npz", "damaged or not a .npz file"),
        ("gone.npy", "no such file"),
        ("a.csv", "give a .npy or .npz file"),
    ):
        with pytest.raises(UserError, match=says):
            read_samples(tmp_path / name)


def test_images_come_in_any_usual_form() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 4, 5), np.uint8)
    for form in (
        images,
        images.transpose(0, 2, 3, 1),
        images.astype(float),
        images.astype(np.int64).tolist(),
    ):
        assert np.array_equal(image_samples(form, (3, 4, 5)), images)
    grey = images[:, 0]
    assert np.array_equal(image_samples(grey), grey[:, None])
    for wrong, says in (
        (images / 255, "uint8 from 0 to 255"),
        (images > 100, "uint8 from 0 to 255"),
        (images.astype(int) - 1, "from -1 to"),
        (images[:, :2], "the network takes"),
        (images[:0], "one sample or more"),
    ):
        with pytest.raises(UserError, match=says):
            image_samples(wrong, (3, 4, 5))
