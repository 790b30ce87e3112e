"""Small layers on which the GPU's kernels are compared with the CPU's engines, real or interpreted."""

from dataclasses import replace
from typing import Any

import torch
from sbs import SbSLayer, sbs_pooling
from sbs.engines import gpu, kernel
from sbs.engines.call import Call
from torch import Tensor, nn

SPIKES = 70  # more than one block of 64
CASES: dict[str, dict[str, Any]] = {
    "plain": {"channels": 2, "neurons": 32, "size": (4, 4), "kernel": (3, 3)},
    "odd geometry": {
        "channels": 3, "neurons": 10, "size": (5, 4), "kernel": (3, 2), "strides": (2, 1), "dilation": (1, 2),
        "padding": (1, 1),
    },
    "many neurons": {"channels": 1, "neurons": 300, "size": (3, 3), "kernel": (2, 2)},
    "many components": {"channels": 70, "neurons": 4, "size": (1, 1), "kernel": (1, 1)},
    "epsilon per kernel": {"channels": 2, "neurons": 5, "size": (3, 3), "kernel": (2, 2), "epsilon_per_kernel": True},
    "forgetting": {"channels": 2, "neurons": 20, "size": (3, 3), "kernel": (2, 2), "forgetting_offset": 0.2},
    "pooling": {
        "channels": 5, "neurons": 5, "size": (4, 4), "kernel": (2, 2), "strides": (2, 2), "is_pooling_layer": True,
    },
    "pooling, epsilon per kernel": {
        "channels": 5, "neurons": 5, "size": (4, 4), "kernel": (2, 2), "strides": (2, 2), "is_pooling_layer": True,
        "epsilon_per_kernel": True,
    },
}  # fmt: skip


def layer_of(name: str, **changes: Any) -> tuple[SbSLayer, Tensor]:
    """Return a layer and two images, the first with an empty patch."""
    options = dict(CASES[name])
    torch.manual_seed(3)
    kernel_size = options.pop("kernel")
    layer = SbSLayer(
        options.pop("channels"), options.pop("neurons"), options.pop("size"), kernel_size,
        changes.pop("number_of_spikes", SPIKES), "power", 0.4,
        weight_noise_amplitude=2.0, **options | changes,
    )  # fmt: skip
    with torch.no_grad():
        layer.epsilon_xy.mul_(1.0 + torch.rand(layer.epsilon_xy.shape))
    image = torch.rand(2, layer.number_of_input_neurons, *layer.input_size) ** 2
    image[0, :, : kernel_size[0], : kernel_size[1]] = 0
    return layer, image


def call_of(layer: SbSLayer, **changes: Any) -> Call:
    call = Call(
        layer.geometry, layer.epsilon_t, 0.9, layer.h_initial, seed=2**63 + 12345, one_hot=layer.is_pooling_layer,
        first_position=2**32 - 5, forgetting_offset=layer.forgetting_offset,
    )  # fmt: skip
    return replace(call, **changes)


def on_cpu(layer: SbSLayer, image: Tensor, call: Call) -> tuple[Tensor, Tensor | None]:
    return kernel.infer(image, layer.weights.detach(), layer.epsilon_xy.detach(), call)


def on_gpu(layer: SbSLayer, image: Tensor, call: Call, device: str) -> tuple[Tensor, Tensor | None]:
    """Infer with the kernels on a device and bring the results back; images are handed over channels-last."""
    moved = {
        name: value.to(device)
        for name in ("epsilon_t", "h_initial", "uniform", "spikes")
        if (value := getattr(call, name)) is not None
    }
    image = image.to(device).contiguous(memory_format=torch.channels_last)
    weights, epsilon = (value.detach().to(device) for value in (layer.weights, layer.epsilon_xy))
    h, spikes = gpu.infer(image, weights, epsilon, replace(call, **moved))
    return h.cpu(), None if spikes is None else spikes.cpu()


LEARNING: dict[str, tuple[str, dict[str, Any]]] = {
    "v1": ("odd geometry", {}),
    "v2": ("plain", {"gradient": "v2"}),
    "epsilon per kernel": ("epsilon per kernel", {"gradient": "v1.1"}),
    "pooling": ("pooling", {}),
    "pooling, epsilon per kernel": ("pooling, epsilon per kernel", {}),
    "attention": ("plain", {"alpha_number_of_iterations": 2}),
    "local": ("plain", {"local_learning": True}),
    "local with a target": ("many components", {"local_learning": True}),
    "expected": ("plain", {"mode": "expected"}),
}


def learn(name: str, device: str) -> dict[str, Tensor]:
    """Return output and gradients of a layer on a device."""
    case, changes = LEARNING[name]
    layer, image = layer_of(case, **changes)
    layer = layer.to(device)
    image = image.to(device).requires_grad_()
    target = None
    if name == "local with a target":
        target = torch.eye(4)[[1, 3]].view(2, 4, 1, 1).to(device)
    h = layer(image, seed=5, target=target)
    (h * torch.linspace(-1, 2, h.numel()).view(h.shape).to(device)).sum().backward()
    found = {
        "h": h.detach(),
        "image": image.grad,
        "weights": layer._weights.grad,
        "epsilon": layer._epsilon_xy.grad,
    }
    return {key: value.cpu() for key, value in found.items() if value is not None}


def network() -> nn.Sequential:
    """Return three layers that follow one another."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"epsilon_t": "power", "epsilon_xy_initial": 0.5}
    return nn.Sequential(
        SbSLayer(1, 6, 6, 3, SPIKES, weight_noise_amplitude=3.0, **options),
        sbs_pooling(6, 4, 2, SPIKES, **options),
        SbSLayer(6, 3, 2, 2, SPIKES, weight_noise_amplitude=3.0, **options),
    )


def train(device: str) -> list[Tensor]:
    """Return the outputs and weights of two steps."""
    net = network().to(device)
    images = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(1)).to(device)
    learned = [net[0]._weights, net[2]._weights]
    optimizer = torch.optim.SGD(learned, 0.1)
    outputs = []
    torch.manual_seed(2)
    for _ in range(2):
        optimizer.zero_grad()
        h = net(images)
        (h[:, 0] ** 2).sum().backward()
        optimizer.step()
        for layer in (net[0], net[2]):
            layer.constrain_weights(1e-4)
        outputs.append(h.detach().cpu())
    return [*outputs, *(weights.detach().cpu() for weights in learned)]
