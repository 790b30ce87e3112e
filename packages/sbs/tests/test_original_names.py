"""The original's spellings and setters, and NumPy's numbers wherever Python's are accepted."""

from typing import Any

import numpy as np
import pytest
import torch
from reprokit import UserError
from sbs import SbSLayer, TimeCourse, sbs_pooling


def make(**changes: Any) -> SbSLayer:
    return SbSLayer(**({
        "number_of_input_neurons": 2, "number_of_neurons": 4, "input_size": [8, 7], "forward_kernel_size": [3, 2],
        "number_of_spikes": 30,
    } | changes))  # fmt: skip


def test_the_originals_spelling_of_the_initial_epsilon() -> None:
    layer = make()
    layer.initialize_epsilon_xy(eps_xy_intitial=0.3)
    assert torch.equal(layer.epsilon_xy, torch.full((6, 6), 0.3))
    for wrong in ({}, {"epsilon_xy_initial": 0.1, "eps_xy_intitial": 0.1}):
        with pytest.raises(UserError, match="eps_xy_intitial"):
            layer.initialize_epsilon_xy(**wrong)
    assert torch.equal(make(eps_xy_intitial=0.2).epsilon_xy, make(epsilon_xy_initial=0.2).epsilon_xy)


@pytest.mark.parametrize(("name", "value", "argument"), [
    ("kernel_size", [2, 2], "forward_kernel_size"), ("stride", torch.tensor([2, 1]), "strides"),
    ("dilation", [2, 1], "dilation"), ("padding", np.array([1, 1]), "padding"),
    ("number_of_neurons", 6, "number_of_neurons"), ("number_of_input_neurons", np.int64(3), "number_of_input_neurons"),
])  # fmt: skip
@pytest.mark.parametrize("per_kernel", [False, True])
def test_setters_give_the_layer_one_would_make(
    name: str, value: Any, argument: str, per_kernel: bool
) -> None:
    layer = make(epsilon_xy_initial=0.2, epsilon_per_kernel=per_kernel)
    wanted = make(epsilon_xy_initial=0.2, epsilon_per_kernel=per_kernel, **{argument: value})
    setattr(layer, name, value)
    assert str(layer) == str(wanted)
    assert torch.allclose(layer.epsilon_xy, wanted.epsilon_xy)
    assert torch.allclose(layer.weights.sum(0), torch.ones(wanted.number_of_neurons))
    wanted.load_state_dict(layer.state_dict())
    image = torch.rand(2, layer.number_of_input_neurons, 8, 7)
    assert torch.equal(layer(image, seed=1), wanted(image, seed=1))


def test_setting_what_is_there_changes_nothing() -> None:
    layer = make()
    before = layer._weights
    for name in ("kernel_size", "stride", "dilation", "padding", "output_size", "number_of_neurons"):
        setattr(layer, name, getattr(layer, name))
    assert layer._weights is before


def test_impossible_settings_are_refused_and_change_nothing() -> None:
    layer = make()
    described = str(layer)
    for name, value in (("output_size", [5, 5]), ("kernel_size", [9, 9]), ("stride", 0), ("mode", "spike"),
                        ("engine", "gpu"), ("forgetting_offset", "a"), ("weight_form", "free")):  # fmt: skip
        with pytest.raises(UserError):
            setattr(layer, name, value)
    with pytest.raises(UserError, match="pooling layer"):
        sbs_pooling(2, 4, 2, 10).number_of_neurons = 3
    assert str(layer) == described
    assert (layer.mode, layer.engine, layer.weight_form) == ("spikes", "auto", "constrained")


def test_numpy_numbers_count_as_numbers() -> None:
    layer = make(
        number_of_input_neurons=np.int32(2),
        number_of_neurons=np.uint8(4),
        input_size=np.array([8, 7]),
        forward_kernel_size=np.int64(2),
        number_of_spikes=np.float64(30),
        epsilon_xy_initial=np.float32(0.5),
        epsilon_0=np.array(0.5),
        epsilon_t=TimeCourse("cooldown", np.int64(20), np.float32(25)),
        eval_number_of_spikes=np.int16(7),
    )
    assert (layer.kernel_size, layer.number_of_spikes, layer.epsilon_0) == ((2, 2), 30, 0.5)
    assert type(layer.number_of_spikes) is int
    layer(torch.rand(1, 2, 8, 7), seed=np.uint64(2**63 + 1))
    for wrong in (np.float32("nan"), np.bool_(True), np.array([1, 2]), np.float64(2.5)):
        with pytest.raises(UserError, match="number_of_spikes"):
            layer.number_of_spikes = wrong
