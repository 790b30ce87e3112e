"""Data sets in and out, the on/off split and the presentation to the first layer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reprokit import UserError
from sbs.config import Augmentation
from sbs.data.encoding import Presentation, on_off_split
from sbs.data.images import Images
from sbs.data.loading import load_dataset
from sbs.data.storage import STORAGE_NAMES, read_storage, write_storage

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture
def storage(tmp_path):
    random = np.random.default_rng(0)
    for split, count in (("Train", 12), ("Test", 5)):
        np.save(tmp_path / f"{split}PatternStorage.npy", random.random((count, 6, 5), dtype=np.float32))
        np.save(tmp_path / f"{split}LabelStorage.npy", (np.arange(count) % 3).astype(np.uint64))
    return tmp_path


def test_digits(digits):
    assert digits.size == (8, 8)
    assert digits.channels == 1
    assert digits.classes == 10
    images, labels = digits.train.batch(np.arange(7))
    assert images.dtype == torch.float32
    assert images.shape == (7, 1, 8, 8)
    assert labels.dtype == torch.int64
    everything, _ = digits.train.batch(slice(None))
    assert everything.max() == 1.0
    assert digits.mean[0] == pytest.approx(everything.mean().item(), rel=1e-5)


def test_limits_keep_the_first_images(digits):
    small = load_dataset("digits", limit_train=30, limit_test=9)
    assert (len(small.train), len(small.test)) == (30, 9)
    assert np.array_equal(small.train.images, digits.train.images[:30])
    assert small.mean == digits.mean


def test_original_storage_is_read_like_the_original_does(storage):
    dataset = load_dataset(str(storage))
    patterns = np.load(storage / "TrainPatternStorage.npy")
    images, labels = dataset.train.batch(slice(None))
    assert np.allclose(images[:, 0], patterns / patterns.max(), atol=1e-7)
    assert labels.tolist() == [0, 1, 2] * 4
    assert dataset.classes == 3
    assert dataset.mean[0] == pytest.approx(patterns.mean() / patterns.max(), rel=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_storage_round_trip(tmp_path, channels):
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (9, channels, 4, 5)).astype(np.uint8)
    images[0, 0, 0, 0] = 255
    part = Images(images, np.arange(9) % 4, 255.0)
    from sbs.data.images import Dataset

    dataset = Dataset("toy", part, part, 4, (0.5,) * channels)
    written = write_storage(dataset, tmp_path)
    assert sorted(path.name for path in written) == sorted(STORAGE_NAMES)
    patterns = np.load(tmp_path / "TestPatternStorage.npy")
    assert patterns.dtype == np.float32
    assert patterns.shape == ((9, 4, 5) if channels == 1 else (9, 4, 5, 3))
    assert np.load(tmp_path / "TrainLabelStorage.npy").dtype == np.uint64
    train, _ = read_storage(tmp_path)
    assert torch.equal(train.batch(slice(None))[0], part.batch(slice(None))[0])


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("TrainPatternStorage.npy", np.zeros((12, 6), np.float32), "shape"),
        ("TrainPatternStorage.npy", np.zeros((12, 6, 5), np.float32), "every pixel is 0"),
        ("TrainPatternStorage.npy", -np.ones((12, 6, 5), np.float32), "negative"),
        ("TrainPatternStorage.npy", np.full((12, 6, 5), np.nan, np.float32), "non-finite"),
        ("TrainPatternStorage.npy", np.ones((11, 6, 5), np.float32), "11 whole numbers"),
        ("TrainLabelStorage.npy", np.zeros(12, np.float32), "whole numbers"),
        ("TestPatternStorage.npy", np.ones((5, 7, 5), np.float32), "test images"),
    ],
)
def test_broken_storage_is_named(storage, name, array, words):
    np.save(storage / name, array)
    with pytest.raises(UserError, match=words):
        load_dataset(str(storage))


def test_missing_pickled_and_truncated_storage_is_named(storage):
    file = storage / "TestLabelStorage.npy"
    np.save(file, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(UserError, match="TestLabelStorage"):
        load_dataset(str(storage))
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(UserError, match="TestLabelStorage"):
        load_dataset(str(storage))
    file.unlink()
    with pytest.raises(UserError, match="TestLabelStorage"):
        load_dataset(str(storage))


def test_negative_labels_are_refused(storage):
    np.save(storage / "TrainLabelStorage.npy", np.array([-1] * 12))
    with pytest.raises(UserError, match="TrainLabelStorage"):
        load_dataset(str(storage))


def test_on_off_split_by_hand():
    images = torch.tensor([0.25, 0.75]).view(1, 2, 1, 1)
    split = on_off_split(images, (0.5, 0.5)).flatten()
    assert split.tolist() == [0.5, 0.0, 0.0, 0.5]


def test_on_off_split_against_the_original():
    golden = np.load(GOLDEN / "onoff.npz")
    split = on_off_split(torch.from_numpy(golden["image"]), torch.from_numpy(np.atleast_1d(golden["mean"])))
    assert np.allclose(split, golden["onoff"], atol=1e-7)


def test_on_off_split_needs_one_mean_per_channel():
    with pytest.raises(UserError, match="2 entries but the images have 1"):
        on_off_split(torch.zeros(1, 1, 2, 2), (0.1, 0.2))


def test_presentation_crops_and_never_leaves_an_empty_patch():
    images = torch.zeros(3, 1, 8, 8)
    presentation = Presentation(Augmentation(crop=1), mean=(0.2,))
    assert presentation.test(images).shape == (3, 1, 6, 6)
    assert (presentation.test(images) > 0).all()
    split = Presentation(Augmentation(crop=1), mean=(0.2,), on_off=True)
    assert split.train(images, torch.Generator()).shape == (3, 2, 6, 6)
