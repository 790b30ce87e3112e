"""DALTON: each layer's readout is the next layer's weights, and its target comes from the next readout's error.

    eps^L_t = W_out o^L_t - Y
    eps^l_t = back_{l+1}(eps^{l+1}_t) sigma'(delta^{l+1}_t)            back: adjoint of the readout, no 2/(B D) factor
    loss = sum_l (1/T) sum_t mean (eps^l_t)^2,   g^l_t = m^l Rdout_l^T 2 eps^l_t / (T B D_l)

The readout P^l equals the next layer's current, so that no forward pass is added, and one adjoint serves both the
gradient of a layer and the target below. As in the original, the recursion leaves out dropout, clipping and
dropped spikes in max-pool switches; `transfer_masks` includes them (DEV-5).
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from dalton.rules.workspace import Activity, Pass, mean_square


def dalton(work: Pass, x: Any) -> Tensor:
    """Leave gradients of the spiking layers; returns class outputs (time, batch, class).

    Args:
        work: Workspace of the pass.
        x: Encoder spikes, a signal (time, batch, channel, height, width).
    """
    activities, signal = work.forward(x)
    out, spec = work.network.out.detach(), work.layers[-1].spec
    outputs = work.class_outputs(signal, out)
    del signal
    target = F.one_hot(work.labels, work.network.classes).to(outputs.dtype)
    eps, units = outputs - target, work.network.classes
    work.recorder.add("target", spec.name, target.expand_as(outputs))
    work.add_loss(spec.name, mean_square(eps, work.samples, units))
    z, undropped = work.engine.spread(eps, out, spec), None
    while activities:
        number = len(activities) - 1
        activity = activities.pop()
        eps = _local_step(work, number, activity, z, undropped, 2 / (work.steps * work.samples * units))
        if number:
            _record_target(work, number, eps)
            units = work.layers[number].spec.units
            below = work.layers[number - 1].spec
            work.add_loss(below.name, mean_square(eps, work.samples, units))
            z, undropped = _back(work, number, activity, activities[-1], eps)
        del activity
    return outputs


def _local_step(
    work: Pass, number: int, activity: Activity, z: Tensor, undropped: Tensor | None, scale: float
) -> Tensor:
    """Leave the gradient of a layer; returns eps of the layer below (for the lowest layer, it is not used)."""
    engine, neuron = work.engine, work.network.neuron
    eps = z
    if undropped is not None:
        _, eps = engine.errors_and_transfer(activity.u, undropped, neuron, activity.mask, scale, False)
    if number and undropped is None:
        error, eps = engine.errors_and_transfer(
            activity.u, z, neuron, activity.mask, scale, work.transfer_masks
        )
    elif work.need_gradients:
        error = engine.errors(activity.u, z, neuron, activity.mask, scale)
    else:
        return eps
    if work.need_gradients:
        work.add_gradient(number, activity, error)
    return eps


def _back(
    work: Pass, number: int, activity: Activity, below: Activity, eps: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Return the adjoint of layer `number` with the forward's switches, and that with switches of undropped spikes.

    The second is None if it is the same, which is always so except for max-pooling above dropout.
    """
    layer = work.layers[number]
    z = layer.adjoint(eps, activity.switches)
    if activity.switches is None or below.mask is None or work.transfer_masks:
        return z, None
    signal = work.engine.undropped(below.u, work.network.neuron, work.layers[number - 1].spec)
    return z, layer.adjoint(eps, layer.currents(signal)[1])


def _record_target(work: Pass, number: int, eps: Tensor) -> None:
    """Record readout and target of the layer below `number`: the currents of this layer, and those minus eps."""
    if not (work.recorder.wants("target") or work.recorder.wants("readout")):
        return
    spec, name = work.layers[number].spec, work.layers[number - 1].spec.name
    readout = work.recorder.latest_current(spec.name)
    work.recorder.add("readout", name, readout)
    work.recorder.add("target", name, readout - work.engine.plain(eps, spec))
