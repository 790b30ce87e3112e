"""Neurons and encoder over all time-steps in one GPU kernel each, in Triton (part of PyTorch's CUDA builds).

A program handles a block of neurons, keeps their state in registers and loops over time, so a layer costs one
launch instead of a dozen per time-step. The formulas are those of :mod:`dalton.model.neuron` and
:mod:`dalton.data.encoding`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from dalton.data.encoding import EncoderParameters
from dalton.model.neuron import NeuronParameters, NeuronState

try:
    from dalton.engines import triton_kernels as kernels
except ImportError:
    kernels = None

BLOCK = 128  # neurons per program


def available(device: torch.device) -> bool:
    """Return whether the kernels run on a device: an NVIDIA or AMD GPU and Triton present."""
    return kernels is not None and device.type == "cuda"


@cache
def _constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return constants on the device; passed by value, Triton would round them to float32."""
    return torch.tensor(values, dtype=dtype, device=device)


def _present() -> Any:
    assert kernels is not None, "ask `available` first"
    return kernels


def _programs(count: int) -> tuple[int]:
    return (-(-count // BLOCK),)


def _of(neuron: NeuronParameters, like: Tensor) -> Tensor:
    return _constants((neuron.decay, neuron.threshold, neuron.surrogate_scale), like.dtype, like.device)


def fire(
    currents: Tensor, neuron: NeuronParameters, state: NeuronState | None = None
) -> tuple[Tensor, Tensor, NeuronState]:
    """Return potentials u, spikes, and the state at the end, as :func:`dalton.model.neuron.run`.

    Args:
        currents: Input currents I (time, batch, ...), float32 or float64.
        neuron: Constants.
        state: State before the first step; None: at rest. It is not changed.
    """
    currents = currents.contiguous()
    v, c = (torch.zeros_like(currents[0]) for _ in range(2)) if state is None else (x.clone() for x in state)
    u, spikes = torch.empty_like(currents), torch.empty_like(currents)
    count = v.numel()
    _present().fire[_programs(count)](
        currents, u, spikes, v, c, _of(neuron, u), count, len(currents), neuron.reset == "hard", BLOCK,
        enable_fp_fusion=False,
    )  # fmt: skip
    return u, spikes, NeuronState(v, c)


def current_gradient(u: Tensor, spike_gradient: Tensor, neuron: NeuronParameters) -> Tensor:
    """Return e = dLoss/dI from g = dLoss/ds, as :func:`dalton.model.neuron.current_gradient`."""
    u, spike_gradient = u.contiguous(), spike_gradient.contiguous()
    errors, count = torch.empty_like(u), u[0].numel()
    _present().back[_programs(count)](
        u, spike_gradient, errors, _of(neuron, u), count, len(u), neuron.reset == "hard", BLOCK,
        enable_fp_fusion=False,
    )  # fmt: skip
    return errors


def encode(
    inputs: Tensor, encoder: EncoderParameters, steps: int | None, dtype: torch.dtype, voltage: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return spikes (time, batch, ...) and the last voltages, as :func:`dalton.data.encoding.encode`."""
    drive = (inputs.to(dtype) * encoder.gain + encoder.bias).contiguous()
    length, shape = (len(inputs), inputs.shape[1:]) if steps is None else (steps, inputs.shape)
    spikes = torch.empty((length, *shape), dtype=dtype, device=inputs.device)
    a = torch.zeros(shape, dtype=dtype, device=inputs.device) if voltage is None else voltage.clone()
    count = a.numel()
    _present().encode[_programs(count)](
        drive, spikes, a, count, length, steps is not None, BLOCK, enable_fp_fusion=False
    )
    return spikes, a
