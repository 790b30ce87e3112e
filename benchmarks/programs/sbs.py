"""The V1 MNIST stack of sbs, by its kernel and by the plain-torch reference; one seed gives both the same spikes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from sbs import SbSLayer, TimeCourse, mixed
from sbs.engines import kernel
from torch import Tensor, nn

STACK = [  # channels, neurons, input, kernel, pooling
    (2, 32, 24, 5, False),
    (32, 32, 20, 2, True),
    (32, 64, 10, 5, False),
    (64, 64, 6, 2, True),
    (64, 1024, 3, 3, False),
    (1024, 10, 1, 1, False),
]


def build(spikes: int) -> nn.Sequential:
    """Return the stack, the same every time."""
    torch.manual_seed(0)
    course = TimeCourse("cooldown", spikes * 5 // 6, 25.0)
    layers = [
        SbSLayer(
            channels,
            neurons,
            size,
            width,
            spikes,
            course,
            is_pooling_layer=pooling,
            strides=width if pooling else 1,
        )
        for channels, neurons, size, width, pooling in STACK
    ]
    return nn.Sequential(*layers)


def images(batch: int) -> tuple[Tensor, Tensor]:
    """Return random on/off images and labels."""
    grey = torch.rand(batch, 1, 24, 24)
    on_off = torch.cat([(1 - 2 * grey).clamp(min=0), (2 * grey - 1).clamp(min=0)], 1)
    return on_off, torch.randint(0, 10, (batch,))


def with_engine(network: nn.Sequential, engine: kernel.Engine, threads: int = 1) -> None:
    """Switch all layers to one engine."""
    for layer in network:
        assert isinstance(layer, SbSLayer)
        layer.engine = engine
        layer.number_of_cpu_processes = threads


def forward(
    network: nn.Sequential, inputs: Tensor, engine: kernel.Engine, threads: int = 1
) -> Callable[[], Tensor]:
    """Return a forward pass."""

    def run() -> Tensor:
        with_engine(network, engine, threads)
        torch.manual_seed(1)
        with torch.no_grad():
            return network(inputs)

    return run


def training(
    network: nn.Sequential, inputs: Tensor, labels: Tensor, engine: kernel.Engine
) -> Callable[[], tuple[float, Tensor]]:
    """Return a step that gives the loss and the gradient of the last layer's weights."""

    def run() -> tuple[float, Tensor]:
        with_engine(network, engine)
        torch.manual_seed(1)
        network.zero_grad()
        loss = mixed(network(inputs), labels)
        loss.backward()
        gradient = network[-1].weights.grad
        assert isinstance(gradient, Tensor)
        return float(loss.detach()), gradient.clone()

    return run


def one_instruction_set(
    network: nn.Sequential, inputs: Tensor, spikes: int, isa: kernel.Isa
) -> Callable[[], Tensor]:
    """Return a forward pass by the kernel's functions for one instruction set."""

    def run() -> Tensor:
        h = inputs
        for layer in network:
            assert isinstance(layer, SbSLayer)
            call = kernel.Call(
                layer.geometry, layer.epsilon_t[:spikes], 1.0, layer.h_initial, seed=1, isa=isa
            )
            call = dataclasses.replace(call, one_hot=layer.is_pooling_layer)
            h = kernel.infer(h, layer.weights.detach(), layer.epsilon_xy.detach(), call)[0].permute(
                0, 3, 1, 2
            )
        return h

    return run


def spikes_work(batch: int, spikes: int) -> float:
    """Return the operations of all spikes of a forward pass: a dot product and an update, 4 for each neuron."""
    return sum(
        4.0 * batch * spikes * side_out(size, width, pooling) ** 2 * neurons
        for _, neurons, size, width, pooling in STACK
    )


def side_out(size: int, width: int, pooling: bool) -> int:
    """Return the side of a layer's output."""
    return size // width if pooling else size - width + 1
