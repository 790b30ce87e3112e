"""What one inference of a network costs."""

import torch
from reprokit.run.cost import InferenceCost
from torch import nn

from sbs.model.layer import SbSLayer


@torch.no_grad()
def inference_cost(network: nn.Sequential, shape: tuple[int, int, int]) -> InferenceCost:
    """Count the operations caused by the spikes of one image.

    A layer of J neurons draws S spikes at each of its positions. Each spike reaches all J neurons (a pooling layer:
    one), and takes two multiply-adds for each: one of the sum ``sum_j W[i, j] h[j]``, one of the update of h_j.
    Average pooling takes one for each element of its windows.

    Args:
        network: Layers as `build_network` makes them.
        shape: (channel, height, width) of its input.
    """
    parameters = multiply_adds = events = 0
    channels, size = shape[0], shape[1:]
    for layer in network:
        if isinstance(layer, SbSLayer):
            size = layer.output_size
            spikes = layer.eval_number_of_spikes or layer.number_of_spikes
            drawn = size[0] * size[1] * spikes
            reached = 1 if layer.is_pooling_layer else layer.number_of_neurons
            events += drawn * reached
            multiply_adds += 2 * drawn * reached
            parameters += 0 if layer.is_pooling_layer else layer.weights.numel()
            channels = layer.number_of_neurons
        elif isinstance(layer, nn.AvgPool2d):
            output = layer(torch.zeros(1, channels, *size))
            size = (output.shape[2], output.shape[3])
            kernel = layer.kernel_size
            height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
            multiply_adds += channels * size[0] * size[1] * height * width
    return InferenceCost(parameters, multiply_adds, float(events))
