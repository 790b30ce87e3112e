"""Joining several networks of one shape: one tensor for all, and each network's own tensor becomes a view of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from reprokit import UserError
from torch import Tensor, nn

from bdfa.rules.bfa import GenerativeFeedback
from bdfa.rules.chain import sequential_chain
from bdfa.rules.dfa import DirectFeedback
from bdfa.rules.fa import FALinear
from bdfa.rules.feedback_model import FeedbackModel
from bdfa.rules.table import Rule

SUPPORTED = ("bp", "fa", "dfa", "bdfa", "bfa", "sign-dfa", "drtp")


def adopt_parameters(parameters: Sequence[Tensor]) -> Tensor:
    """Stack parameters, shape (network, ...)."""
    joint = torch.stack([parameter.data for parameter in parameters])
    for parameter, view in zip(parameters, joint, strict=True):
        parameter.data = view
    return joint


def adopt_buffers(owners: Sequence[nn.Module], name: str, single: bool) -> Tensor:
    """Stack the buffers of one name; a single network's buffer is used as it is."""
    if single:
        return owners[0].get_buffer(name)
    joint = torch.stack([owner.get_buffer(name) for owner in owners])
    for owner, view in zip(owners, joint, strict=True):
        owner.register_buffer(name, view)
    return joint


def adopt_direct(owners: Sequence[DirectFeedback], columns: Sequence[slice], single: bool) -> Tensor:
    """Join all direct feedback, (network, class, ΣH); a single network has no first dimension."""
    joint = torch.stack([torch.cat(owner.matrices, 1) for owner in owners])
    for owner, matrix in zip(owners, joint, strict=True):
        for k, part in enumerate(columns, 1):
            owner.register_buffer(f"B{k}", matrix[:, part])
    return joint[0] if single else joint


def checked_chains(models: Sequence[FeedbackModel]) -> list[tuple[list[nn.Linear], str]]:
    """Linear layers and nonlinearity of models that the fast path can train together.

    Raises:
        UserError: For rules, networks, options or combinations that it cannot train, or the same model twice.
    """
    if not models:
        raise UserError("models is empty; give at least one FeedbackModel.")
    if len({id(model) for model in models}) < len(models):
        raise UserError("models holds a FeedbackModel twice; give each network its own.")
    chains = [_checked_chain(model) for model in models]
    shared = [_shared(model, chain) for model, chain in zip(models, chains, strict=True)]
    for index, found in enumerate(shared):
        other = [name for name, value in found.items() if value != shared[0][name]]
        if other:
            raise UserError(
                "networks trained together must have the same sizes, nonlinearity, criterion, profile, dtype "
                f"and device; network {index} differs in {', '.join(other)} from the first, train it on its own."
            )
    return chains


def _shared(model: FeedbackModel, chain: tuple[list[nn.Linear], str]) -> dict[str, object]:
    layers, activation = chain
    return {
        "sizes": [(tuple(layer.weight.shape), layer.bias is None) for layer in layers],
        "nonlinearity": activation,
        "criterion": model.criterion,
        "profile": model.profile,
        "dtype": layers[0].weight.dtype,
        "device": layers[0].weight.device,
    }


def _checked_chain(model: FeedbackModel) -> tuple[list[nn.Linear], str]:
    remedy = "train the FeedbackModel itself"
    if not isinstance(model.rule, Rule) or model.rule.name not in SUPPORTED:
        raise UserError(
            f"the fast path has no rule {model.rule.name!r}, only {', '.join(SUPPORTED)}; {remedy}."
        )
    layers, activation = sequential_chain(model.model, plain=True)
    frozen = [name for name, parameter in model.model.named_parameters() if not parameter.requires_grad]
    if frozen:
        raise UserError(f"the fast path trains every weight, but {frozen[0]} is frozen; {remedy}.")
    if getattr(model.learner or model.feedback, "manual", False):
        raise UserError(
            f"the fast path updates the feedback itself; use feedback_update='auto', or {remedy}."
        )
    if model.rule.family == "direct" and len(model.tap_names) != len(layers) - 1:
        raise UserError(
            f"the fast path taps every hidden layer, this model has taps {model.tap_names} for "
            f"{len(layers) - 1} hidden layers; wrap it with taps='auto' and an input shape or example."
        )
    if isinstance(model.feedback, GenerativeFeedback) and model.feedback.activation != activation:
        raise UserError(
            f"the fast path needs one nonlinearity in both directions, but the network has {activation} and its "
            f"feedback {model.feedback.activation}; {remedy}."
        )
    if model.rule.name == "fa" and not all(isinstance(layer, FALinear) for layer in layers[1:]):
        raise UserError("the fast path needs feedback weights in every layer but the first for rule 'fa'.")
    return layers, activation
