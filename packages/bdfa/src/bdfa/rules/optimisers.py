r"""The optimisers of Torch7's ``optim`` package, as `torch.optim.Optimizer` classes.

With g the gradient plus weight_decay·x (on every parameter, biases included), t the number of earlier steps
and `lr_t = lr / (1 + t lr_decay)`:

========  ============================================================================================
sgd       v ← m v + (1 − dampening) g (first step v = g), x ← x − lr_t v; dampening = m by default
nag       x ← x + m v − lr_t g, v ← m v − lr_t g; needs m > 0
rmsprop   s ← 0.99 s + 0.01 g², x ← x − lr g / (√s + 1e-8)
adam      x ← x − lr_t √(1 − β₂^{t+1})/(1 − β₁^{t+1}) m / (√v + 1e-8): eps beside the uncorrected root
adamax    u ← max(β₂ u, |g| + 1e-38), x ← x − lr/(1 − β₁^{t+1}) m / u
adagrad   s ← s + g², x ← x − lr_t g / (√s + 1e-10)
adadelta  rho 0.9, eps 1e-6, step 1 whatever lr is
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

from bdfa.rules.optim_updates import UPDATES

DECAYING = ("sgd", "nag", "adam", "adagrad")
WITH_MOMENTUM = ("sgd", "nag")
IGNORING_LR = ("adadelta", "rprop")


class Torch7Optimizer(torch.optim.Optimizer):
    """One optimiser of Torch7.

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
            if not (math.isfinite(value) and value >= 0):
                raise UserError(f"{key}={value} is not allowed; give a number ≥ 0.")
        if not 0 <= momentum < 1:
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
        """Move every parameter that has a gradient.

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
