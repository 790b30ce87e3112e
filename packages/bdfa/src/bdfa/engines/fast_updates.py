r"""Weight updates of the fast path, each in as few passes over the memory as possible.

sgd folds the update into the weight-gradient product, `W ← (1 − lr wd) W − lr δ^T h`, which takes a single
GEMM. rmsprop and adam write the gradient once and apply it in one fused pass (PyTorch's fused Adam kernel;
rmsprop is Adam with β₁ = 0 and no bias correction). For several large networks on a CPU, each gradient is
applied while it is in the cache, before the next is computed. The numbers are those of `bdfa.rules.optimisers`.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from reprokit import UserError
from torch import Tensor

from bdfa.checks import real
from bdfa.rules.optimisers import EPS, adam_pass

ONE_BY_ONE = (
    2**19
)  # elements of one network's gradient (two megabytes in float32); larger ones are applied this way


class Update(Protocol):
    """Updates one affine layer, given its signal and its input."""

    lr: float

    def __call__(self, key: int, weight: Tensor, bias: Tensor | None, delta: Tensor, inputs: Tensor) -> None:
        """Update layer `key`: weight (…, out, in), bias (…, out), delta (…, n, out), inputs (…, n, in)."""
        ...

    def begin(self) -> None:
        """Note that a step begins."""
        ...

    def advance(self) -> None:
        """Note that all layers have been updated once."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """State needed to continue, tensors by name."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        ...


def product_(out: Tensor, left: Tensor, right: Tensor, beta: float, alpha: float) -> None:
    """Compute `out ← beta·out + alpha·left @ right` in place, for matrices or batches of them."""
    if out.dim() == 2:
        out.addmm_(left, right, beta=beta, alpha=alpha)
    else:
        left = left.expand(out.shape[0], *left.shape[-2:])
        right = right.expand(out.shape[0], *right.shape[-2:])
        out.baddbmm_(left, right, beta=beta, alpha=alpha)


class _Stateful:
    """Learning rate, decay, step count and the state tensors of an update."""

    def __init__(self, lr: float, weight_decay: float, lr_decay: float) -> None:
        self.lr, self.weight_decay, self.lr_decay = lr, weight_decay, lr_decay
        self.steps = 0
        self.generation = 0  # grows when the tensors are replaced
        self.tensors: dict[str, Tensor] = {}

    @property
    def rate(self) -> float:
        """Learning rate of the current step."""
        return self.lr / (1 + self.steps * self.lr_decay)

    def tensor(self, name: str, like: Tensor) -> Tensor:
        """State tensor by name, zeros at first."""
        if name not in self.tensors:
            self.tensors[name] = torch.zeros_like(like)
        return self.tensors[name]

    def advance(self) -> None:
        """Count a step."""
        self.steps += 1

    def begin(self) -> None:
        """Begin a step: update what depends on the step count on the device, see `count_on_device`."""

    def count_on_device(self, device: torch.device) -> None:
        """Keep a step count on the device from now on, equal to `steps`, so that a step can be repeated unchanged."""

    def state_dict(self) -> dict[str, Any]:
        """Step count and tensors."""
        return {"steps": self.steps, "lr": self.lr, **self.tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over step count and tensors."""
        self.steps, self.lr = int(state["steps"]), float(state["lr"])
        self.tensors = {key: value.clone() for key, value in state.items() if key not in ("steps", "lr")}
        self.generation += 1


class SgdUpdate(_Stateful):
    """Stochastic gradient descent, with or without Torch7's momentum.

    Args:
        lr: Learning rate.
        weight_decay: L2 coefficient.
        lr_decay: Decay of the rate per step.
        momentum: m; the velocity is `m v + (1 − dampening) g`, at first g.
        dampening: Default m.
    """

    def __init__(
        self, lr: float, weight_decay: float, lr_decay: float, momentum: float, dampening: float | None
    ) -> None:
        super().__init__(lr, weight_decay, lr_decay)
        self.momentum = momentum
        self.gain = 1 - (momentum if dampening is None else dampening)

    def __call__(self, key: int, weight: Tensor, bias: Tensor | None, delta: Tensor, inputs: Tensor) -> None:
        """Update one layer."""
        rate, decay = self.rate, self.weight_decay
        if not self.momentum:
            product_(weight, delta.mT, inputs, 1 - rate * decay, -rate)
            if bias is not None:
                bias.mul_(1 - rate * decay) if decay else None
                bias.sub_(delta.sum(-2), alpha=rate)
            return
        kept, gain = (self.momentum, self.gain) if self.steps else (0.0, 1.0)
        velocity = self.tensor(f"velocity.W{key}", weight)
        product_(velocity, delta.mT, inputs, kept, gain)
        pairs = [(weight, velocity)]
        if bias is not None:
            small = self.tensor(f"velocity.b{key}", bias)
            small.mul_(kept).add_(delta.sum(-2), alpha=gain)
            pairs.append((bias, small))
        for parameter, moved in pairs:
            if decay:
                moved.add_(parameter, alpha=gain * decay)
            parameter.add_(moved, alpha=-rate)


class AdaptiveUpdate(_Stateful):
    """RMSprop or Adam as in Torch7, one fused pass per layer.

    Args:
        lr: Learning rate.
        weight_decay: L2 coefficient.
        lr_decay: Decay of the rate per step (adam only).
        adam: True for adam, False for rmsprop.
    """

    def __init__(self, lr: float, weight_decay: float, lr_decay: float, adam: bool) -> None:
        super().__init__(lr, weight_decay, lr_decay if adam else 0.0)
        self.adam = adam
        self.space: Tensor | None = None
        self.count: Tensor | None = None
        self.corrected: Tensor | None = None

    def count_on_device(self, device: torch.device) -> None:
        """Compute adam's bias correction on the device from now on."""
        if self.adam and self.count is None:
            self.count = torch.full((), float(self.steps), dtype=torch.float64, device=device)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over step count and tensors."""
        super().load_state_dict(state)
        if self.count is not None:
            self.count.fill_(self.steps)

    def begin(self) -> None:
        """Compute the rate of this step, `lr √(1 − β₂^t) / (1 − β₁^t)`, from the count on the device."""
        if self.count is not None:
            self.count.add_(1)
            self.corrected = self.lr * torch.sqrt(1 - 0.999**self.count) / (1 - 0.9**self.count)

    def __call__(self, key: int, weight: Tensor, bias: Tensor | None, delta: Tensor, inputs: Tensor) -> None:
        """Update one layer."""
        square, mean = self._moments(f"W{key}", weight)
        if weight.dim() == 3 and weight.device.type == "cpu" and weight[0].numel() >= ONE_BY_ONE:
            gradient = self._buffer(weight[0])
            for r, signal in enumerate(delta):
                below = inputs if inputs.dim() == 2 else inputs[r]
                torch.mm(signal.T, below, out=gradient)
                self._move(weight[r], gradient, square[r], None if mean is None else mean[r])
        else:
            gradient = self._buffer(weight)
            product_(gradient, delta.mT, inputs, 0.0, 1.0)
            self._move(weight, gradient, square, mean)
        if bias is not None:
            small = torch.sum(delta, -2, out=self._buffer(bias))
            self._move(bias, small, *self._moments(f"b{key}", bias))

    def _moments(self, name: str, like: Tensor) -> tuple[Tensor, Tensor | None]:
        square = self.tensor(f"square.{name}", like)
        return square, self.tensor(f"mean.{name}", like) if self.adam else None

    def _move(self, parameter: Tensor, gradient: Tensor, square: Tensor, mean: Tensor | None) -> None:
        if self.weight_decay:
            gradient.add_(parameter, alpha=self.weight_decay)
        if mean is None:
            adam_pass(parameter, gradient, gradient, square, self.rate, 0.0, 0.99, None)
        elif self.corrected is not None:
            mean.mul_(0.9).add_(gradient, alpha=0.1)
            square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            torch.sqrt(square, out=gradient)
            torch.div(mean, gradient.add_(EPS), out=gradient)
            parameter.sub_(gradient.mul_(self.corrected))
        else:
            adam_pass(parameter, gradient, mean, square, self.rate, 0.9, 0.999, self.steps)

    def _buffer(self, like: Tensor) -> Tensor:
        """Space for one gradient; all layers share it, so it stays in the cache."""
        if self.space is None or self.space.numel() < like.numel():
            self.space = torch.empty(like.numel(), dtype=like.dtype, device=like.device)
        return self.space[: like.numel()].view(like.shape)


def make_update(
    name: str,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float | None = None,
    weight_decay: float = 0.0,
    lr_decay: float = 0.0,
) -> SgdUpdate | AdaptiveUpdate:
    """Make the update of an optimiser.

    Raises:
        UserError: For an optimiser the fast path does not have, or values out of range.
    """
    values = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "lr_decay": lr_decay}
    for key, value in values.items():
        real(key, value, least=0)
    if momentum >= 1:
        raise UserError(f"momentum={momentum} is not in 0 ≤ m < 1.")
    if name == "sgd":
        return SgdUpdate(lr, weight_decay, lr_decay, momentum, dampening)
    if name not in ("rmsprop", "adam"):
        raise UserError(
            f"the fast path has the optimisers sgd, rmsprop and adam, not {name!r}; train the FeedbackModel "
            "itself with bdfa.make_optimiser."
        )
    if momentum or (lr_decay and name == "rmsprop"):
        raise UserError(
            f"momentum and, for rmsprop, lr_decay have no effect with optimiser {name!r}; set them to 0."
        )
    return AdaptiveUpdate(lr, weight_decay, lr_decay, name == "adam")
