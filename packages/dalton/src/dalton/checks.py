"""Checks of a network's arguments: weights, inputs and numbers that do not fit are refused before anything changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from reprokit import UserError
from torch import Tensor

NARROW = ("mps",)  # devices without float64
PART = 1 << 21  # input values checked at once
LARGEST = 1e20  # limit of a weight: larger ones make sums over inputs and time-steps overflow float32


class Diverged(UserError):
    """Numbers of a network are no longer finite.

    Args:
        what: What is wrong, a clause that names the layer.
    """

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: the training has diverged; go back to earlier weights and use a smaller learning rate."
        )
        self.what = what


def whole(value: object) -> int | None:
    """Return a whole number, Python's or NumPy's, as int, and None for anything else."""
    fine = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return int(value) if fine else None  # pyright: ignore[reportArgumentType]


def check_tensor(name: str, value: object) -> Tensor:
    """Return a tensor, and refuse anything else.

    Raises:
        UserError: The message names the argument and its type.
    """
    if not isinstance(value, Tensor):
        raise UserError(
            f"{name} is a {type(value).__name__}; give a torch.Tensor, for example torch.as_tensor(...)."
        )
    return value


def check_number(name: str, value: object, *, positive: bool = False, example: str = "") -> None:
    """Refuse anything but a finite number, Python's or NumPy's.

    Args:
        name: Name of the argument.
        value: The given value.
        positive: Whether it must be above 0.
        example: Usual values, a clause.

    Raises:
        UserError: The message names both.
    """
    fine = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not fine or not math.isfinite(value) or (positive and value <= 0):  # pyright: ignore
        wanted = f"a finite number{' above 0' if positive else ''}{example and f', for example {example}'}"
        raise UserError(f"{name} is {value!r}; it must be {wanted}.")


def check_alike(given: Mapping[str, Tensor], like: tuple[str, Tensor]) -> None:
    """Refuse tensors whose shape differs from a given one, because they would be broadcast.

    Args:
        given: Tensors by name.
        like: Name of a tensor and the tensor whose shape and dtype they must have.

    Raises:
        UserError: The message names both shapes, or a type other than float32 and float64.
    """
    if like[1].dtype not in (torch.float32, torch.float64):
        raise UserError(f"{like[0]} are {like[1].dtype}; give float32 or float64.")
    for name, value in given.items():
        if value.shape != like[1].shape:
            raise UserError(
                f"{name} has shape {tuple(value.shape)}, and {like[0]} {tuple(like[1].shape)}; give the same."
            )


def check_weights(weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights that the equations cannot be computed with; each weight is read once.

    Args:
        weights: By name, readouts included.
        shapes: Shapes that the architecture needs, by the same names.

    Raises:
        UserError: A shape other than the architecture's, a type other than float32 or float64, different types or
            devices.
        Diverged: Values that are NaN, infinite or beyond `LARGEST`.
    """
    first, like = next(iter(weights.items()))
    for name, weight in weights.items():
        if tuple(weight.shape) != shapes[name]:
            raise UserError(
                f"{name} has shape {tuple(weight.shape)}, and the architecture needs {shapes[name]}; make a "
                "SpikingCNN of an Architecture with the sizes wanted."
            )
        if weight.dtype not in (torch.float32, torch.float64):
            raise UserError(
                f"{name} is {weight.dtype}; dalton computes in float32 and float64, so convert the network with "
                ".float() or .double()."
            )
        if weight.dtype != like.dtype or weight.device != like.device:
            raise UserError(
                f"{name} is {weight.dtype} on {weight.device}, {first} {like.dtype} on {like.device}; convert the "
                "whole network, for example with net.to(device, dtype)."
            )
    for name, weight in weights.items():
        if values_are_known(weight) and not _within(weight, LARGEST):
            raise Diverged(f"{name} holds weights that are NaN or beyond {LARGEST:g}")


def check_finite(losses: Mapping[str, float], gradients: Mapping[str, Tensor]) -> None:
    """Refuse losses and gradients that would ruin the weights.

    Args:
        losses: By layer.
        gradients: By name of the weight.

    Raises:
        Diverged: One is NaN or infinite.
    """
    for name, loss in losses.items():
        if not math.isfinite(loss):
            raise Diverged(f"the loss of {name} is {loss}")
    for name, gradient in gradients.items():
        if not _within(gradient, math.inf):
            raise Diverged(f"the gradient of {name} is not finite")


def check_inputs(shape: tuple[int, ...], inputs: Tensor, steps: int | None) -> tuple[int, bool]:
    """Return the number of time-steps, and whether the inputs are frames.

    Args:
        shape: (channel, height, width) of the network.
        inputs: Images (batch, *shape) with `steps`, or frames (time, batch, *shape).
        steps: Time-steps for which images are held.

    Raises:
        UserError: Shape, range or number of steps do not fit.
    """
    frames = check_tensor("inputs", inputs).dim() == 5
    if inputs.dim() not in (4, 5) or tuple(inputs.shape[-3:]) != tuple(shape):
        raise UserError(
            f"inputs have shape {tuple(inputs.shape)}; the network takes images (batch, {_listed(shape)}) or frames "
            f"(time, batch, {_listed(shape)})."
        )
    if 0 in inputs.shape:
        raise UserError(
            f"inputs have shape {tuple(inputs.shape)}; there must be a sample and a time-step or more."
        )
    if frames and steps is not None and steps != len(inputs):
        raise UserError(
            f"steps is {steps}, but the inputs are {len(inputs)} frames; leave steps out for frames."
        )
    count = len(inputs) if frames else whole(steps)
    if count is None or count < 1:
        raise UserError(
            f"steps is {steps!r}; images need a whole number of time-steps of 1 or more, for example 40."
        )
    if inputs.is_complex():
        raise UserError("inputs are complex; give real numbers.")
    if not values_are_known(inputs):
        return count, frames
    low, high = _extremes(inputs.detach())
    if not (low > -float("inf") and high < float("inf")):
        raise UserError("inputs hold NaN or infinite values; clean the data first.")
    if not frames and (low < 0 or high > 1):
        raise UserError(
            f"images lie in [{low:g}, {high:g}]; scale pixels to [0, 1], for example divide by 255."
        )
    return count, frames


def check_masks(masks: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse dropout multipliers with an unknown layer or a wrong shape.

    Args:
        masks: By name of the layer.
        shapes: (time, batch, *output_shape) of every layer.

    Raises:
        UserError: A name or shape is wrong.
    """
    if not isinstance(masks, Mapping):
        raise UserError(f"dropout_masks is a {type(masks).__name__}; give a dictionary by layer.")
    for name, mask in masks.items():
        if name not in shapes:
            raise UserError(f"dropout_masks has {name!r}; the layers are {', '.join(shapes)}.")
        if tuple(check_tensor(f"dropout_masks[{name!r}]", mask).shape) != shapes[name]:
            raise UserError(
                f"dropout_masks[{name!r}] has shape {tuple(mask.shape)}; expected {shapes[name]}."
            )
        if values_are_known(mask) and not bool((mask >= 0).all()):  # NaN too
            raise UserError(
                f"dropout_masks[{name!r}] holds negative numbers or NaN; a multiplier is 0 or 1 / (1 - p)."
            )


def values_are_known(tensor: Tensor) -> bool:
    """Return whether a tensor's values can be inspected: not while it is compiled or vmapped."""
    functorch: Any = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    return not (torch.compiler.is_compiling() or functorch.is_batchedtensor(tensor))


def widest(device: torch.device) -> torch.dtype:
    """Return the type for sums: float64, or float32 on devices that lack it."""
    return torch.float32 if device.type in NARROW else torch.float64


def _extremes(tensor: Tensor) -> tuple[float, float]:
    """Return the least and the largest value, NaN if there is one; computed in parts, so that Ctrl-C can interrupt."""
    if tensor.device.type != "cpu":
        parts = (tensor,)
    else:
        parts = tensor.split(max(1, PART // tensor[0].numel()))
    found = torch.stack([torch.stack(torch.aminmax(part)).to(widest(part.device)) for part in parts])
    return float(found[:, 0].min()), float(found[:, 1].max())


def _within(tensor: Tensor, limit: float) -> bool:
    low, high = (float(value) for value in torch.aminmax(tensor.detach()))
    return low > -limit and high < limit  # False for NaN


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(str(n) for n in shape)
