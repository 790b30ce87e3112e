"""Small random networks and batches on which the learning rules and engines are checked."""

from __future__ import annotations

import math
import random
from typing import Any, NamedTuple

import torch
from dalton import Architecture, ConvSpec, SpikingCNN
from torch import Tensor


class Problem(NamedTuple):
    """A network, a batch of labelled inputs, and dropout multipliers."""

    net: SpikingCNN
    inputs: Tensor
    labels: Tensor
    steps: int | None
    masks: dict[str, Tensor]

    @property
    def length(self) -> int:
        return self.steps or len(self.inputs)

    def batch(self) -> tuple[Tensor, Tensor, int | None]:
        return self.inputs, self.labels, self.steps


# Two convolutions, once three, and what differs between the cases: every kind of down-sampling, reset, filter, input.
# "deep maxpool": a target that goes down through two max-pools with dropped spikes below them.
CASES: dict[str, dict[str, Any]] = {
    "avgpool": {"pool": 2},
    "maxpool": {"pool": 2, "pool_type": "max", "tau_current": 5e-3},
    "stride": {"stride": 2, "frames": True},
    "dropout": {"pool": 2, "dropout": 0.4},
    "maxpool dropout": {"pool": 2, "pool_type": "max", "dropout": 0.4},
    "no filter": {"pool": 2, "tau_current": None, "bias": 0.05},
    "soft reset": {"pool": 2, "reset": "soft", "tau_current": 2e-3},
    "deep maxpool": {
        "channels": (4, 5, 6),
        "kernels": (3, 2, 2),
        "size": (2, 26, 25),
        "pool": 2,
        "pool_type": "max",
        "dropout": 0.3,
    },
    "soft maxpool": {"pool": 2, "pool_type": "max", "reset": "soft", "frames": True, "dropout": 0.3},
}


def problem(
    seed: int = 0, dtype: torch.dtype = torch.float64, *, steps: int = 9, batch: int = 5, stride: int = 1,
    pool: int = 1, pool_type: str = "avg", dropout: float | tuple[float, ...] = 0.0, frames: bool = False,
    dense: tuple[int, ...] = (13, 7), kernels: tuple[int, ...] = (3, 2), channels: tuple[int, ...] = (4, 5),
    size: tuple[int, int, int] = (2, 13, 12), **constants: Any,
) -> Problem:  # fmt: skip
    """Return a problem whose layers all fire: weights are wider than usual and above 0 on average."""
    drops = dropout if isinstance(dropout, tuple) else (dropout,) * len(channels)
    convolutions = tuple(
        ConvSpec(number, kernel, stride, pool, drop)
        for number, kernel, drop in zip(channels, kernels, drops, strict=True)
    )
    arch = Architecture(convolutions, dense, pool_type)  # pyright: ignore[reportArgumentType]
    options = {"tau_current": 1e-3, "gain": 1.5, "seed": seed} | constants
    net = SpikingCNN(arch, size, 4, dtype=torch.float64, **options)
    with torch.no_grad():
        for layer in net.layers:
            fan_in = math.prod(layer.weight_shape[1:])
            net.weight(layer.name).mul_(2).add_(1.5 / fan_in)
    net = net.to(dtype)
    stream = torch.Generator().manual_seed(seed)
    shape = (steps, batch, *size) if frames else (batch, *size)
    inputs = torch.randint(0, 3, shape, generator=stream) if frames else torch.rand(shape, generator=stream)
    labels = torch.randint(0, 4, (batch,), generator=stream)
    return Problem(net, inputs, labels, None if frames else steps, _masks(net, steps, batch, stream))


def _masks(net: SpikingCNN, steps: int, batch: int, stream: torch.Generator) -> dict[str, Tensor]:
    masks = {}
    for layer in net.layers:
        if layer.dropout:
            keep = torch.rand((steps, batch, *layer.output_shape), generator=stream) >= layer.dropout
            masks[layer.name] = keep.to(net.dtype) / (1 - layer.dropout)
    return masks


def random_options(seed: int) -> dict[str, Any]:
    """Return random options of :func:`problem`, with channels that do not fill a vector, and odd sizes."""
    choose = random.Random(seed)
    strided = choose.random() < 0.3
    return {
        "stride": 2 if strided else 1,
        "pool": 1 if strided else choose.choice([1, 2, 2, 3]),
        "pool_type": choose.choice(["avg", "max"]),
        "dropout": choose.choice([0.0, 0.3]),
        "frames": choose.random() < 0.5,
        "kernels": (choose.choice([1, 2, 3, 5]), choose.choice([1, 2])),
        "channels": (choose.choice([1, 3, 16, 20]), choose.choice([2, 17, 33])),
        "dense": tuple(choose.choice([9, 16, 40, 130]) for _ in range(choose.choice([1, 2, 3]))),
        "size": (choose.choice([1, 2, 3]), choose.choice([17, 20, 22]), choose.choice([16, 19, 23])),
        "batch": choose.choice([1, 3, 7]),
        "steps": choose.choice([3, 5, 11]),
        "tau_current": choose.choice([None, 1e-3, 5e-3, 20e-3]),
        "reset": choose.choice(["hard", "soft"]),
        "threshold": choose.choice([1.0, 0.8]),
    }


def random_deep_options(seed: int) -> dict[str, Any]:
    """Return options of three pooled convolutions, most of them by the maximum, each with or without dropout.

    Kernels are no smaller than 2: a sum of few weights is often the same at two places of a window, apart from
    rounding.
    """
    choose = random.Random(1000 + seed)
    return random_options(seed) | {
        "stride": 1, "pool": 2, "pool_type": choose.choice(["max", "max", "avg"]),
        "channels": tuple(choose.choice([3, 5, 17]) for _ in range(3)),
        "kernels": (3, choose.choice([2, 3]), 2),
        "dropout": tuple(choose.choice([0.0, 0.3]) for _ in range(3)),
        "size": (choose.choice([1, 2]), choose.choice([26, 29]), choose.choice([24, 27])), "batch": 3, "steps": 5,
    }  # fmt: skip
