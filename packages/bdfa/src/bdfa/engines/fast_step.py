r"""One training step of perceptrons computed together, on buffers that are allocated once.

With x the inputs, `h_k = f(h_{k−1} W_k^T + b_k)` and the error `e` at the logits, a `Program` fills the hidden
activations, `e`, and the signals `δ_k` of every rule (`bdfa.engines.fast_signals`), then updates every layer
(`bdfa.engines.fast_updates`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bdfa.engines.fast_signals import GenerativeSignals, Pass, Signals, activate_
from bdfa.engines.fast_updates import Update, product_
from bdfa.model.criteria import Criterion


@dataclass
class Buffers:
    """Space for one pass; the hidden layers are stored side by side.

    Attributes:
        hidden: Hidden activations, (…, n, ΣH).
        signals: Hidden signals δ, (…, n, ΣH).
        output: Logits or log-probabilities, (…, n, C).
        error: Error at the logits, (…, n, C).
    """

    hidden: Tensor
    signals: Tensor
    output: Tensor
    error: Tensor

    @classmethod
    def empty(cls, lead: tuple[int, ...], batch: int, hidden: int, classes: int, like: Tensor) -> Buffers:
        """Buffers for a batch, with the dtype and device of `like`."""
        return cls(*(like.new_empty(*lead, batch, width) for width in (hidden, hidden, classes, classes)))

    @property
    def capacity(self) -> int:
        """Largest batch."""
        return self.hidden.shape[-2]

    def rows(self, size: int) -> Buffers:
        """The rows of a batch of `size`."""
        tensors = (self.hidden, self.signals, self.output, self.error)
        return Buffers(*(tensor[..., :size, :] for tensor in tensors))


class Program:
    """The step of one network (matrices) or of several (batches of matrices).

    Args:
        weights: `W_k`, (…, out, in), from the input up.
        biases: `b_k`, (…, out), or None.
        rules: (networks, their signals), see `bdfa.engines.fast_signals`.
        columns: Columns of each hidden layer in the buffers.
        nonlinearity: Name of f.
        criterion: Loss.
        log_probabilities: Whether scores are log-probabilities and the direct rules broadcast −y (DEV-2).
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor | None],
        rules: Sequence[tuple[slice, Signals]],
        columns: Sequence[slice],
        nonlinearity: str,
        criterion: Criterion,
        log_probabilities: bool,
    ) -> None:
        self.layers = list(zip(weights, biases, strict=True))
        self.rules, self.columns, self.nonlinearity = rules, columns, nonlinearity
        self.criterion, self.log_probabilities = criterion, log_probabilities

    def forward(self, inputs: Tensor, space: Buffers) -> None:
        """Fill the hidden activations and the logits.

        Args:
            inputs: (…, n, D), possibly without the network dimension.
            space: Buffers of this batch.
        """
        below = inputs
        for k, (weight, bias) in enumerate(self.layers):
            last = k == len(self.columns)
            values = space.output if last else space.hidden[..., self.columns[k]]
            _affine(below, weight, bias, values)
            if not last:
                activate_(values, self.nonlinearity)
            below = values

    def step(self, inputs: Tensor, labels: Tensor, space: Buffers, update: Update) -> None:
        """Train on one batch; leaves the scores before the update in ``space.output``.

        Args:
            inputs: As in `forward`.
            labels: Class indices, (n,).
            space: Buffers of this batch.
            update: Updates the weights.
        """
        self.forward(inputs, space)
        sent = self._error(labels, space)
        later = []
        for part, rule in self.rules:
            view = self._pass(part, inputs, space, sent, labels)
            rule.compute(view)
            if isinstance(rule, GenerativeSignals):
                later.append((rule, view, rule.feedback_phase(view) if rule.simultaneous else None))
            else:
                rule.learn(view)
        # From the top down, so that half of the weights are still in the cache: the upper ones now, the lower
        # ones in the next forward pass.
        last = len(self.columns)
        for k in reversed(range(last + 1)):
            weight, bias = self.layers[k]
            below = space.hidden[..., self.columns[k - 1]] if k else inputs
            delta = space.error if k == last else space.signals[..., self.columns[k]]
            update(k, weight, bias, delta, below)
        for rule, view, pairs in later:
            rule.apply(pairs or rule.feedback_phase(view))

    def _pass(self, part: slice, inputs: Tensor, space: Buffers, sent: Tensor, labels: Tensor) -> Pass:
        wide = [space.hidden, space.signals, space.output, space.error, sent]
        if self.layers[0][0].dim() == 3:
            wide = [tensor[part] for tensor in wide]
            inputs = inputs[part] if inputs.dim() == 3 else inputs
        return Pass(inputs, *wide, labels=labels, columns=self.columns)

    def _error(self, labels: Tensor, space: Buffers) -> Tensor:
        """Fill in the error at the logits; returns what the direct rules broadcast."""
        output, error = space.output, space.error
        size = output.shape[-2]
        index = labels[:, None].expand(*output.shape[:-1], 1)
        if self.criterion.name == "bce":
            torch.sigmoid(output, out=error)
        else:
            if self.log_probabilities:
                output.copy_(torch.log_softmax(output, -1))
            torch.softmax(output, -1, out=error)
        error.scatter_add_(-1, index, error.new_full((), -1.0).expand_as(index))
        factor = 1 / max(size, 1) if self.criterion.averaged else 1.0
        if factor != 1.0:
            error.mul_(factor)
        if not self.log_probabilities:
            return error
        return torch.zeros_like(error).scatter_(-1, index, -factor)


def _affine(inputs: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if weight.dim() == 2:
        if bias is None:
            torch.mm(inputs, weight.T, out=out)
        else:
            torch.addmm(bias, inputs, weight.T, out=out)
        return
    product_(out, inputs, weight.mT, 0.0, 1.0)
    if bias is not None:
        out.add_(bias[:, None])
