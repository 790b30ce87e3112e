"""From pixels and event counts to spikes: one integrate-and-fire unit per pixel, without leak.

a_t = a_{t-1} + (gain x_t + bias),   spike if a_t > 1,   a_t = 0 after a spike
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from reprokit import UserError
from torch import Tensor

from dalton.checks import check_number, values_are_known, whole


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
        check_number("gain", self.gain, positive=True, example="1 or 2")
        check_number("bias", self.bias)


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
        inputs: One image in [0, 1] for all steps (batch, ...), or frames (time, batch, ...) where `steps` is None.
        encoder: Constants.
        steps: Time-steps for which an image is held.
        dtype: float32 or float64.
        voltage: a before the first step; None: 0. It is not changed.

    Raises:
        UserError: Held images outside [0, 1], frames that are not finite, steps that are not a whole number above 0,
            or voltages of another shape.
    """
    if steps is not None:
        _check_held(inputs, steps)
    elif values_are_known(inputs) and not bool(torch.isfinite(inputs).all()):
        raise UserError("inputs hold NaN or infinite values; clean the data first.")
    shape = inputs.shape if steps is not None else inputs.shape[1:]
    if voltage is not None and voltage.shape != shape:
        raise UserError(
            f"voltage has shape {tuple(voltage.shape)}; inputs of one time-step have {tuple(shape)}."
        )
    spikes = torch.empty((len(inputs) if steps is None else steps, *shape), dtype=dtype, device=inputs.device)
    a = torch.zeros(shape, dtype=dtype, device=inputs.device) if voltage is None else voltage
    held = None if steps is None else inputs.to(dtype) * encoder.gain + encoder.bias
    for t in range(len(spikes)):
        a = a + (inputs[t].to(dtype) * encoder.gain + encoder.bias if held is None else held)
        fired = a > 1
        spikes[t] = fired
        a = a.masked_fill(fired, 0)
    return spikes, a


def encode_step(inputs: Tensor, encoder: EncoderParameters, voltage: Tensor) -> tuple[Tensor, Tensor]:
    """Return spikes and voltages of one time-step, both (batch, ...) in the type of the voltages before it.

    Args:
        inputs: Image or counts (batch, ...).
        encoder: Constants.
        voltage: a before the step. It is not changed.
    """
    a = voltage + (inputs.to(voltage.dtype) * encoder.gain + encoder.bias)
    fired = a > 1
    return fired.to(voltage.dtype), a.masked_fill(fired, 0)


def _check_held(images: Tensor, steps: int) -> None:
    if (whole(steps) or 0) < 1:
        raise UserError(f"steps is {steps!r}; it must be a whole number of 1 or more.")
    low, high = (float(value) for value in torch.aminmax(images))
    if not (low >= 0 and high <= 1):  # NaN too
        raise UserError(
            f"images lie in [{low:g}, {high:g}]; scale pixels to [0, 1], for example divide by 255."
        )
