r"""BDFA: direct feedback whose matrices learn, inside ``backward``, to map labels to activity.

Per tap k (i = 1 for the deepest hidden layer, counting towards the input), with output `o`, one-hot `y`,
class count C and probability `ŷ`, the target `T` (samples, classes) is

=========  ==============================================================  ==================================
name       T                                                               remark
=========  ==============================================================  ==================================
code       α^i o, true class overwritten by 1                              the original program
logit      α o, true class overwritten by 1                                the same without compounding
onehot     y                                                               paper, MNIST
paper      y + α ŷ                                                         paper, CIFAR-10
center     y − 1/C                                                         recommended
=========  ==============================================================  ==================================

The feedback descends `−log σ(s)` with `s_n = <T_n B, h_n>` (``"logistic"``),

    dB = −T^T ((1 − σ(s)) ⊙_rows h),

or `½‖tanh(T B) − h‖²` (``"mse"``), `dB = T^T ((tanh(TB) − h) ⊙ (1 − tanh²(TB)))`; both are sums over the
batch. Then `B ← B − lr dB`. Non-negative targets pull all rows of B towards the mean activity, which then
drives all units together: with adaptive optimisers, onehot, paper and mse roughly double the error of dfa.
The error itself is sent down as in `dfa`. Source: Luo, Fu and Glass 2017.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import torch
from reprokit import UserError
from torch import Tensor

from bdfa.checks import choice, real, whole
from bdfa.model.criteria import IGNORED, check_labels, one_hot_of_all
from bdfa.rules.distributed import add_up

TargetName = Literal["code", "logit", "onehot", "paper", "center"]
FeedbackLoss = Literal["logistic", "mse"]
TARGETS: tuple[str, ...] = ("code", "logit", "onehot", "paper", "center")
SHARED: tuple[str, ...] = ("logit", "onehot", "paper", "center")
HARMFUL: tuple[str, ...] = ("onehot", "paper")


def check_target(target: str, loss: str) -> None:
    """Refuse unknown names of a feedback target or feedback loss.

    Raises:
        UserError: For an unknown name.
    """
    if target not in TARGETS:
        raise UserError(f"feedback target {target!r} is unknown; choose one of {', '.join(TARGETS)}.")
    if loss not in ("logistic", "mse"):
        raise UserError(f"feedback loss {loss!r} is unknown; choose 'logistic' or 'mse'.")


def warn_if_harmful(target: str, loss: str, optimiser: str) -> None:
    """Warn once when target or loss is known to hurt under an adaptive optimiser."""
    adaptive = optimiser.lower() not in ("sgd", "nag", "asgd")
    if adaptive and (target in HARMFUL or loss == "mse"):
        warnings.warn(
            f"BDFA with target={target!r}, loss={loss!r} and {optimiser} roughly doubles the error of plain "
            "dfa; target='center' or 'code' with loss='logistic' does not.",
            UserWarning,
            stacklevel=2,
        )


def feedback_target(
    name: str, output: Tensor, labels: Tensor, *, alpha: float, depth: int = 1, probability: str = "bce"
) -> Tensor:
    """Target `T` of one feedback matrix.

    Args:
        name: One of `TARGETS`.
        output: Network output `o`, shape (sample, class), with leading network dimensions if there are any.
        labels: Class indices, shape (sample,); rows of -100 are zero, so that nothing is learnt from them.
        alpha: Weight α of the output.
        depth: i, 1 for the deepest hidden layer; only used by ``"code"``.
        probability: ``"bce"`` (sigmoid) or ``"ce"`` (softmax) for the `ŷ` of ``"paper"``.

    Returns:
        Target, shape (sample, class).

    Raises:
        UserError: For an unknown name, labels that are not class indices, or numbers out of range.
    """
    check_target(name, "logistic")
    if not isinstance(output, Tensor) or not output.is_floating_point() or output.dim() < 2:
        raise UserError(
            f"output={type(output).__name__} is not allowed; give a floating-point tensor (sample, class)."
        )
    check_labels(labels, output.shape[-1], output.shape[-2:-1])
    alpha, depth = real("alpha", alpha), whole("depth", depth, 1)
    choice("probability", probability, ("bce", "ce"))
    return masked_target(name, output, labels.long(), alpha=alpha, depth=depth, probability=probability)


def masked_target(
    name: str, output: Tensor, labels: Tensor, *, alpha: float, depth: int, probability: str
) -> Tensor:
    """Target as `feedback_target`, for arguments that have been checked."""
    target = target_of_all(
        name, output, labels.clamp_min(0), alpha=alpha, depth=depth, probability=probability
    )
    return target * (labels != IGNORED).to(output.dtype).reshape(-1, 1)


def target_of_all(
    name: str, output: Tensor, labels: Tensor, *, alpha: float, depth: int, probability: str
) -> Tensor:
    """Target as `feedback_target`, for a checked name and labels without -100."""
    classes = output.shape[-1]
    if name in ("code", "logit"):
        scaled = output * (alpha**depth if name == "code" else alpha)
        return scaled.scatter_(-1, labels.reshape(-1, 1).expand(*output.shape[:-1], 1), 1.0)
    target = one_hot_of_all(labels, classes, output.dtype)
    if name == "paper":
        target = target + alpha * (
            torch.sigmoid(output) if probability == "bce" else torch.softmax(output, -1)
        )
    elif name == "center":
        target -= 1 / classes
    return target


def feedback_gradient(
    target: Tensor, matrix: Tensor, activation: Tensor, loss: str = "logistic"
) -> tuple[Tensor, Tensor]:
    """Gradient of the feedback loss with respect to one matrix, and the loss itself.

    Args:
        target: `T`, shape (sample, class).
        matrix: `B`, shape (class, unit).
        activation: `h`, shape (sample, unit).
        loss: ``"logistic"`` or ``"mse"``.

    Returns:
        (dB, shape of B, sum over the samples; mean over the samples of `1 − σ(s)` as the paper prints its
        loss, or of `½‖tanh(TB) − h‖²`).
    """
    if loss == "mse":
        squashed = torch.tanh(target @ matrix)
        difference = squashed - activation
        gradient = target.T @ (difference * (1 - squashed * squashed))
        return gradient, 0.5 * difference.square().sum(1).mean()
    weighted, remainder = weighted_target(target, matrix, activation)
    return -(weighted.mT @ activation), remainder.mean()


def weighted_target(target: Tensor, matrix: Tensor, activation: Tensor) -> tuple[Tensor, Tensor]:
    """Logistic loss: the target with each row weighted by `1 − σ(s_n)`, and these weights.

    With `s_n = <T_n B, h_n> = <T_n, h_n B^T>` and `dB = −((1 − σ(s)) ⊙_rows T)^T h` only skinny products
    touch the activations. Leading network dimensions broadcast.
    """
    scores = (target * (activation @ matrix.mT)).sum(-1)
    remainder = torch.sigmoid(scores.neg_())
    return target * remainder[..., None], remainder


class FeedbackLearner:
    """Fits every `B_k` to its layer's activity, `B ← B − lr dB`, independent of the weights' optimiser.

    The update of a step uses the projection's old `B`, the activations at the taps and the network's output,
    all as constants, and follows the projection of the error.

    Args:
        target: Name of the target, see `TARGETS`.
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
        lr, alpha = real("feedback_lr", lr, least=0), real("feedback_alpha", alpha, least=0)
        self.target, self.loss, self.lr, self.alpha = target, loss, lr, alpha
        self.criterion, self.manual = criterion, manual
        self._collected: list[Tensor] = []

    def bind(self, matrices: Sequence[Tensor], group: Any = None) -> BoundLearner:
        """Return the function that the autograd node calls with the output, labels and activations of its pass.

        Args:
            matrices: Matrices that learn.
            group: Process group whose ranks learn together, see `bdfa.rules.distributed`.
        """
        return BoundLearner(self, matrices, group)

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
        check_target(self.target, self.loss)
        found = []
        flat = output.detach().reshape(-1, output.shape[-1])
        target = None
        for k, (matrix, activation) in enumerate(zip(matrices, activations, strict=True)):
            if target is None or self.target == "code":
                target = masked_target(
                    self.target, flat.to(matrix.dtype), labels, alpha=self.alpha, depth=len(matrices) - k,
                    probability=self.criterion,
                )  # fmt: skip
            rows = activation.detach().reshape(len(flat), matrix.shape[1]).to(matrix.dtype)
            found.append(feedback_gradient(target, matrix, rows, self.loss)[0])
        return found

    @torch.no_grad()
    def learn(
        self,
        matrices: Sequence[Tensor],
        output: Tensor,
        labels: Tensor,
        activations: Sequence[Tensor],
        group: Any = None,
    ) -> None:
        """Update the matrices in place, or collect their gradients when `manual`; a `group` sums over its ranks."""
        gradients = self.gradients(matrices, output, labels, activations)
        if group is not None:
            add_up(gradients, group)
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

    def __init__(self, learner: FeedbackLearner, matrices: Sequence[Tensor], group: Any = None) -> None:
        self.learner, self.matrices, self.group = learner, matrices, group

    def __call__(self, output: Tensor, labels: Tensor, activations: Sequence[Tensor]) -> None:
        """Learn from one backward pass."""
        self.learner.learn(self.matrices, output, labels, activations, self.group)
