"""Preprocessing, its cache, splits, augmentation and the schedule."""

import os
from dataclasses import replace

import numpy as np
import pytest
import reprokit
import torch
from bdfa.config import TrainConfig
from bdfa.data.loading import augment, epoch_batches, epoch_order, load_data
from bdfa.data.preprocess import fit, fit_cached, rgb_to_yuv
from bdfa.randomness import stream
from bdfa.training.schedule import Schedule
from hypothesis import given, settings
from hypothesis import strategies as st
from reprokit import UserError

MODES = ("scale", "simple", "channel", "image", "zca", "pca")
DIGITS = TrainConfig(dataset="digits", hidden=(8,), plot=False)


def images(seed: int = 0, count: int = 12) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 4, 5), generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("mode", MODES)
def test_invert_undoes_apply(mode):
    train = images(count=200)
    fitted = fit(train, mode)
    torch.testing.assert_close(fitted.invert(fitted.apply(train)), train, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["zca", "pca"])
def test_whitened_images_are_white(mode):
    white = fit(images(count=400), mode).apply(images(count=400)).flatten(1)
    torch.testing.assert_close(torch.cov(white.T), torch.eye(60, dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_constant_images_are_refused(mode):
    with pytest.raises(UserError, match="7"):
        fit(torch.full((5, 1, 2, 2), 7.0), mode)


@pytest.mark.parametrize("mode", ["zca", "pca"])
def test_identical_images_cannot_be_whitened(mode):
    with pytest.raises(UserError, match="all the same"):
        fit(torch.rand(1, 1, 2, 2).expand(5, 1, 2, 2), mode)


def test_dev20_zero_variance():
    train = images()
    train[:, 1, 2, 3] = 5.0
    with pytest.raises(UserError, match=r"\(1, 2, 3\).*--zero-variance one"):
        fit(train, "image")
    kept = fit(train, "image", zero_variance="one").apply(train)
    assert torch.isfinite(kept).all()
    assert not kept[:, 1, 2, 3].any()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.full((4, 1, 2, 2), float("nan")), "not finite"),
        (torch.zeros(0, 1, 2, 2), "shape"),
        (torch.rand(4, 4), "shape"),
        (torch.rand(1, 1, 2, 2), "two training images"),
    ],
)
def test_unusable_images_are_refused(bad, message):
    with pytest.raises(UserError, match=message):
        fit(bad, "simple")


def test_unknown_mode_and_grey_yuv():
    with pytest.raises(UserError, match="scale"):
        fit(images(), "minmax")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="rgb"):
        rgb_to_yuv(torch.zeros(2, 1, 4, 4))


def test_dev21_cache_knows_the_content(tmp_path):
    first = fit_cached(images(1), "zca", tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 1
    again = fit_cached(images(1), "zca", tmp_path)
    torch.testing.assert_close(again.projection, first.projection, rtol=0, atol=0)
    other = fit_cached(images(2), "zca", tmp_path)
    assert not torch.equal(other.projection, first.projection)  # type: ignore[arg-type]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_damaged_cache_is_computed_again(tmp_path, damage):
    fitted = fit_cached(images(), "image", tmp_path)
    path = next(tmp_path.glob("*.npz"))
    path.write_bytes(path.read_bytes()[:200] if damage is None else damage)
    with pytest.warns(UserWarning, match="damaged"):
        again = fit_cached(images(), "image", tmp_path)
    torch.testing.assert_close(again.scale, fitted.scale, rtol=0, atol=0)
    fit_cached(images(), "image", tmp_path)


def test_validation_split_keeps_the_test_set_apart():
    plain, split = load_data(DIGITS), load_data(replace(DIGITS, val_split=100))
    assert plain.validation is None
    assert len(split.train) == len(plain.train) - 100
    assert split.validation is not None
    assert len(split.validation) == 100
    assert torch.equal(split.test.labels, plain.test.labels)
    assert torch.equal(split.validation.labels, plain.train.labels[-100:])


def test_dev22_faithful_validation_replaces_the_test_set():
    plain, split = load_data(DIGITS), load_data(replace(DIGITS, val_split=100, profile="faithful"))
    assert split.validation is None
    assert torch.equal(split.test.labels, plain.train.labels[-100:])


@pytest.mark.parametrize("options", [{"val_split": 10**6}, {"train_size": 10**6}, {"dataset": "mnits"}])
def test_impossible_splits_are_refused(options):
    with pytest.raises(UserError):
        load_data(replace(DIGITS, **options))


def test_order_depends_on_seed_and_epoch_alone():
    a, b = epoch_order(DIGITS, 50, 3), epoch_order(DIGITS, 50, 3)
    assert torch.equal(a, b)
    assert not torch.equal(a, epoch_order(DIGITS, 50, 4))
    assert not torch.equal(a, epoch_order(replace(DIGITS, seed=2), 50, 3))
    assert torch.equal(a, epoch_order(replace(DIGITS, seed=2, order_seed=1), 50, 3))
    assert torch.equal(a.sort().values, torch.arange(50))


def test_last_batch():
    order = torch.arange(10)
    assert [len(batch) for batch in epoch_batches(order, 4, False)] == [4, 4, 2]
    assert [len(batch) for batch in epoch_batches(order, 4, True)] == [4, 4]
    with pytest.raises(UserError, match="drop-last"):
        epoch_batches(order, 11, True)


def test_dev24_augment_crops_flips_and_keeps_the_range():
    flat = torch.full((50, 3, 32, 32), 3.5)
    torch.testing.assert_close(augment(flat, stream(1, "a")), flat)
    ramp = torch.linspace(0, 1, 32).expand(200, 1, 32, 32)
    changed = augment(ramp, stream(1, "b"))
    assert changed.shape == ramp.shape
    assert changed.min() >= -1e-6
    assert changed.max() <= 1 + 1e-6
    rising = (changed[:, 0, 0, -1] > changed[:, 0, 0, 0]).float().mean()
    assert 0.35 < rising < 0.65
    untouched = (changed - ramp).flatten(1).abs().amax(1) < 1e-6
    assert 0 < untouched.sum() < 60


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=40),
    st.one_of(st.sampled_from(["none", "auto"]), st.integers(1, 9)),
    st.integers(0, 20),
    st.booleans(),
)
def test_schedule_invariants(errors, step, epochs, faithful):
    schedule = Schedule(0.1, epochs, step, last_epoch_skipped=faithful)
    state = schedule.begin()
    for error in errors:
        if state.stopped:
            break
        before = state
        state = schedule.advance(state, error)
        assert state.rate in (before.rate, before.rate / 2)
        assert 0 <= state.mean <= 1
        assert state.halvings <= 8
    assert state.epoch <= max(epochs - faithful, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0.0, 3), "rate"), ((0.1, -2), "epochs"), ((0.1, 3, 0), "lr_step"), ((float("nan"), 3), "rate")],
)
def test_schedule_refuses(arguments, message):
    with pytest.raises(UserError, match=message):
        Schedule(*arguments)


def test_npz_folder_of_colour_images_is_whitened_per_training_set(tmp_path):
    rng = np.random.default_rng(1)
    part = {
        f"{name}_images": rng.integers(0, 256, (30, 3, 4, 4)).astype(np.uint8) for name in ("train", "test")
    }
    labels = {f"{name}_labels": np.arange(30) % 3 for name in ("train", "test")}
    np.savez(tmp_path / "small.npz", **part, **labels)
    data = load_data(TrainConfig(dataset=str(tmp_path / "small.npz"), whiten="zca", dtype="float64"))
    assert data.name == "small"
    assert data.input_shape == (3, 4, 4)
    assert data.train.images.flatten(1).mean(0).abs().max() < 1e-9
    assert data.test.images.flatten(1).mean(0).abs().max() > 1e-3


@pytest.mark.parametrize("before", [None, "elsewhere"])
def test_data_folder_of_one_run_is_not_that_of_the_next(before, tmp_path, monkeypatch):
    monkeypatch.delenv("REPROKIT_DATA", raising=False)
    if before is not None:
        monkeypatch.setenv("REPROKIT_DATA", before)
    seen = []
    real = reprokit.load_images
    monkeypatch.setattr(
        reprokit, "load_images", lambda name: (seen.append(os.environ["REPROKIT_DATA"]), real(name))[1]
    )
    load_data(replace(DIGITS, data_dir=tmp_path))
    assert seen == [str(tmp_path)]
    assert os.environ.get("REPROKIT_DATA") == before


@pytest.mark.parametrize("cut", [{"train_size": 30}, {"val_split": 30}])
def test_a_cut_that_loses_a_class_is_refused(tmp_path, cut):
    """A file sorted by class: its first samples would be a problem with fewer classes and a lower error."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    parts = {
        f"{part}_{name}": value
        for part in ("train", "test")
        for name, value in (
            ("images", random.integers(0, 255, (60, 4, 4), dtype=np.uint8)),
            ("labels", labels),
        )
    }
    np.savez(tmp_path / "sorted.npz", **parts)
    config = TrainConfig(dataset=str(tmp_path / "sorted.npz"), zero_variance="one", profile="faithful", **cut)
    with pytest.raises(UserError, match=r"no training sample of class 2.* shuffle it"):
        load_data(config)
