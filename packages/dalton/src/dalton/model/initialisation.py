"""Initial weights, each drawn from its own random stream, which depends on the seed and the weight's name.

conv: uniform(+-1/sqrt(fan_in)); spiking dense: normal(0, 2/sqrt(fan_in)); class matrix and readouts: uniform as conv,
or normal as dense.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from reprokit import UserError
from torch import Tensor

from dalton.checks import whole

Distribution = Literal["uniform", "normal"]
WEIGHT_SCALE = 2.0


def draw_weight(
    shape: tuple[int, ...], distribution: Distribution, generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """Return a weight drawn in `dtype`.

    Args:
        shape: (out, in, ...); fan_in is the product of all but the first.
        distribution: "uniform" (+-1/sqrt(fan_in)) or "normal" (deviation 2/sqrt(fan_in)).
        generator: Source of randomness, on the CPU.
        dtype: float32 or float64.

    Raises:
        UserError: Unknown distribution, or an impossible shape.
    """
    if len(shape) < 2 or any((whole(n) or 0) < 1 for n in shape):
        raise UserError(f"shape is {tuple(shape)}; give two sizes or more, whole numbers of 1 or more.")
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    if distribution == "uniform":
        return torch.empty(shape, dtype=dtype).uniform_(-bound, bound, generator=generator)
    if distribution == "normal":
        return torch.empty(shape, dtype=dtype).normal_(0, WEIGHT_SCALE * bound, generator=generator)
    raise UserError(f"distribution is {distribution!r}; choose uniform or normal.")
