"""Local learning of the direct feedback matrices (BDFA): plain gradient descent, inside ``backward``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from reprokit import UserError
from torch import Tensor

from bdfa.rules.targets import check_target, feedback_gradient, feedback_target


class FeedbackLearner:
    """Fits every `B_k` to its layer's activity, `B ← B − lr dB`, independent of the weights' optimiser.

    The update of a step uses the projection's old `B`, the activations at the taps and the network's output,
    all as constants, and follows the projection of the error.

    Args:
        target: Name of the target, see `bdfa.rules.targets`.
        loss: ``"logistic"`` or ``"mse"``.
        lr: Step size, ≥ 0.
        alpha: Weight of the output in the target.
        criterion: ``"bce"`` or ``"ce"``, for the probability in target ``"paper"``.
        manual: Collect gradients until `step` instead of applying them at once; with several backward passes
            per optimiser step this equals one pass over the joint batch.

    Raises:
        UserError: For an unknown target or loss, or a negative or non-finite step.
    """

    def __init__(
        self, *, target: str, loss: str, lr: float, alpha: float, criterion: str, manual: bool
    ) -> None:
        check_target(target, loss)
        if not (math.isfinite(lr) and lr >= 0):
            raise UserError(f"feedback_lr={lr} is not allowed; give a number ≥ 0.")
        if not math.isfinite(alpha):
            raise UserError(f"feedback_alpha={alpha} is not finite.")
        self.target, self.loss, self.lr, self.alpha = target, loss, lr, alpha
        self.criterion, self.manual = criterion, manual
        self._collected: list[Tensor] = []

    def bind(self, matrices: Sequence[Tensor]) -> BoundLearner:
        """Return what the autograd node calls with the output, labels and activations of its pass."""
        return BoundLearner(self, matrices)

    def gradients(
        self, matrices: Sequence[Tensor], output: Tensor, labels: Tensor, activations: Sequence[Tensor]
    ) -> list[Tensor]:
        """Gradients `dB_k` from the input up.

        Args:
            matrices: `B_k`, shape (class, unit).
            output: Network output, shape (..., class).
            labels: Class indices, flat.
            activations: `h_k` at the taps.

        Returns:
            One gradient per matrix, a sum over samples.
        """
        found = []
        flat = output.detach().reshape(-1, output.shape[-1])
        target = None
        for k, (matrix, activation) in enumerate(zip(matrices, activations, strict=True)):
            if target is None or self.target == "code":
                target = feedback_target(
                    self.target, flat.to(matrix.dtype), labels, alpha=self.alpha, depth=len(matrices) - k,
                    probability=self.criterion,
                )  # fmt: skip
            rows = activation.detach().reshape(len(flat), matrix.shape[1]).to(matrix.dtype)
            found.append(feedback_gradient(target, matrix, rows, self.loss)[0])
        return found

    @torch.no_grad()
    def learn(
        self, matrices: Sequence[Tensor], output: Tensor, labels: Tensor, activations: Sequence[Tensor]
    ) -> None:
        """Update the matrices in place, or collect their gradients when `manual`."""
        gradients = self.gradients(matrices, output, labels, activations)
        if not self.manual:
            self._apply(matrices, gradients)
        elif self._collected:
            self._collected = [old + new for old, new in zip(self._collected, gradients, strict=True)]
        else:
            self._collected = gradients

    @torch.no_grad()
    def step(self, matrices: Sequence[Tensor]) -> None:
        """Apply and forget the collected gradients."""
        if self._collected:
            self._apply(matrices, self._collected)
            self._collected = []

    def _apply(self, matrices: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        for matrix, gradient in zip(matrices, gradients, strict=True):
            matrix.add_(gradient, alpha=-self.lr)


class BoundLearner:
    """A learner together with the matrices of one forward pass."""

    def __init__(self, learner: FeedbackLearner, matrices: Sequence[Tensor]) -> None:
        self.learner, self.matrices = learner, matrices

    def __call__(self, output: Tensor, labels: Tensor, activations: Sequence[Tensor]) -> None:
        """Learn from one backward pass."""
        self.learner.learn(self.matrices, output, labels, activations)
