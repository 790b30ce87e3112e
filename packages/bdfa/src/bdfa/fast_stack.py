"""Joining several networks of one shape: one tensor for all, of which each network's own becomes a view."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from reprokit import UserError
from torch import Tensor, nn

from bdfa.bfa import sequential_chain
from bdfa.fa_layers import FALinear
from bdfa.feedback import DirectFeedback
from bdfa.model import FeedbackModel

SUPPORTED = ("bp", "fa", "dfa", "bdfa", "bfa", "sign-dfa", "drtp")


def adopt_parameters(parameters: Sequence[Tensor]) -> Tensor:
    """Stack parameters, shape (network, ...)."""
    joint = torch.stack([parameter.data for parameter in parameters])
    for parameter, view in zip(parameters, joint, strict=True):
        parameter.data = view
    return joint


def adopt_buffers(owners: Sequence[nn.Module], name: str, single: bool) -> Tensor:
    """Stack the buffers of one name; a single network's is taken as it is."""
    if single:
        return owners[0].get_buffer(name)
    joint = torch.stack([owner.get_buffer(name) for owner in owners])
    for owner, view in zip(owners, joint, strict=True):
        owner.register_buffer(name, view)
    return joint


def adopt_direct(owners: Sequence[DirectFeedback], columns: Sequence[slice], single: bool) -> Tensor:
    """Join all direct feedback, (network, class, ΣH), without the first dimension for a single network."""
    joint = torch.stack([torch.cat(owner.matrices, 1) for owner in owners])
    for owner, matrix in zip(owners, joint, strict=True):
        for k, part in enumerate(columns, 1):
            owner.register_buffer(f"B{k}", matrix[:, part])
    return joint[0] if single else joint


def checked_chain(model: FeedbackModel, first: FeedbackModel) -> tuple[list[nn.Linear], str]:
    """Linear layers and nonlinearity of a model the fast path can train beside the first one.

    Raises:
        UserError: For rules, networks or combinations it cannot.
    """
    if model.rule.name not in SUPPORTED:
        raise UserError(
            f"the fast path has no rule {model.rule.name!r}, only {', '.join(SUPPORTED)}; train the "
            "FeedbackModel."
        )
    layers, activation = sequential_chain(model.model, plain=True)
    shapes = [tuple(layer.weight.shape) for layer in layers]
    others, other_activation = sequential_chain(first.model, plain=True)
    same = shapes == [tuple(layer.weight.shape) for layer in others] and activation == other_activation
    if not same or model.criterion != first.criterion or model.profile != first.profile:
        raise UserError(
            "networks trained together must have the same sizes, nonlinearity, criterion and profile; train "
            f"the others on their own ({shapes} differs from the first)."
        )
    if model.rule.family == "direct" and len(model.tap_names) != len(layers) - 1:
        raise UserError(
            f"the fast path taps every hidden layer, this model has taps {model.tap_names} for "
            f"{len(layers) - 1} hidden layers; wrap it with taps='auto' and an input shape or example."
        )
    if model.rule.name == "fa" and not all(isinstance(layer, FALinear) for layer in layers[1:]):
        raise UserError("the fast path needs feedback weights in every layer but the first for rule 'fa'.")
    return layers, activation
