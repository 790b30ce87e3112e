r"""The autograd node that replaces the error path of the direct rules.

One node sits at the output. Its inputs are the scores *and* every tapped activation, its output is the
scores; its backward takes the error `e = ∂loss/∂scores` and returns `(e, e B_1, …, e B_L)`. The blocks
between taps are cut (`bdfa.rules.taps`), so ordinary ``loss.backward()`` runs each block's own derivatives on its
own signal: one graph, no hooks, no re-entrant backward, and no input gradient is computed that a tap would
throw away.

A sign or a target does not grow with the loss, so a scale that `torch.amp.GradScaler` puts on the loss would be lost
in them and its later division would shrink the hidden layers' gradients. `follow_loss_scale` lets the scaler tell
the nodes below the loss its factor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from reprokit import UserError
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bdfa.model.criteria import one_hot
from bdfa.rules.initialisation import feedback_matrix

Learner = Callable[[Tensor, Sequence[Tensor]], None]
PREFIX = "B"


class FanIn(torch.autograd.Function):
    """Identity on the scores; hands the projected error to every tapped activation."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        source: str,
        learner: Learner | None,
        count: int,
        labels: Tensor | None,
        scores: Tensor,
        *tensors: Tensor,
    ) -> Tensor:
        """Return the scores; `tensors` are `count` activations, then their `count` matrices.

        The matrices may learn between forward and backward: backward takes them as they are then.
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


def follow_loss_scale() -> None:
    """Let `torch.amp.GradScaler.scale` hand its factor to the `FanIn` nodes below the loss; once a process."""
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

    def build(
        self, names: Sequence[str], widths: Sequence[int], classes: int, like: Tensor, **draw: Any
    ) -> None:
        """Draw one matrix per tap, unless a loaded state dict has brought them.

        Args:
            names: Tap names from the input up.
            widths: Elements per sample of each tap.
            classes: Number of class scores.
            like: Tensor whose dtype and device the matrices take.
            draw: Arguments of `bdfa.rules.initialisation.feedback_matrix`.

        Raises:
            UserError: When loaded matrices do not fit the network.
        """
        self.names = list(names)
        if self._buffers:
            self._check_loaded(widths, classes)
            return
        for k, width in enumerate(widths, 1):
            matrix = feedback_matrix(classes, width, **draw).to(like.device, like.dtype)
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
