"""Optimisers: the original's two Adams, and V2's multiplicative Adam for probabilities."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from sbs.checks import real

TORCH_RATE = 1e-3


def adam(parameters: Iterable[Tensor], rate: float = -1.0) -> Adam:
    """Return torch's Adam (betas 0.9, 0.999, eps 1e-8) the way the original makes it.

    Args:
        parameters: What to optimise.
        rate: Learning rate. 0 or less, the original's default, does not switch learning off: it means torch's
            own rate, 1e-3.
    """
    real("rate", rate)
    return Adam(parameters, lr=rate if rate > 0 else TORCH_RATE)


class MultiplicativeAdam(Optimizer):
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
