"""The settings of a layer that are no parameters, as the tensors that its state_dict holds beside them.

The original kept weights and epsilon_xy only (DEV-9). The keys are geometry, number_of_spikes, epsilon_t, epsilon_0
and gradient_scale; they stand in every checkpoint, so they are never renamed.
"""

from typing import Any

import torch
from torch import Tensor

from sbs.engines.geometry import Geometry
from sbs.model.time_course import TimeCourse
from sbs.rules.inference import GradientScale

KEYS = ("geometry", "number_of_spikes", "epsilon_t", "epsilon_0", "gradient_scale")


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
    values = course.values(training) if isinstance(course, TimeCourse) else course
    return {
        "geometry": torch.tensor(_numbers(geometry), dtype=torch.int64),
        "number_of_spikes": torch.tensor([training, evaluation or 0]),
        "epsilon_t": values.clone(),
        "epsilon_0": torch.tensor(epsilon_0, dtype=torch.float64),
        "gradient_scale": torch.tensor([scale.seen, scale.largest], dtype=torch.float64),
    }


def pop_settings(state_dict: dict[str, Any], prefix: str, missing: list[str]) -> dict[str, Tensor]:
    """Take the settings of one layer out of a state_dict; what it lacks is added to ``missing``."""
    missing.extend(prefix + key for key in KEYS if prefix + key not in state_dict)
    return {key: state_dict.pop(prefix + key) for key in KEYS if prefix + key in state_dict}


def other_geometry(found: dict[str, Tensor], geometry: Geometry, prefix: str) -> str | None:
    """Return a sentence if the settings belong to a layer of another geometry."""
    if "geometry" not in found or found["geometry"].tolist() == _numbers(geometry):
        return None
    return (
        f"{prefix}geometry (kernel, stride, dilation, padding) is {found['geometry'].tolist()} in the state "
        f"and {_numbers(geometry)} here"
    )


def _numbers(geometry: Geometry) -> list[int]:
    return [*geometry.kernel, *geometry.stride, *geometry.dilation, *geometry.padding]
