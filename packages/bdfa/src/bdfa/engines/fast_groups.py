"""Networks of one rule and one kind of feedback learning share their products: the groups of a `FastMLP`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from bdfa.engines.fast_signals import ChainSignals, DirectSignals, GenerativeSignals
from bdfa.engines.fast_stack import adopt_buffers, adopt_direct, adopt_parameters
from bdfa.engines.fast_updates import make_update
from bdfa.rules.bfa import GenerativeFeedback
from bdfa.rules.feedback_model import FeedbackModel

Signals = ChainSignals | DirectSignals | GenerativeSignals


def signal_groups(
    models: Sequence[FeedbackModel],
    layers: Sequence[Sequence[nn.Linear]],
    weights: Sequence[Tensor],
    columns: Sequence[slice],
    nonlinearity: str,
    feedback_optimiser: str,
) -> list[tuple[slice, Signals]]:
    """Signals of consecutive networks that may share their products; the feedback becomes views of joint tensors.

    Args:
        models: The networks.
        layers: Linear layers of each, from the input up.
        weights: Joint weights per layer, (network, out, in), for one network (out, in).
        columns: Columns of each hidden layer in the wide buffers.
        nonlinearity: Name of f.
        feedback_optimiser: Optimiser of the feedback network of bfa.

    Returns:
        (networks, their signals), the networks as a slice of `models`.
    """
    groups = []
    for _, members in itertools.groupby(range(len(models)), lambda index: _kind(models[index])):
        indices = list(members)
        part = slice(indices[0], indices[-1] + 1)
        own = list(weights) if len(models) == 1 else [weight[part] for weight in weights]
        signals = _signals(models[part], layers[part], own, columns, nonlinearity, feedback_optimiser)
        groups.append((part, signals))
    return groups


def _kind(model: FeedbackModel) -> tuple[Any, ...]:
    """What networks of one group have in common."""
    learner, feedback = model.learner, model.feedback
    learning = learner and (
        learner.target, learner.loss, learner.lr, learner.alpha, learner.criterion,
    )  # fmt: skip
    generative = (
        (feedback.order, feedback.optimiser.defaults["lr"])
        if isinstance(feedback, GenerativeFeedback)
        else None
    )
    return model.rule.name, learning, generative, model.target_scale


def _signals(
    models: Sequence[FeedbackModel],
    layers: Sequence[Sequence[nn.Linear]],
    weights: list[Tensor],
    columns: Sequence[slice],
    nonlinearity: str,
    feedback_optimiser: str,
) -> Signals:
    first = models[0]
    single = weights[0].dim() == 2
    if first.rule.name == "bp":
        return ChainSignals(weights[1:], nonlinearity)
    if first.rule.name == "fa":
        matrices = [
            adopt_buffers([net[k] for net in layers], "feedback", single) for k in range(1, len(weights))
        ]
        return ChainSignals(matrices, nonlinearity)
    if isinstance(first.feedback, GenerativeFeedback):
        generators = [model.feedback.weights for model in models]  # type: ignore[union-attr]
        joint = [vs[0].data if single else adopt_parameters(vs) for vs in zip(*generators, strict=True)]
        update = make_update(feedback_optimiser, lr=first.feedback.optimiser.defaults["lr"])
        simultaneous = first.feedback.order == "simultaneous"
        return GenerativeSignals(joint, weights, nonlinearity, update, simultaneous)
    matrix = adopt_direct([model.feedback for model in models], columns, single)  # type: ignore[misc]
    return DirectSignals(matrix, nonlinearity, first.rule.source, first.target_scale, first.learner)
