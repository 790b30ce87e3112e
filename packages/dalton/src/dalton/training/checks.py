"""Checks of what users hand to a training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from reprokit import UserError
from torch import Tensor

from dalton.model.dropout_mask import DropoutMask
from dalton.model.network import SpikingCNN
from dalton.names import ALIASES, METHODS, SETTINGS, Method, Setting


def resolve(method: str, setting: str) -> tuple[Method, Setting]:
    """Return method and setting; the original's names stand for both, except that "rtrl" stays what it is.

    Raises:
        UserError: Unknown name.
    """
    if method.upper() in ALIASES:
        method, default = ALIASES[method.upper()]
        setting = default if setting == "bptt" else setting
    if method not in METHODS:
        raise UserError(f"method is {method!r}; choose one of {', '.join((*METHODS, *ALIASES))}.")
    if setting not in SETTINGS:
        raise UserError(f"setting is {setting!r}; choose one of {', '.join(SETTINGS)}.")
    return cast("Method", method), cast("Setting", setting)


def check_inputs(network: SpikingCNN, inputs: Tensor, steps: int | None) -> tuple[Tensor, int, bool]:
    """Return inputs on the network's device, the number of time-steps, and whether the inputs are frames.

    Raises:
        UserError: Shape, range or number of steps do not fit.
    """
    shape = tuple(network.input_shape)
    frames = inputs.dim() == 5
    if inputs.dim() not in (4, 5) or tuple(inputs.shape[-3:]) != shape:
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
    if not frames and (not isinstance(steps, int) or steps < 1):
        raise UserError(
            f"steps is {steps!r}; images need a whole number of time-steps of 1 or more, for example 40."
        )
    if inputs.is_complex():
        raise UserError("inputs are complex; give real numbers.")
    low, high = (float(v) for v in torch.aminmax(inputs))
    if not (low > -float("inf") and high < float("inf")):
        raise UserError("inputs hold NaN or infinite values; clean the data first.")
    if not frames and (low < 0 or high > 1):
        raise UserError(
            f"images lie in [{low:g}, {high:g}]; scale pixels to [0, 1], for example divide by 255."
        )
    count = len(inputs) if frames else cast("int", steps)
    return inputs.to(network.device), count, frames


def check_labels(network: SpikingCNN, labels: Tensor, batch: int) -> Tensor:
    """Return int64 labels (batch,) on the network's device.

    Raises:
        UserError: Their number, type or range does not fit.
    """
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UserError(f"labels are {labels.dtype}; give whole numbers, int64.")
    if labels.shape != (batch,):
        raise UserError(f"labels have shape {tuple(labels.shape)}; {batch} inputs need ({batch},).")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= network.classes:
        raise UserError(
            f"labels run from {low} to {high}; the network has classes 0 to {network.classes - 1}."
        )
    return labels.to(network.device, torch.int64)


def check_masks(
    network: SpikingCNN,
    masks: Mapping[str, Tensor] | None,
    generator: torch.Generator | None,
    steps: int,
    batch: int,
) -> dict[str, DropoutMask] | None:
    """Return dropout masks on the network's device, or None where they are to be drawn.

    Raises:
        UserError: A name or shape is wrong, or masks have to be drawn and there is no generator.
    """
    if masks is None:
        dropped = [layer.name for layer in network.layers if layer.dropout]
        if dropped and generator is None:
            raise UserError(
                f"{', '.join(dropped)} drop spikes: give a generator, e.g. torch.Generator().manual_seed(0), or "
                "dropout_masks={} for none."
            )
        return None
    shapes = {layer.name: (steps, batch, *layer.output_shape) for layer in network.layers}
    for name, mask in masks.items():
        if name not in shapes:
            raise UserError(f"dropout_masks has {name!r}; the layers are {', '.join(shapes)}.")
        if tuple(mask.shape) != shapes[name]:
            raise UserError(
                f"dropout_masks[{name!r}] has shape {tuple(mask.shape)}; expected {shapes[name]}."
            )
    moved = {name: mask.to(network.device, network.dtype) for name, mask in masks.items()}
    return {name: DropoutMask.from_multipliers(mask) for name, mask in moved.items()}


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(str(n) for n in shape)
