"""Checks of real passes: only the rule's signal may reach the weights that the rule trains.

The probe pass (`bdfa.rules.tap_choice`) sees the network in evaluation mode only. These checks inspect the
graph of the actual training pass for skips that exist in training only, checkpointing, and weights used outside
of their layers.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from reprokit import UserError
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction

from bdfa.model.criteria import IGNORED
from bdfa.model.outputs import Path, put, tensors
from bdfa.rules.fa import FeedbackConvolution, FeedbackLinear, feedback_layers
from bdfa.rules.tap_choice import lookups

LAYER_NODES: tuple[type, ...] = (
    FeedbackLinear._backward_cls,  # type: ignore[attr-defined]
    FeedbackConvolution._backward_cls,  # type: ignore[attr-defined]
)


def check_pieces(
    model: nn.Module, scores: Tensor, taps: dict[str, Tensor], names: Sequence[str], inputs: Sequence[Any]
) -> None:
    """Refuse a pass in which a path bypasses a tap.

    With every tap cut, the graphs below the scores and below each tap have no node in common but the input.

    Args:
        model: The network.
        scores: Its output in a pass with cut taps.
        taps: Recorded outputs of that pass.
        names: All taps, from the input up.
        inputs: Inputs of the network; how they were computed is not inspected.

    Raises:
        UserError: When a tap did not run, or two pieces share a node.
    """
    for name in names:
        if name not in taps:
            raise UserError(
                f"tap {name!r} did not run in this forward pass (a block that is skipped at random?), so the error "
                "cannot enter there; tap a layer that always runs, taps=[...]."
            )
    border = {value.grad_fn for value in inputs if isinstance(value, Tensor)}
    owned = {id(parameter): key for key, parameter in model.named_parameters()}
    looked_up = lookups(model)
    seen: set[Any] = set()
    for place, root in [("", scores), *((name, taps[name]) for name in reversed(names))]:
        piece: set[Any] = set()
        stack: list[Any] = [root.grad_fn]
        while stack:
            node = stack.pop()
            if node is None or node in piece or node in border:
                continue
            if node in seen:
                leaf = getattr(node, "variable", None)
                if leaf is not None and (id(leaf) not in owned or id(leaf) in looked_up):
                    continue
                _refuse(place, "" if leaf is None else owned[id(leaf)])
            piece.add(node)
            stack.extend(parent for parent, _ in node.next_functions)
        seen |= piece


def _refuse(tap: str, weight: str) -> None:
    if weight:
        raise UserError(
            f"weight {weight!r} is used on both sides of tap {tap!r} in this forward pass, so no single signal trains "
            "it; untie it, or use rule='bp'."
        )
    raise UserError(
        f"a path bypasses tap {tap!r} in this forward pass (a skip connection that exists in training only?), so "
        "the true gradient would leak past the feedback; tap the output of the whole block, taps=[...], or use "
        "rule='bp' or 'fa'."
    )


def check_layers(model: nn.Module, scores: Tensor) -> None:
    """Refuse weights of feedback layers that act outside of their layer, where errors travel as in back-propagation.

    Args:
        model: Network with feedback layers.
        scores: Its output, with graph.

    Raises:
        UserError: Naming the layer.
    """
    owned = {id(layer.weight): name for name, layer in feedback_layers(model).items()}
    for node in _graph(scores):
        for parent, _ in node.next_functions:
            name = owned.get(id(getattr(parent, "variable", None)))
            if name is not None and not isinstance(node, LAYER_NODES):
                raise UserError(
                    f"the weight of layer {name!r} is also used outside of it (F.linear(x, layer.weight), or a tied "
                    "weight), where errors go back as in back-propagation; call the layer itself, untie the weight, "
                    "or use rule='bp' or 'dfa'."
                )


def _graph(scores: Tensor) -> Iterator[Any]:
    """Yield every node of the graph behind a tensor once."""
    seen: set[Any] = set()
    stack: list[Any] = [scores.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        stack += [parent for parent, _ in node.next_functions]


class _Refusal(torch.autograd.Function):
    """Identity on what a network returns apart from its scores; a gradient that arrives here is refused."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, place: str) -> Tensor:  # type: ignore[override]
        """Return the tensor."""
        ctx.place = place
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, _gradient: Tensor) -> Any:  # type: ignore[override]
        """Refuse."""
        raise UserError(
            f"a loss uses {ctx.place!r} of the network's output, past the feedback of the rule, which acts on the "
            "class scores alone; compute the loss from the scores (bdfa.Criterion), or use rule='bp' or 'fa'."
        )


def hand_on(output: Any, path: Path, scores: Tensor, learning: Container[Path] = ()) -> Any:
    """The network's output with the rule's scores in it; gradients of anything else in it are refused.

    Args:
        output: The network's output.
        path: Place of the scores in it.
        scores: The scores that replace them.
        learning: Places of tensors that depend on weights; taps may have cut them off.
    """
    if not path:
        return scores
    for other, tensor in tensors(output).items():
        if other != path and (tensor.requires_grad or other in learning):
            cut = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
            output = put(output, other, _Refusal.apply(cut, ".".join(map(str, other))))
    return put(output, path, scores)


def runs_late(model: nn.Module, layer: nn.Module, scores: Tensor) -> bool:
    """Whether the error that a layer sends back through its own weights trains something below it.

    Args:
        model: The network.
        layer: A plain linear or convolution layer of it.
        scores: The network's output, with graph.
    """
    own = {id(parameter) for parameter in layer.parameters()}
    others = {id(parameter) for parameter in model.parameters()} - own
    users: dict[Any, list[Any]] = {}
    seen = list(_graph(scores))
    for node in seen:
        for parent, _ in node.next_functions:
            users.setdefault(parent, []).append(node)
    stack = [node for node in seen if getattr(node, "variable", None) is layer.weight]
    below: list[Any] = []
    while stack:  # from the weight to the product with the layer's input, past a transpose or a cast
        node = stack.pop()
        if len(node.next_functions) > 1:
            below.append(node)
        else:
            stack.extend(users.get(node, []))
    seen = set()
    while below:
        node = below.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if id(getattr(node, "variable", None)) in others:
            return True
        below.extend(parent for parent, _ in node.next_functions)
    return False


@contextmanager
def refusing_reentrant_checkpoints(model: nn.Module) -> Iterator[None]:
    """Refuse, inside the ``with`` block, layers that run within a re-entrant checkpoint.

    Its input is a cut tap without gradient, so its layers would get no gradient at all.

    Raises:
        UserError: Naming the layer.
    """

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any) -> None:
            if not torch.is_grad_enabled() and _inside_reentrant_checkpoint():
                raise UserError(
                    f"layer {name!r} runs inside a re-entrant checkpoint, which gives it no gradient under a direct "
                    "rule; pass use_reentrant=False to torch.utils.checkpoint (or "
                    "gradient_checkpointing_kwargs={'use_reentrant': False})."
                )

        return hook

    handles = [
        module.register_forward_pre_hook(watch(name))
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _inside_reentrant_checkpoint() -> bool:
    frame = sys._getframe()
    wanted = CheckpointFunction.forward.__code__
    while frame is not None:
        if frame.f_code is wanted:
            return True
        frame = frame.f_back
    return False


def check_widths(
    names: Sequence[str], activations: Sequence[Tensor], matrices: Sequence[Tensor], leading: int
) -> None:
    """Refuse a pass in which a layer's width differs from the one its feedback was drawn for."""
    for name, activation, matrix in zip(names, activations, matrices, strict=True):
        if activation.shape[leading:].numel() != matrix.shape[1]:
            raise UserError(
                f"tap {name!r} has {activation.shape[leading:].numel()} units per sample in this pass, its feedback "
                f"was drawn for {matrix.shape[1]}; pad the inputs to one length, or tap a layer of constant width, "
                "taps=[...]."
            )


def warn_of_copies(inputs: Sequence[Any], labels: Tensor) -> None:
    """Warn when the labels of a sequence are its own tokens, as Hugging Face's language models expect them."""
    kept = labels != IGNORED
    for value in inputs:
        same = isinstance(value, Tensor) and not value.is_floating_point() and value.shape == labels.shape
        if same and labels.dim() == 2 and bool(kept.any()) and bool((value == labels)[kept].all()):
            warnings.warn(
                "the labels are the inputs themselves; each score needs its own label: for next-token "
                "prediction shift them by one and put -100 where no token follows.",
                UserWarning,
                stacklevel=4,
            )
