"""What a rule adds to a network: direct feedback and its learning, layer feedback, or a feedback network."""

from __future__ import annotations

from typing import Any

from reprokit import UserError
from torch import nn

from bdfa.rules.bdfa import FeedbackLearner
from bdfa.rules.bfa import GenerativeFeedback, attach_generative_feedback
from bdfa.rules.conversion import convert
from bdfa.rules.dfa import DirectFeedback
from bdfa.rules.fa import feedback_layers
from bdfa.rules.table import Rule

BDFA_RATE, BFA_RATE = (
    5e-5,
    1e-4,
)  # steps of the learning feedback: the original's constant, and the weights' default


def attach_feedback(
    model: nn.Module,
    rule: Rule,
    *,
    criterion: str,
    profile: str,
    scale: float,
    lr: float | None,
    target: str | None,
    loss: str,
    alpha: float,
    manual: bool,
    order: str,
    feedback: GenerativeFeedback | None,
    seed: int,
) -> tuple[DirectFeedback | GenerativeFeedback | None, FeedbackLearner | None]:
    """Give a network the feedback of its rule, in place; the arguments are those of `FeedbackModel`.

    Returns:
        (feedback module or None, learner of the direct feedback or None).

    Raises:
        UserError: For an object that is no module, a network that carries feedback already or that the rule
            cannot train, or options out of range.
    """
    _check_network(model)
    if feedback is not None and rule.family != "bidirectional":
        raise UserError(f"feedback= is for rule 'bfa'; rule {rule.name!r} makes its own.")
    if rule.family == "direct":
        if not rule.learns_feedback:
            return DirectFeedback(), None
        return DirectFeedback(), FeedbackLearner(
            target=target or ("code" if profile == "faithful" else "center"), loss=loss,
            lr=BDFA_RATE if lr is None else lr, alpha=alpha, criterion=criterion, manual=manual,
        )  # fmt: skip
    if rule.family == "layer":
        faithful = profile == "faithful"
        first = faithful and _starts_with_convolution(model)
        convert(model, rule.name, scale=scale, seed=seed, first=first, copy=faithful)
    elif rule.family == "bidirectional":
        rate = BFA_RATE if lr is None else lr
        return attach_generative_feedback(
            model, feedback, seed=seed, scale=scale, order=order, lr=rate, manual=manual
        ), None
    return None, None


def _check_network(model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise UserError(f"model is a {type(model).__name__}; give a torch.nn.Module.")
    carrying = list(feedback_layers(model))
    if carrying:
        raise UserError(
            f"layer {carrying[0]!r} already carries a feedback weight; wrap a fresh copy of the network (copy.deepcopy "
            "it before the first FeedbackModel or convert)."
        )


def _starts_with_convolution(model: nn.Module) -> bool:
    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    return bool(layers) and isinstance(layers[0], nn.Conv2d)
