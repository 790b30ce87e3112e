"""The three-factor rule: each layer learns from the class error of its own fixed random readout.

P^l_t = R_l o^l_t,  loss = sum_l (1/T) sum_t mean (P^l_t - Y)^2,  g^l_t = m^l R_l^T dLoss/dP^l_t
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dalton.rules.losses import class_loss
from dalton.rules.workspace import Pass


def tfr(work: Pass, x: Any) -> Tensor:
    """Leave gradients of the spiking layers, one layer at a time; returns class outputs (time, batch, class).

    Args:
        work: Workspace of the pass.
        x: Encoder spikes, a signal (time, batch, channel, height, width).
    """
    outputs = torch.empty(0)
    for number, layer in enumerate(work.layers):
        activity, signal = work.forward_layer(number, x)
        name = layer.spec.name
        readout = work.network.readout(name).detach()
        outputs = work.class_outputs(signal, readout, number)
        value, error = class_loss(work.loss, outputs, work.labels, work.samples)
        work.add_loss(name, value)
        if work.need_gradients:
            z = work.engine.spread(error, readout, layer.spec)
            error = work.engine.errors(activity.u, z, work.network.neuron, activity.mask, 1.0 / work.steps)
            work.add_gradient(number, activity, error)
        x = signal
    return outputs
