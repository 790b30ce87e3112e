"""Training steps by surrogate gradients in snnTorch, Norse and SpikingJelly, on networks shaped like dalton's.

Every step is what these libraries' users write: spikes through convolution, mean pooling and neuron, class outputs at
every time-step, mean squared error, ``loss.backward()``, ``optimizer.step()``. The time loop feeds one step after the
other through the whole network: indexing layer outputs over time inside autograd would cost memory and time that grow
with the square of the steps. The neurons are each library's closest to ours, none is the same, so only speed compares.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import dalton
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.programs.torch_steps import in_turn

Loop = Callable[[Tensor], Tensor]  # spikes (time, batch, ...) -> class outputs (time, batch, class)
NAMES = ("snntorch", "norse", "spikingjelly", "spikingjelly multi-step")


def modules_of(network: dalton.SpikingCNN, neuron: Callable[[], Any]) -> nn.ModuleList:
    """Return one (linear part, neuron, dropout) per layer and the class matrix, without biases."""
    result = nn.ModuleList()
    for layer in network.layers:
        if layer.kind == "conv":
            channels, below, kernel, _ = layer.weight_shape
            parts: list[nn.Module] = [nn.Conv2d(below, channels, kernel, layer.stride, bias=False)]
            if layer.pool > 1:
                parts.append((nn.MaxPool2d if layer.max_pooled else nn.AvgPool2d)(layer.pool))
        else:
            parts = [nn.Flatten(), nn.Linear(layer.weight_shape[1], layer.weight_shape[0], bias=False)]
        linear = nn.Sequential(*parts)
        with torch.no_grad():
            next(linear.parameters()).copy_(network.weight(layer.name))
        dropout = nn.Dropout(layer.dropout) if layer.dropout else nn.Identity()
        result.append(nn.ModuleList([linear, neuron(), dropout]))
    out = nn.Linear(network.layers[-1].units, network.classes, bias=False)
    with torch.no_grad():
        out.weight.copy_(network.out)
    result.append(out)
    return result


def stepped(layers: nn.ModuleList, fire: Callable[[int, Any, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return one time-step: spikes (batch, ...) -> class outputs (batch, class)."""

    def step(x: Tensor) -> Tensor:
        for number in range(len(layers) - 1):
            linear, neuron, dropout = layers[number]  # pyright: ignore[reportGeneralTypeIssues]
            x = dropout(fire(number, neuron, linear(x)))
        return layers[-1](x)

    return step


def snntorch_loop(network: dalton.SpikingCNN) -> tuple[nn.Module, Loop]:
    """Synaptic neurons: the same current filter and hard reset, no clipping at 0."""
    snn, surrogate = importlib.import_module("snntorch"), importlib.import_module("snntorch.surrogate")

    def neuron() -> Any:
        return snn.Synaptic(
            alpha=network.neuron.decay, beta=1.0, reset_mechanism="zero", reset_delay=False,
            spike_grad=surrogate.fast_sigmoid(slope=5),
        )  # fmt: skip

    layers = modules_of(network, neuron)

    def loop(spikes: Tensor) -> Tensor:
        states: list[Any] = [layer[1].reset_mem() for layer in list(layers)[:-1]]  # pyright: ignore[reportIndexIssue]

        def fire(number: int, neuron: Any, current: Tensor) -> Tensor:
            out, *states[number] = neuron(current, *states[number])
            return out

        step = stepped(layers, fire)
        return torch.stack([step(x) for x in spikes])

    return layers, loop


def norse_loop(network: dalton.SpikingCNN) -> tuple[nn.Module, Loop]:
    """IAFCell: no current filter."""
    norse = importlib.import_module("norse.torch")
    layers = modules_of(network, norse.IAFCell)

    def loop(spikes: Tensor) -> Tensor:
        states: list[Any] = [None] * (len(layers) - 1)

        def fire(number: int, neuron: Any, current: Tensor) -> Tensor:
            out, states[number] = neuron(current, states[number])
            return out

        step = stepped(layers, fire)
        return torch.stack([step(x) for x in spikes])

    return layers, loop


def spikingjelly_loop(network: dalton.SpikingCNN, *, several: bool = False) -> tuple[nn.Module, Loop]:
    """IFNode: no current filter; `several`: its multi-step mode, all time-steps of a layer first."""
    surrogate = importlib.import_module("spikingjelly.activation_based.surrogate")
    functional = importlib.import_module("spikingjelly.activation_based.functional")
    neurons = importlib.import_module("spikingjelly.activation_based.neuron")
    mode = "m" if several else "s"

    def neuron() -> Any:
        return neurons.IFNode(surrogate_function=surrogate.Sigmoid(), detach_reset=True, step_mode=mode)

    layers = modules_of(network, neuron)
    step = stepped(layers, lambda _, neuron, current: neuron(current))

    def at_once(spikes: Tensor) -> Tensor:
        x = spikes
        for number in range(len(layers) - 1):
            linear, neuron, dropout = layers[number]  # pyright: ignore[reportGeneralTypeIssues]
            current = linear(x.flatten(0, 1)).unflatten(0, x.shape[:2])
            x = dropout(neuron(current))
        return layers[-1](x)

    def loop(spikes: Tensor) -> Tensor:
        functional.reset_net(layers)
        return at_once(spikes) if several else torch.stack([step(x) for x in spikes])

    return layers, loop


def step(
    name: str,
    arch: str,
    downsample: str,
    device: str,
    steps: int,
    batch: int,
    images: np.ndarray,
    labels: np.ndarray,
) -> Callable[[], dict[str, np.ndarray]]:
    """Return one training step of a library after the other batches of some images.

    Args:
        name: One of `NAMES`.
        arch: Architecture of the network that the library's is shaped like.
        downsample: "avgpool", "maxpool" or "stride".
        device: PyTorch's device.
        steps: Time-steps.
        batch: Images of a step.
        images: float32 (image, channel, height, width) in [0, 1].
        labels: int64 (image,).

    Returns:
        A call that returns how many weights it trained and the shape of the outputs of a time-step.
    """
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module=r"snntorch|norse|spikingjelly")
    network = dalton.SpikingCNN(arch, images.shape[1:], seed=0, downsample=downsample).to(device)
    package, *mode = name.split()
    if package == "snntorch":
        layers, loop = snntorch_loop(network)
    elif package == "norse":
        layers, loop = norse_loop(network)
    else:
        layers, loop = spikingjelly_loop(network, several=bool(mode))
    layers.to(device).train()
    optimizer = torch.optim.Adam(layers.parameters(), lr=1e-3)
    batches = in_turn(images, labels, torch.device(device), batch)
    count = sum(parameter.numel() for parameter in layers.parameters())

    def train() -> dict[str, np.ndarray]:
        inputs, targets = batches()
        with torch.no_grad():
            spikes, _ = dalton.encode(inputs, network.encoder, steps=steps)
        optimizer.zero_grad()
        outputs = loop(spikes)
        loss = (outputs - F.one_hot(targets, network.classes).to(outputs.dtype)).square().mean()
        loss.backward()
        optimizer.step()
        loss.item()  # an accelerator has finished when the number is here
        return {"weights": np.array(count), "shape": np.array(outputs.shape)}

    return train
