r"""Adversarial regularisation by the fast gradient sign (original flag ``eps``).

With `g_x = ∂loss/∂x` of *true* back-propagation on the clean batch, the rule's gradients are taken at
`x' = x + eps sign(g_x)`, which is not clipped to the data's range. With `accumulate` the clean batch's
gradients are added: of back-propagation in the original, which mixes two rules (DEV-6 offers the rule's own
instead).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from reprokit import UserError
from torch import Tensor

from bdfa.checks import real
from bdfa.model.criteria import Criterion
from bdfa.model.outputs import scores_of
from bdfa.rules.fa import feedback_layers
from bdfa.rules.feedback_model import FeedbackModel


@dataclass(frozen=True)
class AdversarialPass:
    """What one adversarial step saw.

    Attributes:
        inputs: Perturbed batch x'.
        clean_scores: Scores of the clean batch.
        scores: Scores of the perturbed batch.
        clean_loss: Loss of the clean batch.
        loss: Loss of the perturbed batch, the one the original reports.
        input_gradient: `g_x`.
    """

    inputs: Tensor
    clean_scores: Tensor
    scores: Tensor
    clean_loss: Tensor
    loss: Tensor
    input_gradient: Tensor


def adversarial_backward(
    model: FeedbackModel,
    criterion: Criterion,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    accumulate: bool = False,
    clean_rule: Literal["bp", "same"] = "bp",
) -> AdversarialPass:
    """Add the gradients of one adversarial step to the parameters' ``.grad``; the caller zeroes and steps.

    Args:
        model: The wrapped network.
        criterion: Its loss.
        inputs: Batch x, floating point.
        labels: Class indices.
        eps: Size of the perturbation, ≥ 0.
        accumulate: Add the gradients of the clean batch (original ``accGradient``).
        clean_rule: Rule of the clean gradients: ``"bp"`` as in the original, or ``"same"``, the model's own rule.

    Returns:
        Both passes, detached.

    Raises:
        UserError: For a negative eps, an unknown rule, or integer inputs.
    """
    if not isinstance(model, FeedbackModel):
        raise UserError(f"model is a {type(model).__name__}; wrap the network in a bdfa.FeedbackModel.")
    real("eps", eps, least=0)
    if clean_rule not in ("bp", "same"):
        raise UserError(f"clean_rule={clean_rule!r} is unknown; choose 'bp' or 'same'.")
    if not inputs.is_floating_point():
        raise UserError(f"inputs have dtype {inputs.dtype}; adversarial steps need floating-point inputs.")
    clean = inputs.detach().clone().requires_grad_()
    with model.true_gradient(first_layer=not _first_is_stuck(model)):
        clean_scores = scores_of(model(clean))
        clean_loss = criterion(clean_scores, labels)
        if accumulate and clean_rule == "bp":
            clean_loss.backward()
            gradient = clean.grad
        else:
            (gradient,) = torch.autograd.grad(clean_loss, clean)
    assert gradient is not None
    if accumulate and clean_rule == "same":
        criterion(model(inputs, labels=labels), labels).backward()
    perturbed = inputs.detach() + eps * gradient.sign()
    scores = scores_of(model(perturbed, labels=labels))
    loss = criterion(scores, labels)
    loss.backward()
    return AdversarialPass(
        perturbed, clean_scores.detach(), scores.detach(), clean_loss.detach(), loss.detach(), gradient
    )


def _first_is_stuck(model: FeedbackModel) -> bool:
    """Whether the original would leave the first module of the container on its feedback weight."""
    first = next(model.model.named_children(), ("", None))[0]
    return model.profile == "faithful" and first in feedback_layers(model.model)
