"""A state contains everything that determines what a layer computes; another is refused, naming the difference."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from sbs import SbSLayer, TimeCourse
from sbs.model.layer_settings import Function, differences
from torch import nn

IMAGE = torch.rand(2, 2, 6, 6, generator=torch.Generator().manual_seed(0))
CHANGES: list[dict[str, Any]] = [
    {"weight_form": "softmax"},
    {"mode": "expected"},
    {"gradient": "v2"},
    {"local_learning": True},
    {"alpha_number_of_iterations": 2},
    {"forgetting_offset": 0.1},
    {"is_pooling_layer": True},
    {"input_size": [7, 7], "strides": [2, 2]},
]


def make(**changes: Any) -> SbSLayer:
    torch.manual_seed(0)
    return SbSLayer(**({
        "number_of_input_neurons": 2, "number_of_neurons": 2, "input_size": [6, 6], "forward_kernel_size": [2, 2],
        "number_of_spikes": 30,
    } | changes))  # fmt: skip


def name_of(change: dict[str, Any]) -> str:
    return next(iter(change))


def weights_of(layer: SbSLayer) -> torch.Tensor:
    return layer._weights.detach().clone()


@pytest.mark.parametrize("change", CHANGES, ids=name_of)
def test_what_differs_is_named_and_nothing_is_loaded(change: dict[str, Any]) -> None:
    plain = {"strides": change["strides"]} if "strides" in change else {}
    for saved, here in ((make(**change), make(**plain)), (make(**plain), make(**change))):
        before = weights_of(here)
        saved.initialize_weights(noise_amplitude=3.0)
        with pytest.raises(RuntimeError, match=rf"{name_of(change)} is .* in the state and .* here"):
            nn.Sequential(here).load_state_dict(nn.Sequential(saved).state_dict())
        assert torch.equal(weights_of(here), before)


@pytest.mark.parametrize("change", CHANGES, ids=name_of)
def test_an_equal_layer_loads_it_and_computes_the_same(change: dict[str, Any]) -> None:
    saved, here = make(**change), make(**change)
    image = IMAGE if "strides" not in change else torch.rand(2, 2, 7, 7)
    if not saved.is_pooling_layer:
        saved.initialize_weights(noise_amplitude=3.0)
    here.load_state_dict(saved.state_dict())
    assert torch.equal(here(image, seed=1), saved(image, seed=1))
    assert all(isinstance(value, torch.Tensor) for value in saved.state_dict().values())


def old_state(layer: SbSLayer) -> dict[str, torch.Tensor]:
    """Return what 0.1 saved."""
    return {
        name: value for name, value in layer.state_dict().items() if name not in Function.__dataclass_fields__
    }


def test_a_state_of_0_1_loads() -> None:
    for form in ("constrained", "softmax"):
        saved, here = (
            make(weight_form=form, forgetting_offset=0.1),
            make(weight_form=form, forgetting_offset=0.1),
        )
        saved.initialize_weights(noise_amplitude=3.0)
        here.load_state_dict(old_state(saved))
        assert torch.equal(here(IMAGE, seed=1), saved(IMAGE, seed=1))


def test_a_state_of_0_1_in_the_other_weight_form_is_refused() -> None:
    for saved, here in (("constrained", "softmax"), ("softmax", "constrained")):
        with pytest.raises(RuntimeError, match=f"in the form '{saved}'"):
            make(weight_form=here).load_state_dict(old_state(make(weight_form=saved)))


def test_a_time_course_is_kept_for_the_larger_number_of_spikes() -> None:
    saved = make(epsilon_t=TimeCourse("cooldown", after=35), eval_number_of_spikes=60).eval()
    here = make(eval_number_of_spikes=60).eval()
    here.load_state_dict(saved.state_dict())
    assert torch.equal(here(IMAGE, seed=1), saved(IMAGE, seed=1))


def test_setting_the_other_weight_form_keeps_the_weights() -> None:
    layer = make()
    before = weights_of(layer)
    layer.weight_form = "softmax"
    assert torch.allclose(layer.weights, before)
    layer.weight_form = "constrained"
    assert torch.allclose(layer._weights, before)


def test_weights_in_neither_form_say_nothing_of_it() -> None:
    """Logarithms of weights may all be above 0; columns that do not sum to 1 are no constrained weights."""
    for weights, problems in (
        (torch.full((2, 3), 0.5), 1),
        (torch.full((2, 3), 0.9), 0),
        (torch.full((2, 3), 0.4), 0),
    ):
        layer = make(weight_form="softmax")
        found = differences({}, layer._geometry, layer._function(), weights, "")
        assert len(found) == problems


def test_weights_of_one_component_say_nothing_of_their_form() -> None:
    """A column of one constrained weight is 1, and so may be a logarithm."""
    layer = make(weight_form="softmax")
    for value in (1.0, 1.5, 0.5):
        assert not differences({}, layer._geometry, layer._function(), torch.full((1, 3), value), "")
    layer = make()
    assert not differences({}, layer._geometry, layer._function(), torch.full((1, 3), -1.0), "")


def test_columns_must_sum_to_one_within_a_thousandth() -> None:
    layer = make(weight_form="softmax")
    for total, problems in ((0.9995, 1), (1.0005, 1), (0.998, 0), (1.002, 0), (0.1, 0), (1.9, 0)):
        weights = torch.full((2, 3), total / 2)
        assert len(differences({}, layer._geometry, layer._function(), weights, "")) == problems


def test_what_determines_a_layer_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        make()._function().mode = "expected"  # pyright: ignore[reportAttributeAccessIssue]
