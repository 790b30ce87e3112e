"""Spike and surrogate derivative.

A neuron fires where delta = membrane potential - threshold is above 0. Its derivative is replaced by that of the
fast sigmoid, sigma'(delta) = 1 / (1 + k |delta|)^2 with k = 5 (spec 2.1).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def surrogate_derivative(delta: Tensor, scale: float = 5.0) -> Tensor:
    """Return sigma'(delta) = 1 / (1 + scale |delta|)^2, any shape, dimensionless.

    Args:
        delta: Membrane potential minus threshold.
        scale: Steepness k.
    """
    slope = delta.abs().mul_(scale).add_(1)
    return slope.mul_(slope).reciprocal_()


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, delta: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(delta)
        ctx.scale = scale
        return (delta > 0).to(delta.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (delta,) = ctx.saved_tensors
        return grad_outputs[0] * surrogate_derivative(delta, ctx.scale), None


def spike(delta: Tensor, scale: float = 5.0) -> Tensor:
    """Return 1 where delta > 0, else 0, in delta's dtype; autograd sees sigma'(delta).

    Args:
        delta: Membrane potential minus threshold, any shape.
        scale: Steepness k of the surrogate derivative.
    """
    result: Any = _Spike.apply(delta, scale)
    return result
