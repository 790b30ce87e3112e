"""Neurons and encoder over all time-steps in one GPU kernel each, in Triton (part of PyTorch's CUDA builds).

A program handles a block of neurons, keeps their state in registers and loops over time, so a layer costs one
launch instead of a dozen per time-step. Neighbouring neurons have neighbouring addresses, so all loads are coalesced,
and nothing waits for the CPU between time-steps. Memory is that of the results (time, batch, ...) and of one
time-step's state. The formulas are those of :mod:`dalton.model.neuron` and :mod:`dalton.data.encoding`; without fused
multiply-adds, potentials, spikes and states are equal to theirs up to rounding (1e-12 of float64, 1e-5 of float32), and
spikes are those of the potentials.

Triton is imported when a CUDA device is first asked about, never by programs on the CPU. The kernels run on the CPU
too, slowly, in Triton's interpreter (``TRITON_INTERPRET=1`` before the import): the tests do that.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from dalton.data.encoding import EncoderParameters
from dalton.model.neuron import NeuronParameters, NeuronState

BLOCK = 128  # neurons per program


def available(device: torch.device) -> bool:
    """Return whether the kernels run on a device: an NVIDIA or AMD GPU and Triton present."""
    return device.type == "cuda" and _kernels() is not None


@cache
def _kernels() -> Any:
    """Return the module of the kernels, None without Triton."""
    try:
        from dalton.engines import triton_kernels
    except ImportError:
        return None
    return triton_kernels


@cache
def _constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return constants on the device; passed by value, Triton would round them to float32."""
    return torch.tensor(values, dtype=dtype, device=device)


def _present() -> Any:
    kernels = _kernels()
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
