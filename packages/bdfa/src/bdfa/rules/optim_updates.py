"""The update formulas of Torch7's optimisers (table in `bdfa.rules.optimisers`), each on one parameter in place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

State = dict[str, Any]
Group = dict[str, Any]
Update = Callable[[Tensor, Tensor, State, Group, float, int], None]
EPS = 1e-8


def _state(state: State, name: str, like: Tensor, value: float = 0.0) -> Tensor:
    """State tensor by name, filled with `value` at first."""
    if name not in state:
        state[name] = torch.full_like(like, value)
    return state[name]


def _sgd(x: Tensor, g: Tensor, state: State, group: Group, lr: float, _step: int) -> None:
    momentum = group["momentum"]
    if momentum:
        if "velocity" not in state:
            state["velocity"] = g.clone()
        else:
            state["velocity"].mul_(momentum).add_(g, alpha=1 - group["dampening"])
        g = state["velocity"]
    x.add_(g, alpha=-lr)


def _nag(x: Tensor, g: Tensor, state: State, group: Group, lr: float, _step: int) -> None:
    momentum = group["momentum"]
    velocity = _state(state, "velocity", x)
    x.add_(velocity, alpha=momentum).add_(g, alpha=-lr)
    velocity.mul_(momentum).add_(g, alpha=-lr)


def adam_pass(
    x: Tensor,
    g: Tensor,
    mean: Tensor,
    square: Tensor,
    lr: float,
    beta1: float,
    beta2: float,
    step: int | None,
) -> None:
    """One Adam update with Torch7's place of eps, in a single pass over the memory where possible.

    Args:
        x: Parameter, changed in place.
        g: Gradient.
        mean: First moment, changed in place; may be `g` itself when beta1 is 0.
        square: Second moment, changed in place.
        lr: Learning rate.
        beta1: Memory of the first moment.
        beta2: Memory of the second moment.
        step: Number of earlier steps for the bias corrections; None for none (rmsprop).
    """
    if fused_available(x, g, mean, square):
        count = 2**24 if step is None else step + 1  # so late a step has no bias correction left
        eps = EPS / math.sqrt(1 - beta2**count)  # Torch7 adds eps to the uncorrected root
        torch.ops.aten._fused_adam_(
            [x], [g], [mean], [square], [], [torch.full((), float(count), device=x.device)], lr=lr,
            beta1=beta1, beta2=beta2, weight_decay=0.0, eps=eps, amsgrad=False, maximize=False,
        )  # fmt: skip
        return
    if step is not None:
        lr *= math.sqrt(1 - beta2 ** (step + 1)) / (1 - beta1 ** (step + 1))
    mean.copy_(g) if beta1 == 0 else mean.mul_(beta1).add_(g, alpha=1 - beta1)
    square.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    x.addcdiv_(mean, square.sqrt().add_(EPS), value=-lr)


def fused_available(*tensors: Tensor) -> bool:
    """Whether PyTorch's fused Adam kernel can take these tensors: contiguous floats on CPU or CUDA."""
    return hasattr(torch.ops.aten, "_fused_adam_") and all(
        t.is_contiguous() and t.dtype in (torch.float32, torch.float64) and t.device.type in ("cpu", "cuda")
        for t in tensors
    )


def _rmsprop(x: Tensor, g: Tensor, state: State, _group: Group, lr: float, _step: int) -> None:
    square = _state(state, "square", x)
    mean = g if fused_available(x, g, square) else torch.empty_like(g)
    adam_pass(x, g, mean, square, lr, 0.0, 0.99, None)


def _adam(x: Tensor, g: Tensor, state: State, _group: Group, lr: float, step: int) -> None:
    adam_pass(x, g, _state(state, "mean", x), _state(state, "square", x), lr, 0.9, 0.999, step)


def _adamax(x: Tensor, g: Tensor, state: State, _group: Group, lr: float, step: int) -> None:
    mean = _state(state, "mean", x)
    largest = _state(state, "largest", x)
    mean.mul_(0.9).add_(g, alpha=0.1)
    torch.maximum(largest.mul_(0.999), g.abs().add_(1e-38), out=largest)
    x.addcdiv_(mean, largest, value=-lr / (1 - 0.9 ** (step + 1)))


def _adagrad(x: Tensor, g: Tensor, state: State, _group: Group, lr: float, _step: int) -> None:
    square = _state(state, "square", x)
    square.addcmul_(g, g)
    x.addcdiv_(g, square.sqrt().add_(1e-10), value=-lr)


def _adadelta(x: Tensor, g: Tensor, state: State, _group: Group, _lr: float, _step: int) -> None:
    square = _state(state, "square", x)
    moved = _state(state, "moved", x)
    square.mul_(0.9).addcmul_(g, g, value=0.1)
    delta = moved.add(1e-6).sqrt_().div_(square.add(1e-6).sqrt_()).mul_(g)
    x.sub_(delta)
    moved.mul_(0.9).addcmul_(delta, delta, value=0.1)


def _rprop(x: Tensor, g: Tensor, state: State, _group: Group, _lr: float, _step: int) -> None:
    size = _state(state, "size", x, 0.1)
    last = _state(state, "last", x)
    agreement = (g * last).sign_()
    factor = torch.ones_like(x).masked_fill_(agreement > 0, 1.2).masked_fill_(agreement < 0, 0.5)
    size.mul_(factor).clamp_(1e-6, 50.0)
    g = torch.where(agreement < 0, torch.zeros_like(g), g)
    x.addcmul_(g.sign(), size, value=-1)
    last.copy_(g)


def _asgd(x: Tensor, g: Tensor, state: State, group: Group, _lr: float, step: int) -> None:
    start = group["lr"]
    eta = start / (1 + 1e-4 * start * step) ** 0.75 if step else start
    x.mul_(1 - 1e-4 * eta).add_(g, alpha=-eta)
    average = _state(state, "average", x)
    weight = 1 / max(1, step - 1e6)
    average.copy_(x) if weight == 1 else average.lerp_(x, weight)


UPDATES: dict[str, Update] = {
    "sgd": _sgd, "nag": _nag, "rmsprop": _rmsprop, "adam": _adam, "adamax": _adamax,
    "adagrad": _adagrad, "adadelta": _adadelta, "rprop": _rprop, "asgd": _asgd,
}  # fmt: skip
