r"""Perceptrons as chains `W_1, f, W_2, f, …, W_{L+1}`, the form for which bfa and the fast path are defined."""

from __future__ import annotations

from collections.abc import Callable

import torch
from reprokit import UserError
from torch import Tensor, nn

from bdfa.rules.fa import FALinear
from bdfa.rules.taps import untapped_class

Function = Callable[[Tensor], Tensor]
NONLINEARITIES: dict[str, tuple[Function, Function]] = {  # class name: f, and f' as a function of f's value
    "Tanh": (torch.tanh, lambda u: 1 - u * u),
    "Sigmoid": (torch.sigmoid, lambda u: u * (1 - u)),
    "ReLU": (torch.relu, lambda u: (u > 0).to(u.dtype)),
}


def sequential_chain(model: nn.Module, plain: bool = False) -> tuple[list[nn.Linear], str]:
    """Take a sequential perceptron apart.

    Args:
        model: Nested `nn.Sequential`: linear layers with one kind of nonlinearity between each pair, and
            flatten, identity, dropout or batch-norm layers.
        plain: Refuse dropout and batch norm too (the fast path lacks them).

    Returns:
        (linear layers from the input up, class name of the hidden nonlinearity).

    Raises:
        UserError: For any other network.
    """
    user = "the fast path" if plain else "rule 'bfa'"
    remedy = "train the FeedbackModel itself" if plain else "use 'bdfa', which trains any network"
    layers: list[nn.Linear] = []
    functions: list[tuple[int, str]] = []  # linear layers below, class name
    for name, module in model.named_modules(remove_duplicate=False):
        kind = untapped_class(type(module))
        if kind is nn.Linear or kind is FALinear:
            layers.append(module)  # type: ignore[arg-type]
        elif kind.__name__ in NONLINEARITIES and kind.__module__ == "torch.nn.modules.activation":
            functions.append((len(layers), kind.__name__))
        elif not _transparent(kind, plain):
            raise UserError(
                f"{user} is defined for multi-layer perceptrons only (nn.Sequential of linear layers and one "
                f"kind of nonlinearity), but layer {name!r} is a {kind.__name__}; {remedy}."
            )
    if len({id(layer.weight) for layer in layers}) < len(layers):
        raise UserError(f"{user} needs its own weights in every layer, but a linear layer is tied; {remedy}.")
    kinds = sorted({kind for _, kind in functions})
    if len(layers) < 2 or len(kinds) != 1:
        raise UserError(
            f"{user} needs at least one hidden linear layer and exactly one kind of nonlinearity (tanh, "
            f"sigmoid or relu); the network has {len(layers)} linear layers and {kinds or 'no nonlinearity'}."
        )
    if [below for below, _ in functions] != list(range(1, len(layers))):
        raise UserError(
            f"{user} needs a {kinds[0]} after each hidden linear layer, once, and none elsewhere; the "
            f"network's {len(layers)} linear layers have them after {[below for below, _ in functions]} "
            f"layers; {remedy}."
        )
    return layers, kinds[0]


def _transparent(kind: type[nn.Module], plain: bool) -> bool:
    """Whether a layer of this class leaves the chain as it is."""
    layers = (nn.Flatten, nn.Identity) if plain else (nn.Flatten, nn.Identity, nn.Dropout, nn.BatchNorm1d)
    return issubclass(kind, layers) or (
        issubclass(kind, nn.Sequential) and kind.forward is nn.Sequential.forward
    )
