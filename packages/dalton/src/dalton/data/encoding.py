"""Pixels and event counts become spikes: an integrate-and-fire unit per pixel, without leak.

a_t = a_{t-1} + (gain x_t + bias),   spike if a_t > 1,   a_t = 0 after a spike
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from reprokit import UserError
from torch import Tensor


@dataclass(frozen=True)
class EncoderParameters:
    """Constants of the encoder.

    Attributes:
        gain: Factor of the input, above 0.
        bias: Added in every time-step.

    Raises:
        UserError: The gain is not above 0, or a value is not finite.
    """

    gain: float = 2.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.gain) and self.gain > 0):
            raise UserError(f"gain is {self.gain}; it must be a finite number above 0, for example 1 or 2.")
        if not math.isfinite(self.bias):
            raise UserError(f"bias is {self.bias}; it must be a finite number.")


def encode(
    inputs: Tensor,
    encoder: EncoderParameters,
    *,
    steps: int | None = None,
    dtype: torch.dtype = torch.float32,
    voltage: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return spikes (time, batch, ...), 0 or 1 in `dtype`, and the voltages a after the last step.

    Args:
        inputs: One image for all steps (batch, ...), or frames (time, batch, ...) where `steps` is None.
        encoder: Constants.
        steps: Time-steps of a held image.
        dtype: float32 or float64.
        voltage: a before the first step; None: 0. It is not changed.
    """
    shape = inputs.shape if steps is not None else inputs.shape[1:]
    spikes = torch.empty((len(inputs) if steps is None else steps, *shape), dtype=dtype, device=inputs.device)
    a = torch.zeros(shape, dtype=dtype, device=inputs.device) if voltage is None else voltage
    held = None if steps is None else inputs.to(dtype) * encoder.gain + encoder.bias
    for t in range(len(spikes)):
        a = a + (inputs[t].to(dtype) * encoder.gain + encoder.bias if held is None else held)
        fired = a > 1
        spikes[t] = fired
        a = a.masked_fill(fired, 0)
    return spikes, a
