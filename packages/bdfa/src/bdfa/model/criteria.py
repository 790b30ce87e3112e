r"""Output criteria of the original, on logits.

``bce`` is one sigmoid per class: `loss = Σ_{n,c} −y log σ(z) − (1−y) log(1−σ(z))`, error `e = σ(z) − y`.
``ce`` is softmax cross entropy: `loss = (1/N) Σ_n −log softmax(z)_{label}`, error `e = (softmax(z) − y)/N`.

The original prints the mean of the bce over all N·C entries but descends its *sum* (DEV-1: here the gradient is
that of the value, `reduction` chooses sum or mean, and `report` gives the printed number).

A label of -100 leaves its scores out, as ``ignore_index`` of PyTorch's own losses does: they have no loss and
no error, and N counts only the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from reprokit import UserError
from torch import Tensor

from bdfa.model.outputs import scores_of

CriterionName = Literal["bce", "ce"]
Reduction = Literal["sum", "mean"]
LOG_GUARD = 1e-12
IGNORED = -100  # label of scores that are left out


def check_labels(labels: Tensor, classes: int, leading: torch.Size | tuple[int, ...]) -> bool:
    """Refuse labels that are not class indices of the given scores.

    Args:
        labels: Class indices, integer, shape ``leading``.
        classes: Number of classes C; labels must lie in 0..C-1, or be -100.
        leading: Shape of the scores without the class dimension.

    Returns:
        Whether some are -100; always False under the compiler, where labels are not inspected.

    Raises:
        UserError: For a wrong dtype, shape or range.
    """
    if (
        not isinstance(labels, Tensor)
        or labels.is_floating_point()
        or labels.is_complex()
        or labels.dtype == torch.bool
    ):
        found = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise UserError(f"labels have type {found}; give an integer tensor of class indices.")
    if tuple(labels.shape) != tuple(leading):
        raise UserError(
            f"labels have shape {tuple(labels.shape)}, the scores need {tuple(leading)}: one class index for "
            "each sample."
        )
    if torch.compiler.is_compiling() or labels.numel() == 0:
        return False
    low, high = (int(bound) for bound in torch.aminmax(labels))
    ignored = low == IGNORED
    if ignored:
        low = int(torch.where(labels == IGNORED, high, labels).min())
        if high == IGNORED:
            return True
    if low < 0 or high >= classes:
        raise UserError(
            f"labels range from {low} to {high}, but the network has {classes} class scores; labels must lie "
            f"in 0..{classes - 1} (subtract the smallest label if they start at one), or be {IGNORED} where a score is "
            "to be left out."
        )
    return ignored


def one_hot(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Return the one-hot rows `y` of flattened class indices, shape (labels.numel(), classes); zeros for -100."""
    rows = torch.zeros(labels.numel(), classes, dtype=dtype, device=labels.device)
    index = labels.reshape(-1, 1).long()
    return rows.scatter_(1, index.clamp_min(0), (index != IGNORED).to(dtype))


def one_hot_of_all(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """As `one_hot`, for labels without -100: fewer passes, for the fast path."""
    rows = torch.zeros(labels.numel(), classes, dtype=dtype, device=labels.device)
    return rows.scatter_(1, labels.reshape(-1, 1).long(), 1.0)


@dataclass(frozen=True)
class Criterion:
    """A loss on class scores, callable as ``criterion(scores, labels)``.

    Attributes:
        name: ``"bce"`` or ``"ce"``.
        reduction: ``"sum"`` over samples (and, for bce, classes) or ``"mean"`` over samples. ``None`` takes
            the original's: sum for bce, mean for ce.
        log_probabilities: True when the scores are already log-softmax outputs, as in profile ``faithful``
            with ce (DEV-2).

    Raises:
        UserError: For an unknown name or reduction.
    """

    name: CriterionName = "bce"
    reduction: Reduction | None = None
    log_probabilities: bool = False

    def __post_init__(self) -> None:
        if self.name not in ("bce", "ce"):
            raise UserError(f"criterion={self.name!r} is unknown; choose 'bce' or 'ce'.")
        if self.reduction not in (None, "sum", "mean"):
            raise UserError(f"reduction={self.reduction!r} is unknown; choose 'sum' or 'mean'.")

    @property
    def averaged(self) -> bool:
        """Whether the loss is divided by the number of samples."""
        return (self.reduction or ("sum" if self.name == "bce" else "mean")) == "mean"

    def __call__(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Loss whose gradient with respect to the scores is the error that is sent back.

        Args:
            scores: Logits, shape (batch, class) or (batch, time, class), or a network's output with them in it;
                log-probabilities with ``log_probabilities``.
            labels: Class indices 0..C-1, or -100 for scores that are left out; integer, shape of the scores
                without the last dimension.

        Returns:
            Scalar loss; 0 for an empty batch, or when all are left out.

        Raises:
            UserError: For labels of a wrong dtype, shape or range.
        """
        scores = scores_of(scores)
        if not scores.is_floating_point() or scores.dim() < 2:
            raise UserError(
                f"scores are {scores.dtype} {tuple(scores.shape)}; give floating-point scores (batch, class) or "
                "(batch, time, class)."
            )
        check_labels(labels, scores.shape[-1], scores.shape[:-1])
        flat, index = scores.reshape(-1, scores.shape[-1]), labels.reshape(-1).long()
        if self.name == "bce":
            target = one_hot(index, flat.shape[1], flat.dtype)
            kept = (index != IGNORED)[:, None].to(flat.dtype)
            loss = F.binary_cross_entropy_with_logits(flat, target, weight=kept, reduction="sum")
        elif self.log_probabilities:
            loss = F.nll_loss(flat, index, reduction="sum", ignore_index=IGNORED)
        else:
            loss = F.cross_entropy(flat, index, reduction="sum", ignore_index=IGNORED)
        return loss / _count(index) if self.averaged else loss

    @torch.no_grad()
    def report(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Loss as the original prints it: bce the mean over N·C with 1e-12 in the logarithms, ce over N."""
        scores = scores_of(scores)
        check_labels(labels, scores.shape[-1], scores.shape[:-1])
        kept = labels.reshape(-1) != IGNORED
        flat = scores.reshape(-1, scores.shape[-1])[kept]
        index = labels.reshape(-1)[kept].long()
        if self.name == "ce":
            return F.nll_loss(flat, index) if self.log_probabilities else F.cross_entropy(flat, index)
        target, probability = one_hot(index, flat.shape[1], flat.dtype), torch.sigmoid(flat)
        right = target * torch.log(probability + LOG_GUARD)
        return -(right + (1 - target) * torch.log(1 - probability + LOG_GUARD)).mean()

    def error(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Error `e = ∂loss/∂scores` in closed form, shape of the scores."""
        check_labels(labels, scores.shape[-1], scores.shape[:-1])
        flat, index = scores.reshape(-1, scores.shape[-1]), labels.reshape(-1)
        target = one_hot(index, flat.shape[1], flat.dtype)
        if self.log_probabilities:
            error = -target
        else:
            error = (self.probability(flat) - target) * (index != IGNORED)[:, None]
        return (error / _count(index) if self.averaged else error).view_as(scores)

    def probability(self, scores: Tensor) -> Tensor:
        """Class probabilities: sigmoid of the scores for bce, softmax for ce."""
        return torch.sigmoid(scores) if self.name == "bce" else torch.softmax(scores, -1)


def _count(labels: Tensor) -> Tensor:
    """Number of samples that are not left out, at least 1."""
    return (labels != IGNORED).sum().clamp_min(1)
