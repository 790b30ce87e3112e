"""Training steps of small networks, by both engines, for the tests of the framework's settings."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import dalton
import pytest
import torch
import torch.nn.utils.prune
from core_networks import Problem, problem
from dalton import Architecture, ConvSpec, SpikingCNN
from torch import Tensor

ENGINES = ("torch", "native") if dalton.kernel_available() else ("torch",)
engines = pytest.mark.parametrize("engine", ENGINES)
KINDS = [("surrgd", "bptt"), ("dalton", "bptt"), ("tfr", "bptt"), ("dalton", "online"), ("tfr", "rtrl")]
kinds = pytest.mark.parametrize(("method", "setting"), KINDS)
SMALL = Architecture((ConvSpec(2, 3),), (5,))
Make = Callable[[SpikingCNN], torch.optim.Optimizer]


def adam(net: SpikingCNN) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), lr=0.01)


def step(net: SpikingCNN, case: Problem, method: str, setting: Any, engine: Any, **options: Any) -> Any:
    return dalton.train_step(
        method, net, options.pop("optimizer", None), *case.batch(), setting, burn_in=3, dropout_masks=case.masks,
        engine=engine, **options,
    )  # fmt: skip


def trained(
    case: Problem,
    method: str,
    setting: str,
    engine: str,
    make: Make = adam,
    change: Callable[[SpikingCNN], Any] = id,
) -> dict[str, Tensor]:
    """Return the weights after two steps of a copy of the network that was changed before."""
    net = copy.deepcopy(case.net)
    change(net)
    optimizer = make(net)
    for _ in range(2):
        step(net, case, method, setting, engine, optimizer=optimizer)
    return {name: value.clone() for name, value in net.state_dict().items()}


@cache
def trained_plainly(
    seed: int, dtype: torch.dtype, method: str, setting: str, engine: str
) -> dict[str, Tensor]:
    """Return the weights after two steps of a problem's network as it is."""
    return trained(problem(seed, dtype), method, setting, engine)


@cache
def trained_by(kind: str, fused: bool, method: str, setting: str, engine: str) -> dict[str, Tensor]:
    """Return the weights after two steps by another optimizer."""
    return trained(problem(4), method, setting, engine, optimizer_of(kind, fused))


def optimizer_of(kind: str, fused: bool) -> Make:
    return lambda net: getattr(torch.optim, kind)(net.parameters(), lr=0.01, fused=fused)


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], names: Any = None) -> None:
    for name in names or wanted:
        assert torch.equal(found[name], wanted[name]), name
