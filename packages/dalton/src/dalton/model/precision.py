"""Convolutions with fewer digits: what a GPU's matrix units compute fastest, and the same meaning on the CPU.

    full   in the weights' own type; a GPU takes TF32 if ``torch.backends.cudnn.allow_tf32`` is set, torch's default
    tf32   operands rounded to the 10 bits of TF32's mantissa, sums in float32
    bf16   operands rounded to the 7 bits of bfloat16's, sums in float32, the result rounded to bfloat16

Operands are spikes (exact, unless dropout scales them), weights and errors; rounding is to the nearest, ties to even.
On a GPU bf16 runs as a convolution of bfloat16 arrays and tf32 as one of rounded float32 arrays, which its TF32 units
then take without another rounding. On the CPU both run in float32 on rounded operands. The results agree up to
the order of the sums; for bf16 that is one unit of bfloat16 where a sum lies at an edge between two values.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dalton.names import Convolution

DROPPED = 13  # bits of float32's mantissa that TF32 does not have


def rounded(value: Tensor, convolution: Convolution) -> Tensor:
    """Return float32 values with the digits of "tf32" or "bf16", as float32; "full" leaves them as they are.

    Args:
        value: float32, any shape.
        convolution: "full", "tf32" or "bf16".
    """
    if convolution == "full":
        return value
    if convolution == "bf16":
        return value.to(torch.bfloat16).to(torch.float32)
    bits = value.contiguous().view(torch.int32)
    half = (1 << (DROPPED - 1)) - 1
    nearest = (bits + half + ((bits >> DROPPED) & 1)) & -(1 << DROPPED)
    return torch.where(value.isfinite(), nearest.view(torch.float32), value)


def reduced(operation: Callable[..., Tensor], convolution: Convolution, *operands: Tensor) -> Tensor:
    """Return the operation on float32 operands, with the digits of `convolution`, as float32.

    Args:
        operation: A convolution, its adjoint or its weight gradient.
        convolution: "full", "tf32" or "bf16".
        *operands: What it takes.
    """
    if convolution == "full":
        return operation(*operands)
    if convolution == "bf16" and operands[0].device.type == "cuda":
        return operation(*(operand.to(torch.bfloat16) for operand in operands)).to(torch.float32)
    result = operation(*(rounded(operand, convolution) for operand in operands))
    return rounded(result, "bf16") if convolution == "bf16" else result
