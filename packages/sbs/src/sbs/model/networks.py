"""Stacks of SbS layers and pooling built from a configuration, and the pooling layer."""

from typing import Any

import torch
from reprokit import UserError
from torch import nn

from sbs.config import LayerConfig, NetworkConfig
from sbs.model.layer import Pair, SbSLayer
from sbs.model.time_course import TimeCourse
from sbs.streams import WEIGHTS, derived_seed


def build_network(
    config: NetworkConfig,
    *,
    channels: int,
    size: tuple[int, int],
    classes: int,
    threads: int = 1,
    seed: int = 0,
) -> nn.Sequential:
    """Build the layers in order; every layer's output distribution is the next one's input.

    Args:
        config: The stages and the dynamics they share.
        channels: Channels of the input.
        size: Height and width of the input.
        classes: Number of output neurons.
        threads: Threads of the kernel.
        seed: Seed of the initial weights.

    Returns:
        A module from ``(sample, channel, height, width)`` to ``(sample, class, 1, 1)``.

    Raises:
        UserError: A kernel is larger than its input, or the last stage is not ``classes`` neurons at one
            position.
    """
    stages: list[nn.Module] = []
    for index, layer in enumerate(config.layers):
        output = output_size(layer, size)
        if min(output) < 1:
            raise UserError(
                f"network.layers[{index}]: a kernel of {layer.kernel} "
                f"does not fit its {size[0]}x{size[1]} input"
            )
        if layer.kind == "average-pool":
            stages.append(_average_pool(layer, index))
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derived_seed(seed, WEIGHTS, index))
                stages.append(_sbs_layer(config, layer, channels, size, threads))
            channels = channels if layer.kind == "sbs-pool" else layer.neurons
        size = output
    if size != (1, 1) or channels != classes:
        raise UserError(
            f"network.layers end with {channels} neurons at {size[0]}x{size[1]} positions; "
            f"{classes} neurons at 1x1 are needed"
        )
    return nn.Sequential(*stages)


def sbs_layers(network: nn.Module) -> list[SbSLayer]:
    """Return the SbS layers of a network, first to last."""
    return [module for module in network.modules() if isinstance(module, SbSLayer)]


def sbs_pooling(
    channels: int,
    input_size: Pair,
    kernel: Pair,
    number_of_spikes: int,
    stride: Pair | None = None,
    **options: Any,
) -> SbSLayer:
    """Return a pooling layer: one neuron per channel and fixed weights, W = delta(c, j) / (k0 k1).

    A spike of channel c affects only neuron c, so the kernel needs no dot product: u_c += scale epsilon_t. The
    expected result is the average pooling of the normalised input. By default the stride is the kernel.

    Args:
        channels: Channels of input and output.
        input_size: Height and width of the input.
        kernel: Rows and columns to pool.
        number_of_spikes: S per position.
        stride: Step between positions; None: the kernel.
        **options: Further arguments of `SbSLayer`.
    """
    return SbSLayer(
        channels,
        channels,
        input_size,
        kernel,
        number_of_spikes,
        is_pooling_layer=True,
        strides=kernel if stride is None else stride,
        **options,
    )


def output_size(layer: LayerConfig, size: tuple[int, int]) -> tuple[int, int]:
    """Return floor((n + 2 padding - dilation (kernel - 1) - 1) / stride) + 1 for both axes."""
    height, width = (
        (size[axis] + 2 * layer.padding[axis] - layer.dilation[axis] * (layer.kernel[axis] - 1) - 1)
        // layer.stride[axis]
        + 1
        for axis in (0, 1)
    )
    return height, width


def time_course(config: NetworkConfig) -> TimeCourse:
    """Return the rule for epsilon_t, see `NetworkConfig.epsilon_t`."""
    return TimeCourse(config.epsilon_t, config.cooldown_after, config.cooldown_reduction, config.exponent)


def _average_pool(layer: LayerConfig, index: int) -> nn.Module:
    if layer.dilation != (1, 1):
        raise UserError(
            f"network.layers[{index}].dilation is {layer.dilation}; average pooling has none, give 1 and 1"
        )
    return nn.AvgPool2d(layer.kernel, layer.stride, layer.padding)


def _sbs_layer(
    config: NetworkConfig, layer: LayerConfig, channels: int, size: tuple[int, int], threads: int
) -> SbSLayer:
    spikes = layer.number_of_spikes or config.number_of_spikes
    pooling = layer.kind == "sbs-pool"
    return SbSLayer(
        number_of_input_neurons=channels,
        number_of_neurons=channels if pooling else layer.neurons,
        input_size=size,
        forward_kernel_size=layer.kernel,
        number_of_spikes=spikes,
        epsilon_t=time_course(config),
        epsilon_xy_initial=config.epsilon_xy,
        epsilon_0=config.epsilon_0,
        weight_noise_amplitude=config.weight_noise,
        is_pooling_layer=pooling,
        strides=layer.stride,
        dilation=layer.dilation,
        padding=layer.padding,
        alpha_number_of_iterations=config.alpha_iterations,
        number_of_cpu_processes=threads,
        epsilon_per_kernel=config.epsilon_per_kernel,
        forgetting_offset=config.forgetting_offset,
        gradient=config.gradient,
    )
