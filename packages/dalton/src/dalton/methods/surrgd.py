"""SurrGD: exact reverse mode through layers and time with the surrogate derivative (spec 3.2).

P_t = W_out o^L_t,  loss = (1/T) sum_t mean (P_t - Y)^2
g^L = m^L W_out^T dP;  g^{l-1} = m^{l-1} A_l^T Pool_l^T e^l
"""

from __future__ import annotations

from torch import Tensor

from dalton.losses import class_loss
from dalton.methods.pass_context import Pass


def surrgd(work: Pass, x: Tensor) -> Tensor:
    """Leave gradients of all weights, `out` included; returns class outputs (time, batch, class).

    Args:
        work: Workspace of the pass.
        x: Encoder spikes (time, batch, channel, height, width).
    """
    activities, spikes = work.forward(x)
    last = work.layers[-1].spec.name
    outputs = work.class_outputs(spikes, work.network.out, last)
    value, error = class_loss(work.loss, outputs, work.labels, work.samples)
    work.add_loss(last, value)
    error.div_(work.steps)
    work.gradients["out"] = error.flatten(0, 1).T @ spikes.flatten(0, 1)
    z = error @ work.network.out.detach()
    del spikes
    while activities:
        number = len(activities) - 1
        activity = activities.pop()
        error = work.engine.errors(activity.u, z, work.network.neuron, activity.mask, 1.0)
        work.add_gradient(number, activity, error)
        if number:
            z = work.layers[number].adjoint(error, activity.switches)
        del activity
    return outputs
