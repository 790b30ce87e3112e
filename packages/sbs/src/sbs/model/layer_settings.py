"""The settings of a layer that are not parameters, as additional tensors of its state_dict.

The original kept weights and epsilon_xy only (DEV-9). The keys are geometry, number_of_spikes, epsilon_t, epsilon_0
and gradient_scale; they are in every checkpoint, so they are never renamed. Since 0.2, `Function` adds
everything else that determines the output and the gradient; a state of 0.1 lacks it and still loads.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from sbs.engines.geometry import Geometry
from sbs.model.time_course import TimeCourse
from sbs.rules.inference import GradientScale

KEYS = ("geometry", "number_of_spikes", "epsilon_t", "epsilon_0", "gradient_scale")
MODES = ("spikes", "expected")
VARIANTS = ("v1", "v1.1", "v2")
WEIGHT_FORMS = ("constrained", "softmax")
WORDS = {"mode": MODES, "gradient": VARIANTS, "weight_form": WEIGHT_FORMS}


@dataclass(frozen=True)
class Function:
    """What determines a layer's output and gradient apart from its tensors; the fields are arguments of `SbSLayer`.

    A layer refuses a state that differs in one of them. The growth period of the gradient scale is not
    included: a layer without that scale may load the weights of one that has it.
    """

    input_size: tuple[int, int]
    is_pooling_layer: bool
    weight_form: str
    mode: str
    gradient: str
    local_learning: bool
    alpha_number_of_iterations: int
    forgetting_offset: float

    def packed(self) -> dict[str, Tensor]:
        """Return the fields as int64 tensors (a word as its index in `WORDS`), and float64 for forgetting_offset."""
        return {
            name: torch.tensor(WORDS[name].index(value) if name in WORDS else value).to(
                torch.float64 if name == "forgetting_offset" else torch.int64
            )
            for name, value in asdict(self).items()
        }


def pack_settings(
    geometry: Geometry,
    spikes: tuple[int, int | None],
    course: TimeCourse | Tensor,
    epsilon_0: float,
    scale: GradientScale,
) -> dict[str, Tensor]:
    """Return the settings in the order of `KEYS`.

    Args:
        geometry: Kernel, stride, dilation and padding, kept as int64 ``(8,)``.
        spikes: S in training, and in eval mode (None is kept as 0), int64 ``(2,)``.
        course: Rule or values of epsilon_t, kept as float32 ``(spike,)``.
        epsilon_0: Global factor of the step, kept as float64.
        scale: V2's gradient scale: backward passes seen and the largest value, float64 ``(2,)``.
    """
    training, evaluation = spikes
    values = course.values(max(training, evaluation or 0)) if isinstance(course, TimeCourse) else course
    return {
        "geometry": torch.tensor(_numbers(geometry), dtype=torch.int64),
        "number_of_spikes": torch.tensor([training, evaluation or 0]),
        "epsilon_t": values.clone(),
        "epsilon_0": torch.tensor(epsilon_0, dtype=torch.float64),
        "gradient_scale": torch.tensor([scale.seen, scale.largest], dtype=torch.float64),
    }


def pop_settings(state_dict: dict[str, Any], prefix: str, missing: list[str]) -> dict[str, Tensor]:
    """Remove the settings of one layer from a state_dict; those of 0.1 that it lacks are added to ``missing``."""
    missing.extend(prefix + key for key in KEYS if prefix + key not in state_dict)
    every = (*KEYS, *Function.__dataclass_fields__)
    return {key: state_dict.pop(prefix + key) for key in every if prefix + key in state_dict}


def differences(
    found: dict[str, Tensor], geometry: Geometry, function: Function, weights: Tensor | None, prefix: str
) -> list[str]:
    """Return a sentence for each setting that differs between a state and the layer that loads it.

    Args:
        found: Settings of the state, from `pop_settings`.
        geometry: Geometry of the layer.
        function: The rest of the layer's settings.
        weights: The state's ``_weights``, which reveal the form of a state of 0.1 that does not name it.
        prefix: The layer's place in the network.
    """
    problems = []
    if "geometry" in found and found["geometry"].tolist() != _numbers(geometry):
        problems.append(
            f"{prefix}geometry (kernel, stride, dilation, padding) is {found['geometry'].tolist()} in the state "
            f"and {_numbers(geometry)} here"
        )
    for name, here in function.packed().items():
        if name in found and found[name].tolist() != here.tolist():
            problems.append(
                f"{prefix}{name} is {_shown(name, found[name])} in the state and {_shown(name, here)} here; make the "
                f"layer with the state's {name}"
            )
    if weights is not None and "weight_form" not in found and weights.dim() == 2 and weights.numel():
        sums = weights.sum(0)
        softmax = bool((sums < 0).all())
        constrained = bool((weights >= 0).all()) and bool((sums - 1).abs().max() < 1e-3)
        if (constrained if function.weight_form == "softmax" else softmax) and len(weights) > 1:
            other = "constrained" if function.weight_form == "softmax" else "softmax"
            problems.append(
                f"{prefix}_weights are in the form {other!r} and weight_form is {function.weight_form!r} here; make "
                "the layer with the state's weight_form"
            )
    return problems


def _shown(name: str, value: Tensor) -> str:
    number = value.tolist()
    return repr(WORDS[name][number]) if name in WORDS else repr(number)


def _numbers(geometry: Geometry) -> list[int]:
    return [*geometry.kernel, *geometry.stride, *geometry.dilation, *geometry.padding]
