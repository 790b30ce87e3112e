"""DALTON: each layer's readout is the next layer's weights, its target comes from the next readout's error (spec 3.4).

    eps^L_t = W_out o^L_t - Y
    eps^l_t = back_{l+1}(eps^{l+1}_t) sigma'(delta^{l+1}_t)            back: adjoint of the readout, no 2/(B D) factor
    loss = sum_l (1/T) sum_t mean (eps^l_t)^2,   g^l_t = m^l Rdout_l^T 2 eps^l_t / (T B D_l)

The readout P^l equals the next layer's current, so that no forward pass is added, and one adjoint serves both the
gradient of a layer and the target below. Faithful in what it leaves out of the recursion (dropout, clipping, dropped
spikes in max-pool switches); `transfer_masks` puts them in (DEV-5).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dalton.methods.pass_context import Activity, Pass, mean_square


def dalton(work: Pass, x: Tensor) -> Tensor:
    """Leave gradients of the spiking layers; returns class outputs (time, batch, class).

    Args:
        work: Workspace of the pass.
        x: Encoder spikes (time, batch, channel, height, width).
    """
    activities, spikes = work.forward(x)
    out = work.network.out.detach()
    last = work.layers[-1].spec.name
    outputs = work.class_outputs(spikes, out, last)
    del spikes
    target = F.one_hot(work.labels, work.network.classes).to(outputs.dtype)
    eps = outputs - target
    if work.recorder.wants("target"):
        work.recorder.add("target", last, target.expand_as(outputs))
    work.add_loss(last, mean_square(eps, work.samples))
    z, plain, units = eps @ out, None, work.network.classes
    while activities:
        number = len(activities) - 1
        activity = activities.pop()
        if number:
            eps = _transfer(work, activity, z if plain is None else plain)
        if work.need_gradients:
            scale = 2 / (work.steps * work.samples * units)
            error = work.engine.errors(activity.u, z, work.network.neuron, activity.mask, scale)
            work.add_gradient(number, activity, error)
            del error
        if number:
            _record_target(work, number, eps)
            work.add_loss(work.layers[number - 1].spec.name, mean_square(eps, work.samples))
            units = work.layers[number].spec.units
            z, plain = _back(work, number, activity, activities[-1], eps)
        del activity
    return outputs


def _transfer(work: Pass, activity: Activity, z: Tensor) -> Tensor:
    """Return eps of the layer below, in the space of this layer's currents."""
    eps = work.engine.transfer(activity.u, z, work.network.neuron)
    if work.transfer_masks:
        eps.masked_fill_(activity.u < 0, 0)
        if activity.mask is not None:
            eps *= activity.mask
    return eps


def _back(
    work: Pass, number: int, activity: Activity, below: Activity, eps: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Return the adjoint of layer `number` with the forward's switches, and that with switches of undropped spikes.

    The second is None where it is the same: always but for max-pooling above dropout.
    """
    layer = work.layers[number]
    z = layer.adjoint(eps, activity.switches)
    if activity.switches is None or below.mask is None or work.transfer_masks:
        return z, None
    undropped = (below.u > work.network.neuron.threshold).to(eps.dtype)
    return z, layer.adjoint(eps, layer.current(undropped)[1])


def _record_target(work: Pass, number: int, eps: Tensor) -> None:
    """Record readout and target of the layer below `number`: the currents of this layer, and those minus eps."""
    if not (work.recorder.wants("target") or work.recorder.wants("readout")):
        return
    name = work.layers[number - 1].spec.name
    readout = work.recorder.latest("current", work.layers[number].spec.name)
    work.recorder.add("readout", name, readout)
    work.recorder.add("target", name, readout - eps)
