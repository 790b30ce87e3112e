"""The weight rules inside the liquid, one millisecond at a time, as pure functions of plain tensors.

A synapse leads from neuron j (`pre`) to neuron i (`post`). S are the spikes of this millisecond, x the traces
of earlier spikes, L+ and L- the rates of potentiation and depression. Four rules (`PlasticityParameters.rule`):

    none         the weights stay as they are

    stdp         pre excitatory or input:  dW = L+ x_j S_i - L- x_i S_j
                 pre inhibitory:           dW = L+ x_i S_j - L- x_j S_i
                 L- is a constant like L+

    astrocyte    as stdp, but L- is the state of the astrocyte, which follows the activity of all neurons:
                 A <- A + (w_a (liquid spikes - input spikes) + b - A) / tau,      L- = A

    calcium      AP-STDP, as stdp, but the calcium C_i of the post-synaptic neuron gates both terms:
                 the positive term acts if theta < C_i < theta + range, the negative one if theta - range < C_i < theta

and always W <- clip(W + dW, low, high) with the bounds [0, limit] (excitatory), [-limit, 0] (inhibitory) and
[-limit, limit] (input); then x <- trace_decay (x + trace_increment S); then all rates times rate_decay.

Ivanov & Michmizos, NeurIPS 2021. The compiled twin of this file is `cpp/update_run.cpp`; `engines/reference.py`
calls it once per millisecond. Shapes: neuron values (sample, neuron), synapse values (sample, synapse), `post` and
`pre` int64 (synapse,), `inhibitory` bool (synapse,); any floating-point type, which results share.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pairs(
    trace: Tensor, spikes: Tensor, post: Tensor, pre: Tensor, inhibitory: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the strengthening and the weakening of each synapse, both (sample, synapse), before the rates.

    x_j S_i (pre before post) strengthens an excitatory or input synapse and weakens an inhibitory one; x_i S_j (post
    before pre) does the opposite.
    """
    arrival = trace[:, pre] * spikes[:, post]
    departure = trace[:, post] * spikes[:, pre]
    return torch.where(inhibitory, departure, arrival), torch.where(inhibitory, arrival, departure)


def stdp(up: Tensor, down: Tensor, potentiation: float, depression: Tensor) -> Tensor:
    """Return dW = L+ up - L- down, (sample, synapse), of rules `stdp` and `astrocyte`.

    Args:
        up: see `pairs`.
        down: see `pairs`.
        potentiation: L+.
        depression: L-, (sample, 1).
    """
    return up * potentiation - down * depression


def ap_stdp(
    up: Tensor,
    down: Tensor,
    potentiation: float,
    depression: Tensor,
    calcium: Tensor,
    theta: float,
    width: float,
) -> Tensor:
    """Return dW of rule `calcium`, (sample, synapse): `stdp` with both terms gated.

    Args:
        up: see `pairs`.
        down: see `pairs`.
        potentiation: L+.
        depression: L-, (sample, 1).
        calcium: C of the post-synaptic neuron of each synapse, (sample, synapse), Hz.
        theta: middle of both gates, Hz.
        width: width of each gate, Hz.
    """
    rises = (calcium > theta) & (calcium < theta + width)
    falls = (calcium < theta) & (calcium > theta - width)
    return up * potentiation * rises - down * depression * falls


def bounds(excitatory: Tensor, inhibitory: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest weight of each synapse, float64 (synapse,), from the kind of its `pre`."""
    full = torch.full(excitatory.shape, limit, dtype=torch.float64, device=excitatory.device)
    return torch.where(excitatory, 0.0, -full), torch.where(inhibitory, 0.0, full)


def next_trace(trace: Tensor, spikes: Tensor, increment: float, decay: float) -> Tensor:
    """Return x <- decay (x + increment S), (sample, neuron)."""
    return decay * (trace + increment * spikes)


def next_calcium(calcium: Tensor, spikes: Tensor, tau: float) -> Tensor:
    """Return C <- C - C / tau + S, (sample, neuron); at a steady rate, C is that rate in Hz if tau is 1000 ms."""
    return calcium - calcium / tau + spikes


def next_astrocyte(
    astrocyte: Tensor, spikes: Tensor, liquid: int, weight: float, bias: float, tau: float
) -> Tensor:
    """Return A <- A + (w_a (liquid spikes - input spikes) + b - A) / tau, (sample,).

    Args:
        astrocyte: A, (sample,).
        spikes: S, (sample, neuron); the first `liquid` neurons are the liquid's, the others inputs.
        liquid: number of liquid neurons.
        weight: w_a.
        bias: b.
        tau: time constant in ms.
    """
    difference = spikes[:, :liquid].sum(1) - spikes[:, liquid:].sum(1)
    return astrocyte + (weight * difference + bias - astrocyte) / tau
