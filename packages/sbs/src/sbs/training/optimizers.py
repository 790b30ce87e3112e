"""Optimisers and learning-rate schedules.

The original's Adam, V2's multiplicative Adam for probabilities; the original's plateau rule and V1.1's smoothed
variant of it.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from reprokit import UserError
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sbs.checks import real, whole
from sbs.training.adam import Adam, Unmarked

TORCH_RATE = 1e-3


def adam(parameters: Iterable[Tensor], rate: float = -1.0) -> Adam:
    """Return torch's Adam (betas 0.9, 0.999, eps 1e-8) as in the original.

    Args:
        parameters: Parameters to optimise.
        rate: Learning rate. 0 or less, the original's default, does not switch learning off: it means torch's
            own rate, 1e-3.
    """
    real("rate", rate)
    return Adam(parameters, lr=rate if rate > 0 else TORCH_RATE)


class MultiplicativeAdam(Unmarked, Optimizer):
    """Adam that multiplies instead of adding, so positive weights stay positive.

    ``w *= 1 + tanh(-lr m / (sqrt(v) + eps)) / 2`` with m and v Adam's bias-corrected moments; the factor lies
    in 0.5 ... 1.5. A parameter group with ``multiplicative=False`` gets ordinary Adam.

    Args:
        params: Parameters or groups.
        lr: Learning rate, greater than 0.
        betas: Decay of the two moments, in [0, 1).
        eps: Added to sqrt(v).
        multiplicative: Default of the groups.

    Source: the original's V2 optimiser.
    """

    def __init__(
        self,
        params: Any,
        lr: float = TORCH_RATE,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        multiplicative: bool = True,
    ) -> None:
        real("lr", lr, above=0)
        for beta in betas:
            real("1 - beta", 1.0 - real("beta", beta, least=0), above=0)
        real("eps", eps, above=0)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "multiplicative": multiplicative})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Do one step; parameters without a gradient are left alone."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        step, (first, second) = float(state["step"]), group["betas"]
        state["exp_avg"].lerp_(grad, 1.0 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(grad, grad, value=1.0 - second)
        m = state["exp_avg"] / (1.0 - first**step)
        v = state["exp_avg_sq"] / (1.0 - second**step)
        move = m * -group["lr"] / (v.sqrt() + group["eps"])
        if group["multiplicative"]:
            parameter.mul_(1.0 + 0.5 * torch.tanh(move))
        else:
            parameter.add_(move)


def plateau(
    optimizer: Optimizer, factor: float = 0.75, patience: int = -1, eps: float = 1e-8
) -> ReduceLROnPlateau | None:
    """Return torch's ReduceLROnPlateau (mode min, threshold 1e-4), or None if the original has none.

    Args:
        optimizer: Its learning rates are multiplied by ``factor``.
        factor: In (0, 1).
        patience: Number of steps without improvement to tolerate; 0 or less, the original's default, means no
            schedule.
        eps: Smallest change of a rate; V2 uses 1e-14.
    """
    if patience <= 0:
        return None
    _check_factor(factor)
    return ReduceLROnPlateau(optimizer, factor=factor, patience=whole("patience", patience, 1), eps=eps)


class SbSLRScheduler:
    """V1.1's schedule: a plateau rule on the smoothed loss, and a rate that follows the loss down.

    The loss is divided by the largest seen so far and low-pass filtered with time constant tau, corrected for
    its start at 0. A plateau rule watches the result. In addition every step multiplies the rates by (running
    minimum of the filtered loss) / (its previous value). When the plateau rule changes a rate, all memories are
    reset.

    Args:
        optimizer: Its learning rates are changed.
        factor: Factor of the plateau rule, in (0, 1).
        patience: Patience of the plateau rule, at least 1.
        tau: Time constant in steps, greater than 0.
        eps: Smallest change of a rate by the plateau rule.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 0.75,
        patience: int = 10,
        tau: float = 10,
        eps: float = 1e-8,
    ) -> None:
        _check_factor(factor)
        self.optimizer = optimizer
        self.decay = 1.0 - 1.0 / real("tau", tau, least=1)
        self.plateau = ReduceLROnPlateau(
            optimizer, factor=factor, patience=whole("patience", patience, 1), eps=eps
        )
        self._forget()

    def _forget(self) -> None:
        self.steps = 0
        self.largest = 0.0
        self.filtered = 0.0
        self.minimum: float | None = None

    def step(self, loss: float) -> None:
        """Process one loss (or error), 0 or more."""
        loss = real("loss", loss, least=0)
        self.steps += 1
        self.largest = max(self.largest, loss)
        relative = loss / self.largest if self.largest > 0 else 0.0
        self.filtered = self.filtered * self.decay + relative * (1.0 - self.decay)
        smooth = self.filtered / (1.0 - self.decay**self.steps)
        before = self.rates()
        self.plateau.step(smooth)
        if self.rates() != before:
            self._forget()
            return
        if self.minimum is None:
            self.minimum = smooth
        elif smooth < self.minimum:
            for group in self.optimizer.param_groups:
                group["lr"] *= smooth / self.minimum
            self.minimum = smooth

    def rates(self) -> list[float]:
        """Return the learning rates of all groups."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs, as plain values."""
        own = {name: getattr(self, name) for name in ("steps", "largest", "filtered", "minimum")}
        return {**own, "plateau": self.plateau.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        for name in ("steps", "largest", "filtered", "minimum"):
            setattr(self, name, state[name])
        self.plateau.load_state_dict(state["plateau"])


def _check_factor(factor: float) -> None:
    if not 0 < real("factor", factor) < 1:
        raise UserError(f"factor is {factor!r}; it must lie between 0 and 1")
