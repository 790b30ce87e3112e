"""Weights W[i, j] = p(i | j): columns are probability distributions, maintained in one of two ways.

* constrained (the original's way): the parameter is W; after an optimiser step `constrain` clamps and
  normalises it. The original normalises before it clamps, which can flip a column's sign (DEV-5); its order is
  available as "norm-first".
* softmax: the parameter is log W and W = softmax over the components of a column, so any optimiser works and
  nothing needs to be done after a step.
"""

from typing import Literal

import torch
from reprokit import UserError
from torch import Tensor

from sbs.checks import pair, real, whole

Order = Literal["clamp-first", "norm-first"]


def random_weights(components: int, neurons: int, noise_amplitude: float) -> Tensor:
    """Return columns of uniform numbers in (1, 1 + noise_amplitude), normalised; float32 ``(component, neuron)``."""
    noise = torch.rand(components, neurons, dtype=torch.float32)
    return normalise(1.0 + noise * real("weight_noise_amplitude", noise_amplitude, least=0))


def pooling_weights(channels: int, kernel: tuple[int, int]) -> Tensor:
    """Return W[c k0 k1 + k, j] = delta(c, j) / (k0 k1), float32 ``(component, neuron)``.

    Raises:
        UserError: Channels, rows or columns that are not whole numbers of at least 1.
    """
    rows, columns = pair("kernel", kernel, 1)
    size = rows * columns
    return torch.eye(whole("channels", channels, 1)).repeat_interleave(size, 0) / size


def normalise(weights: Tensor) -> Tensor:
    """Return the weights with columns that sum to 1.

    Raises:
        UserError: A column sums to 0 or less, or to NaN, or there are no columns.
    """
    _check_columns(weights)
    total = weights.sum(0, keepdim=True)
    bad = ~(total > 0) | ~total.isfinite()
    if bool(bad.any()):
        column = int(bad.flatten().nonzero()[0])
        raise UserError(
            f"weights: column {column} sums to {float(total[0, column]):g}; every neuron needs a positive finite sum"
        )
    return weights / total


def constrained(weights: Tensor, threshold: float, order: Order = "clamp-first") -> Tensor:
    """Return weights of at least about ``threshold`` whose columns sum to 1.

    Args:
        weights: ``(component, neuron)`` after an optimiser step, of any sign.
        threshold: Lower bound, 0 or more.
        order: "clamp-first": clamp, normalise. "norm-first": normalise, clamp, normalise (the original).

    Raises:
        UserError: A column cannot be normalised.
    """
    real("threshold", threshold, least=0)
    _check_columns(weights)
    if order == "norm-first":
        weights = weights / weights.sum(0, keepdim=True)
    elif order != "clamp-first":
        raise UserError(f"order is {order!r}; it must be 'clamp-first' or 'norm-first'")
    return normalise(weights.clamp(min=threshold))


def _check_columns(weights: object) -> None:
    if not isinstance(weights, Tensor) or weights.dim() != 2 or not weights.numel():
        found = (
            f"shape {tuple(weights.shape)}"
            if isinstance(weights, Tensor)
            else f"type {type(weights).__name__}"
        )
        raise UserError(
            f"weights have {found}; they must be a tensor (component, neuron) with at least one entry"
        )
