r"""The optimisers of Torch7's ``optim`` package: their formulas, each on one parameter in place, and the classes.

With g the gradient plus weight_decay·x (on every parameter, biases included), t the number of earlier steps
and `lr_t = lr / (1 + t lr_decay)`:

========  ============================================================================================
sgd       v ← m v + (1 − dampening) g (first step v = g), x ← x − lr_t v; dampening = m by default
nag       x ← x + m v − lr_t g, v ← m v − lr_t g; needs m > 0
rmsprop   s ← 0.99 s + 0.01 g², x ← x − lr g / (√s + 1e-8)
adam      x ← x − lr_t √(1 − β₂^{t+1})/(1 − β₁^{t+1}) m / (√v + 1e-8): eps added to the uncorrected root
adamax    u ← max(β₂ u, |g| + 1e-38), x ← x − lr/(1 − β₁^{t+1}) m / u
adagrad   s ← s + g², x ← x − lr_t g / (√s + 1e-10)
adadelta  rho 0.9, eps 1e-6, step 1, whatever lr is
rprop     steps start at 0.1 whatever lr is; factors 1.2 and 0.5; range 1e-6 … 50
asgd      decay 1e-4, power 0.75; averages after 1e6 steps
========  ============================================================================================

Original quirks under profile ``faithful``: rmsprop, adamax, adadelta, rprop and asgd ignore lr_decay, only
sgd and nag honour momentum, asgd always starts at lr 1e-4. Profile ``fixed`` refuses options without effect
(DEV-8).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from reprokit import UserError
from torch import Tensor

from bdfa.checks import choice, real

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
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        step: Number of earlier steps for the bias corrections; None for none (rmsprop).
    """
    if fused_available(x, g, mean, square):
        count = 2**24 if step is None else step + 1  # by this step the bias correction has vanished
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


DECAYING = ("sgd", "nag", "adam", "adagrad")
WITH_MOMENTUM = ("sgd", "nag")
IGNORING_LR = ("adadelta", "rprop")


class Torch7Optimizer(torch.optim.Optimizer):
    """An optimiser of Torch7.

    Args:
        parameters: Parameters or parameter groups.
        name: A key of `UPDATES`.
        lr: Learning rate, ≥ 0.
        momentum: m in 0 ≤ m < 1, for sgd and nag.
        dampening: Weight 1 − dampening of a new gradient; default m, Torch7's.
        weight_decay: L2 coefficient, ≥ 0.
        lr_decay: Decay of the rate per step, ≥ 0.

    Raises:
        UserError: For an unknown name or a value out of range.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        name: str = "sgd",
        *,
        lr: float = 1e-4,
        momentum: float = 0.0,
        dampening: float | None = None,
        weight_decay: float = 0.0,
        lr_decay: float = 0.0,
    ) -> None:
        if name not in UPDATES:
            raise UserError(f"optimiser {name!r} is unknown; choose one of {', '.join(UPDATES)}.")
        for key, value in {"lr": lr, "weight_decay": weight_decay, "lr_decay": lr_decay}.items():
            real(key, value, least=0)
        if not 0 <= real("momentum", momentum) < 1:
            raise UserError(f"momentum={momentum} is not in 0 ≤ m < 1.")
        if name == "nag" and momentum == 0:
            raise UserError("optimiser 'nag' needs momentum > 0; give for example momentum=0.9.")
        self.name, self._update = name, UPDATES[name]
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": momentum if dampening is None else dampening,
            "weight_decay": weight_decay, "lr_decay": lr_decay,
        }  # fmt: skip
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Update every parameter that has a gradient.

        Args:
            closure: Recomputes the loss with gradients enabled, optional.

        Returns:
            The closure's loss, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                step = state.get("step", 0)
                gradient = parameter.grad
                if group["weight_decay"]:
                    gradient = gradient.add(parameter, alpha=group["weight_decay"])
                decay = group["lr_decay"] if self.name in DECAYING else 0.0
                self._update(parameter, gradient, state, group, group["lr"] / (1 + step * decay), step)
                state["step"] = step + 1
        return loss


def make_optimiser(
    name: str,
    parameters: Iterable[Any],
    *,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    lr_decay: float = 0.0,
    profile: str = "fixed",
) -> Torch7Optimizer:
    """Make an optimiser by its Torch7 name.

    Args:
        name: A key of `UPDATES`.
        parameters: Parameters to train.
        lr: Learning rate; under ``faithful`` asgd takes 1e-4 instead.
        momentum: For sgd and nag.
        weight_decay: L2 coefficient.
        lr_decay: Decay of the rate per step.
        profile: ``"fixed"`` refuses momentum or lr_decay where they have no effect; ``"faithful"`` ignores
            them as the original does (DEV-8).

    Returns:
        The optimiser.

    Raises:
        UserError: For unknown names, values out of range, or options without effect under ``fixed``.
    """
    choice("profile", profile, ("fixed", "faithful"))
    parameters = list(parameters)
    if not parameters:
        raise UserError("parameters is empty; give those of a network, as model.forward_parameters().")
    if profile == "fixed":
        for option, value, users in (("momentum", momentum, WITH_MOMENTUM), ("lr_decay", lr_decay, DECAYING)):
            if value and name in UPDATES and name not in users:
                raise UserError(
                    f"{option}={value} has no effect with optimiser {name!r}; set it to 0 or use one of "
                    f"{', '.join(users)}."
                )
    elif name == "asgd":
        lr = 1e-4
    return Torch7Optimizer(
        parameters, name, lr=lr, momentum=momentum, weight_decay=weight_decay, lr_decay=lr_decay
    )
