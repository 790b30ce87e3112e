"""SurrGD: exact reverse mode through layers and time with the surrogate derivative.

P_t = W_out o^L_t,  loss = (1/T) sum_t mean (P_t - Y)^2
g^L = m^L W_out^T dP;  g^{l-1} = m^{l-1} A_l^T Pool_l^T e^l
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dalton.rules.losses import class_loss
from dalton.rules.workspace import Pass
from dalton.threads import one_thread


def surrgd(work: Pass, x: Any) -> Tensor:
    """Leave gradients of all weights, `out` included; returns class outputs (time, batch, class).

    Args:
        work: Workspace of the pass.
        x: Encoder spikes, a signal (time, batch, channel, height, width).
    """
    activities, signal = work.forward(x)
    engine, spec = work.engine, work.layers[-1].spec
    matrix = work.network.out.detach()
    outputs = work.class_outputs(signal, matrix)
    value, error = class_loss(work.loss, outputs, work.labels, work.samples)
    work.add_loss(spec.name, value)
    error.div_(work.steps)
    spikes = engine.dense(signal, spec.output_shape, work.network.dtype)
    with one_thread():  # then the order of the sums does not depend on torch's threads
        work.gradients["out"] = error.flatten(0, 1).T @ spikes.flatten(0, 1)
    z = engine.spread(error, matrix, spec)
    del signal, spikes
    while activities:
        number = len(activities) - 1
        activity = activities.pop()
        error = work.engine.errors(activity.u, z, work.network.neuron, activity.mask, 1.0)
        work.add_gradient(number, activity, error)
        if number:
            z = work.layers[number].adjoint(error, activity.switches)
        del activity
    return outputs
