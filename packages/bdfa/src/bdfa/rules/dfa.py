r"""The autograd node that replaces the error path of the direct rules.

One node sits at the output. Its inputs are the scores *and* every tapped activation, and its output is the
scores; its backward pass takes the error `e = ∂loss/∂scores` and returns `(e, e B_1, …, e B_L)`. The blocks
between taps are cut (`bdfa.rules.taps`), so ordinary ``loss.backward()`` runs each block's own derivatives on its
own signal: one graph, no hooks, no re-entrant backward, and no input gradient that a tap would discard is
computed.

A sign or a target does not grow with the loss. A factor that `torch.amp.GradScaler` puts on the loss would be
lost in them, and dividing by it later would shrink the hidden layers' gradients. `follow_loss_scale` passes the
factor on to the nodes below the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

import torch
from reprokit import UserError
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bdfa.model.criteria import one_hot
from bdfa.rules.initialisation import feedback_matrix
from bdfa.rules.protocol import LearningRule, Place, Seen, checked_matrix, drawn

Learner = Any  # a function of scores, labels and activations, or a `BoundRule`
PREFIX = "B"


class FanIn(torch.autograd.Function):
    """Identity on the scores; hands the projected error to every tapped activation."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        source: str | LearningRule,
        learner: Learner | None,
        count: int,
        labels: Tensor | None,
        scores: Tensor,
        *tensors: Tensor,
    ) -> Tensor:
        """Return the scores; `tensors` are `count` activations, then their `count` matrices.

        The source is a word of `bdfa.rules.table`, or a user's own rule, whose learner is a `BoundRule`. The
        matrices may learn between forward and backward: backward uses their values at that time.
        """
        ctx.source, ctx.learner, ctx.count, ctx.loss_scale = source, learner, count, None
        kept = tensors if learner is not None else tensors[count:]
        ctx.shapes = [activation.shape for activation in tensors[:count]]
        ctx.dtypes = [activation.dtype for activation in tensors[:count]]
        ctx.save_for_backward(labels, scores if learner is not None else None, *kept)
        return scores.view_as(scores)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Project the error; afterwards let a learning feedback see its activations."""
        labels, scores, *tensors = ctx.saved_tensors
        count: int = ctx.count
        if not isinstance(ctx.source, str):
            signals = ctx.learner.signals(ctx, error, labels, scores, tensors[:count], tensors[count:])
            return (None, None, None, None, error, *signals, *[None] * count)
        matrices = tensors[-count:] if count else []
        flat = error.reshape(-1, error.shape[-1])
        if ctx.source == "sign":
            flat = flat.sign()
        elif ctx.source == "target":
            if labels is None:
                raise UserError("rule 'drtp' sends the labels back; call model(inputs, labels=labels).")
            flat = one_hot(labels, flat.shape[1], flat.dtype)
        scale = None if ctx.source == "error" else ctx.loss_scale
        signals: list[Tensor | None] = [None] * count
        for k, matrix in enumerate(matrices):
            if ctx.needs_input_grad[5 + k]:
                signal = flat.to(matrix.dtype) @ matrix
                if scale is not None:
                    signal = signal * scale.to(signal.device, signal.dtype)
                signals[k] = signal.to(ctx.dtypes[k]).view(ctx.shapes[k])
        if ctx.learner is not None:
            ctx.learner(scores, labels, tensors[:count])
        return (None, None, None, None, error, *signals, *[None] * count)


class BoundRule:
    """A user's own rule together with its places in one pass.

    Args:
        rule: The rule.
        places: From the input up.
        learning: Whether this is a training pass.
    """

    def __init__(self, rule: LearningRule, places: Sequence[Place], learning: bool) -> None:
        self.rule, self.places, self.learning = rule, places, learning

    def signals(
        self,
        ctx: Any,
        error: Tensor,
        labels: Tensor | None,
        scores: Tensor,
        activations: Sequence[Tensor],
        feedback: Sequence[Tensor],
    ) -> list[Tensor | None]:
        """Return the signal of each tap, then let the rule learn.

        The rule sees the error of the unscaled loss, whatever factor `GradScaler` applied.

        Raises:
            UserError: The rule's broadcast signal or one of its matrices has the wrong shape.
        """
        rule, scale = self.rule, ctx.loss_scale
        flat = error.reshape(-1, error.shape[-1])
        if scale is not None:
            flat = flat / scale.to(flat.device, flat.dtype)
        sent = rule.broadcast(flat, labels)
        if not isinstance(sent, Tensor) or sent.shape != flat.shape:
            shape = tuple(sent.shape) if isinstance(sent, Tensor) else f"a {type(sent).__name__}"
            raise UserError(
                f"rule {rule.name!r}: broadcast returns {shape}; it must have shape {tuple(flat.shape)}."
            )
        found: list[Tensor | None] = [None] * len(self.places)
        for k, (place, own) in enumerate(zip(self.places, feedback, strict=True)):
            if ctx.needs_input_grad[5 + k]:
                matrix = checked_matrix(rule, place, own, None)
                signal = sent.to(matrix.dtype) @ matrix
                if scale is not None:
                    signal = signal * scale.to(signal.device, signal.dtype)
                found[k] = signal.to(ctx.dtypes[k]).view(ctx.shapes[k])
        if self.learning:
            output = scores.detach().reshape(-1, scores.shape[-1])
            for place, own, activity in zip(self.places, feedback, activations, strict=True):
                rows = activity.detach().reshape(len(output), place.shape[1])
                rule.learn(place, own, None, Seen(rows, sent, output, labels))
        return found


def follow_loss_scale() -> None:
    """Make `torch.amp.GradScaler.scale` pass its factor to the `FanIn` nodes below the loss; done once per process."""
    original = torch.amp.GradScaler.scale
    if hasattr(original, "followed"):
        return

    @wraps(original)
    def scale(self: Any, outputs: Any) -> Any:
        scaled = original(self, outputs)
        factor = self._scale if self.is_enabled() else None
        if factor is not None:
            for output in [outputs] if isinstance(outputs, Tensor) else list(outputs):
                _mark(output.grad_fn, factor.detach().clone())
        return scaled

    scale.followed = True  # type: ignore[attr-defined]
    torch.amp.GradScaler.scale = scale


def _mark(node: Any, factor: Tensor) -> None:
    """Note the factor at the `FanIn` nodes nearest to a loss."""
    stack, seen = [node], set()
    while stack:
        current = stack.pop()
        if current is None or current in seen:
            continue
        seen.add(current)
        if isinstance(current, FanIn._backward_cls):  # type: ignore[attr-defined]
            current.loss_scale = factor  # type: ignore[attr-defined]
        else:
            stack.extend(parent for parent, _ in current.next_functions)


def own_matrix(rule: LearningRule, place: Place, random: torch.Generator) -> Tensor:
    """Return the feedback that a user's own direct rule draws for a tap, shape (class, unit).

    Raises:
        UserError: It has the wrong shape, or there is none.
    """
    found = drawn(rule, place, random)
    if found is None or tuple(found.shape) != place.shape:
        shape = "nothing" if found is None else tuple(found.shape)
        raise UserError(
            f"rule {rule.name!r}: draw returns {shape} for {place.name}; it must have shape {place.shape}."
        )
    return found


class DirectFeedback(nn.Module):
    """The matrices `B_k` of a direct rule, shape (classes, units of tap k): buffers ``B1`` … ``BL``.

    Attributes:
        names: Names of the taps, from the input up; empty until `build`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    @property
    def matrices(self) -> list[Tensor]:
        """The matrices from the input up."""
        return list(self._buffers.values())  # type: ignore[arg-type]  # registered in this order, none else

    def places(self) -> list[Place]:
        """The taps in the form that a user's own rule receives."""
        shapes = [tuple(matrix.shape) for matrix in self.matrices]
        return [
            Place(name, k, len(shapes), shape)
            for k, (name, shape) in enumerate(zip(self.names, shapes, strict=True))
        ]

    def build(
        self,
        names: Sequence[str],
        widths: Sequence[int],
        classes: int,
        like: Tensor,
        own: LearningRule | None = None,
        **draw: Any,
    ) -> None:
        """Draw one matrix per tap, unless a loaded state dict has supplied them.

        Args:
            names: Tap names from the input up.
            widths: Elements per sample of each tap.
            classes: Number of class scores.
            like: Tensor whose dtype and device the matrices take.
            own: A user's own rule, which draws them.
            draw: Arguments of `bdfa.rules.initialisation.feedback_matrix`.

        Raises:
            UserError: When loaded matrices do not fit the network.
        """
        self.names = list(names)
        if self._buffers:
            self._check_loaded(widths, classes)
            return
        for k, (name, width) in enumerate(zip(names, widths, strict=True), 1):
            if own is None:
                matrix = feedback_matrix(classes, width, **draw)
            else:
                matrix = own_matrix(own, Place(name, k - 1, len(names), (classes, width)), draw["random"])
            matrix = matrix.detach().to(like.device, like.dtype)
            self.register_buffer(f"{PREFIX}{k}", matrix)

    def _check_loaded(self, widths: Sequence[int], classes: int) -> None:
        found = [tuple(matrix.shape) for matrix in self.matrices]
        wanted = [(classes, width) for width in widths]
        if found != wanted:
            raise UserError(
                f"the loaded feedback matrices have shapes {found}, this network needs {wanted}; load a "
                "state saved with the same network and taps."
            )

    def _load_from_state_dict(self, state_dict: Any, prefix: Any, *rest: Any) -> None:  # type: ignore[override]
        if not self._buffers:
            number = 1
            while (key := f"{prefix}{PREFIX}{number}") in state_dict:
                self.register_buffer(f"{PREFIX}{number}", torch.empty_like(state_dict[key]))
                number += 1
        super()._load_from_state_dict(state_dict, prefix, *rest)
