"""What one inference of a network costs."""

from __future__ import annotations

import math

import torch
from reprokit.run.cost import InferenceCost
from torch import Tensor

from dalton.data.encoding import encode_step
from dalton.data.samples import Portion
from dalton.model.architectures import LayerSpec
from dalton.model.layers import current, map_size
from dalton.model.network import SpikingCNN
from dalton.model.neuron import IntegrateAndFire

SAMPLES = 10  # whose spikes are counted


@torch.no_grad()
def inference_cost(net: SpikingCNN, portion: Portion) -> InferenceCost:
    """Count connections, and the spikes of the first test samples that pass through them.

    Args:
        net: The network.
        portion: Test samples.
    """
    inputs, _ = portion.take(torch.arange(min(SAMPLES, len(portion))), 1, 0)
    inputs, steps = inputs.to(net.device), portion.steps
    frames, batch = portion.static_steps is None, inputs.shape[1 if portion.static_steps is None else 0]
    state, fire, events = net.initial_state(batch), IntegrateAndFire(net.neuron), 0.0
    voltage, states = state.encoder, list(state.layers)
    reach = [_reach(layer).to(net.device) for layer in net.layers]
    for t in range(steps):
        x, voltage = encode_step(inputs[t] if frames else inputs, net.encoder, voltage)
        for number, layer in enumerate(net.layers):
            events += (
                float((x * reach[number]).sum()) if layer.kind == "conv" else float(x.sum() * layer.units)
            )
            currents, _ = current(layer, x, net.weight(layer.name))
            x, states[number] = fire(currents, states[number])
        events += float(x.sum()) * net.classes
    connections = sum(_connections(layer) for layer in net.layers) + net.out.numel()
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return InferenceCost(parameters, connections * steps, events / batch)


def _connections(layer: LayerSpec) -> int:
    """Return the number of connections into a layer; for a convolution into its maps before pooling."""
    weights = math.prod(layer.weight_shape)
    return weights * math.prod(map_size(layer)) if layer.kind == "conv" else weights


def _reach(layer: LayerSpec) -> Tensor:
    """Return the number of connections of a convolution that a spike at each pixel passes through, (height, width)."""
    if layer.kind != "conv":
        return torch.zeros(())
    kernel, reach = layer.weight_shape[2], []
    for size, maps in zip(layer.input_shape[1:], map_size(layer), strict=True):
        first = torch.arange(maps)[:, None] * layer.stride
        place = torch.arange(size)[None]
        reach.append(((first <= place) & (place < first + kernel)).sum(0))
    return torch.outer(*reach) * layer.weight_shape[0]
