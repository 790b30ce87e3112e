"""Dark, constant and missing samples, overflow and diverged training: finite numbers, or one sentence."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reprokit import UserError
from sbs import Dataset, SbSLayer, cross_entropy, mixed, preset, train
from sbs.config import TrainConfig
from sbs.data.images import Images
from sbs.training.learner import Learner
from sbs.training.runs import InputShape

GOOD = np.random.default_rng(0).random((20, 1, 8, 8))


def data(images: np.ndarray, test: np.ndarray = GOOD) -> Dataset:
    def part(values: np.ndarray) -> Images:
        return Images(values.astype(np.float32), np.arange(len(values)) % 10, 1.0)

    return Dataset("mine", part(images), part(test), 10, (0.3,))


def config(**network: float) -> TrainConfig:
    base = preset("digits-smoke")
    return replace(
        base,
        learning=replace(base.learning, updates=2, batch_size=8),
        network=replace(base.network, number_of_spikes=10, **network),
    )


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-40, 1e-20, 0.3, 1e30])
@pytest.mark.parametrize("on_off", [False, True])
def test_one_dark_or_constant_sample_leaves_training_finite(
    tmp_path: Path, value: float, on_off: bool
) -> None:
    images = GOOD.copy()
    images[3] = value
    started = replace(config(), data=replace(config().data, on_off=on_off, offset=0.0))
    model = train(started, tmp_path / "run", dataset=data(images))
    assert all(bool(parameter.isfinite().all()) for parameter in model.network.parameters())


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_one_impossible_sample_is_a_sentence(tmp_path: Path, value: float) -> None:
    images = GOOD.copy()
    images[:, 0, 4, 4] = value
    with pytest.raises(UserError, match="negative, infinite or missing"):
        train(config(), tmp_path / "run", dataset=data(images))


def test_a_data_set_without_images_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    for empty in (data(GOOD[:0]), data(GOOD, GOOD[:0])):
        with pytest.raises(UserError, match="both must be present"):
            train(config(), tmp_path / "run", dataset=empty)
    assert not (tmp_path / "run").exists()


def test_a_step_that_overflows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"reaches .*lower epsilon_0"):
        train(config(epsilon_0=1e30), tmp_path / "run", dataset=data(GOOD))


@pytest.mark.parametrize("name", ["weights", "epsilon_xy"])
def test_training_stops_where_a_parameter_is_not_finite(name: str) -> None:
    started = config()
    network = InputShape.of(started, data(GOOD)).network(started)
    learner = Learner(network, started.network, started.learning)
    learner.batch.add(1.0, 0, 8)
    with torch.no_grad():
        getattr(learner.layers[1], "_" + name).fill_(torch.nan)
    with pytest.raises(UserError, match=rf"update 1: {name} of SbS layer 1 is not finite; lower"):
        learner.step()
    with pytest.raises(UserError, match=r"not finite|reaches nan"):
        network(torch.rand(1, 1, 8, 8))


@pytest.mark.parametrize("loss", [mixed, cross_entropy])
def test_a_loss_of_no_samples_is_refused(loss) -> None:
    with pytest.raises(UserError, match="no samples"):
        loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_values_whose_sum_overflows_are_refused_by_both_engines(engine: str) -> None:
    layer = SbSLayer(1, 3, 8, 3, 20, engine=engine)
    with pytest.raises(UserError, match="infinite"):
        layer(torch.full((1, 1, 8, 8), 3e38))


def test_training_in_which_no_gradient_arrives_stops(tmp_path: Path) -> None:
    """Images that are dark wherever the layer looks: every patch is empty and h keeps its initial value."""
    dark = np.zeros_like(GOOD)
    base = config()
    layers = (replace(base.network.layers[-1], kernel=(4, 4), stride=(1, 1)),)
    started = replace(
        base,
        data=replace(base.data, offset=0.0),
        augmentation=replace(base.augmentation, crop=2),
        network=replace(base.network, layers=layers),
        learning=replace(base.learning, updates=30, batches_per_update=1),
    )
    with pytest.raises(
        UserError, match=r"update 10: in 10 updates no gradient has reached any layer.*augmentation\.crop"
    ):
        train(started, tmp_path / "run", dataset=data(dark))
    short = replace(started, learning=replace(started.learning, updates=3))
    with pytest.raises(UserError, match="update 3: in 3 updates"):
        train(short, tmp_path / "short", dataset=data(dark))
    half = dark.copy()
    half[::2] = GOOD[::2]
    assert train(started, tmp_path / "half", dataset=data(half)).step == 30
