r"""Max-norm constraints on weights.

A slice of a weight whose L2 norm exceeds the limit is scaled by `limit / (norm + 1e-7)`. Biases are left
alone.

The original's names contradict their help texts, its second limit acts on kernel columns in convolutions, and
it rescales between the forward and the backward pass. Here (DEV-9) `incoming` limits all
weights into one output unit or filter, `outgoing` all weights out of one input unit or channel, and both are
applied after the optimiser's step; `renorm_original` keeps the original's slices.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bdfa.checks import real

OFF = 400.0


@torch.no_grad()
def renorm(
    parameters: Iterable[Tensor], *, incoming: float | None = None, outgoing: float | None = None
) -> None:
    """Limit the norms of weights in place, incoming first.

    Args:
        parameters: Weights (out, in, ...) and biases; those of rank < 2 are skipped.
        incoming: Largest norm of the weights into one output unit; None: no limit.
        outgoing: Largest norm of the weights out of one input unit or channel; None: no limit.

    Raises:
        UserError: For a limit that is not a positive finite number.
    """
    for name, limit in (("incoming", incoming), ("outgoing", outgoing)):
        if limit is not None:
            real(name, limit, above=0)
    for parameter in parameters:
        if parameter.dim() >= 2:
            _limit(parameter, 0, incoming)
            _limit(parameter, 1, outgoing)


@torch.no_grad()
def renorm_original(parameters: Iterable[Tensor], max_out_norm: float, max_in_norm: float) -> None:
    """Limit norms as the original does, in place; active if a limit is below 400, off at or below 0.

    Args:
        parameters: Weights and biases; those of rank < 2 are skipped.
        max_out_norm: Limit of each slice along the first dimension (the *incoming* weights of a unit).
        max_in_norm: Limit of each slice along the last dimension, applied second.
    """
    if min(max_out_norm, max_in_norm) >= OFF:
        return
    for parameter in parameters:
        if parameter.dim() >= 2:
            _limit(parameter, 0, max_out_norm if max_out_norm > 0 else None)
            _limit(parameter, parameter.dim() - 1, max_in_norm if max_in_norm > 0 else None)


def _limit(parameter: Tensor, dimension: int, limit: float | None) -> None:
    if limit is not None:
        parameter.renorm_(2, dimension, limit)
