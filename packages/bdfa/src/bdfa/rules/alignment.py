r"""How well a rule's gradients and feedback agree with back-propagation, layer by layer.

Angles are between flattened tensors, `arccos(<a, b> / (‖a‖ ‖b‖))` in degrees: 0 is the same direction, 90
orthogonal. A zero tensor has angle 90 to everything, and norm ratios against a zero tensor are 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from reprokit import UserError
from torch import Tensor, nn

from bdfa.checks import whole
from bdfa.model.criteria import Criterion
from bdfa.model.outputs import in_float64, scores_of
from bdfa.rules.bfa import GenerativeFeedback
from bdfa.rules.chain import sequential_chain
from bdfa.rules.dfa import DirectFeedback
from bdfa.rules.fa import feedback_layers
from bdfa.rules.feedback_model import FeedbackModel


@dataclass(frozen=True)
class LayerAlignment:
    """Agreement of one linear or convolution layer.

    Attributes:
        layer: Name of the layer.
        gradient_angle: Degrees between the rule's and the true weight gradient.
        gradient_ratio: Norm of the rule's weight gradient over that of the true one.
        signal_angle: Degrees between the rule's and the true signal at the layer's output, all samples
            together.
        feedback_angle: Degrees between the feedback that serves this layer and the forward chain it replaces:
            `B_k` against `W_{L+1} ⋯ W_{k+1}` (the mean Jacobian where the network is not a perceptron),
            `F_{k+1}` or `V_{L−k+1}^T` against `W_{k+1}`. None for the output layer and for bp.
        feedback_ratio: Norm of that feedback over that of the chain, or None.
        drift: `‖B − B_initial‖ / ‖B_initial‖` of that feedback, or None.
    """

    layer: str
    gradient_angle: float
    gradient_ratio: float
    signal_angle: float
    feedback_angle: float | None = None
    feedback_ratio: float | None = None
    drift: float | None = None


def angle(first: Tensor, second: Tensor) -> float:
    """Degrees between two tensors of one size, 0 to 180; 90 when one is zero."""
    a, b = in_float64(first).flatten(), in_float64(second).flatten()
    norms = float(a.norm() * b.norm())
    if norms == 0:
        return 90.0
    return math.degrees(math.acos(max(-1.0, min(1.0, float(a @ b) / norms))))


def ratio(first: Tensor, second: Tensor) -> float:
    """Norm of `first` over norm of `second`; 0 when `second` is zero."""
    below = float(in_float64(second).norm())
    return float(in_float64(first).norm()) / below if below else 0.0


def measure_alignment(
    model: FeedbackModel,
    inputs: Tensor,
    labels: Tensor,
    criterion: Criterion | None = None,
    initial: Sequence[Tensor] | None = None,
) -> list[LayerAlignment]:
    """Compare the rule with back-propagation on one batch, without learning or changing anything.

    Both passes run in evaluation mode (no dropout, running batch-norm statistics).

    Args:
        model: Wrapped network.
        inputs: Batch.
        labels: Class indices.
        criterion: Loss; default the model's.
        initial: Earlier `feedback_chain` feedback to measure the drift from.

    Returns:
        One entry per linear or convolution layer, from the input up.
    """
    _check_model(model)
    criterion = criterion or Criterion(model.criterion, log_probabilities=model.log_probabilities)  # type: ignore[arg-type]
    with _still(model):
        ruled, ruled_signals = _gradients(model, inputs, labels, criterion)
        with model.true_gradient():
            true, true_signals = _gradients(model, inputs, labels, criterion)
        pairs = feedback_chain(model, inputs)
    names = list(ruled)
    entries = []
    for k, name in enumerate(names):
        feedback = pairs.get(name)
        drift = None
        if feedback is not None and initial is not None:
            start = initial[list(pairs).index(name)]
            drift = ratio(feedback[0] - start, start)
        entries.append(
            LayerAlignment(
                name, angle(ruled[name], true[name]), ratio(ruled[name], true[name]),
                angle(ruled_signals[k], true_signals[k]),
                None if feedback is None else angle(*feedback),
                None if feedback is None else ratio(*feedback), drift,
            )
        )  # fmt: skip
    return entries


def feedback_chain(model: FeedbackModel, inputs: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Feedback and the forward chain it replaces, by the name of the layer it serves.

    Args:
        model: Wrapped network.
        inputs: Batch for the mean Jacobian of networks that are not perceptrons.

    Returns:
        {layer: (feedback, chain)}, both of one shape.
    """
    layers = weight_layers(model.model)
    names = list(layers)
    if isinstance(model.feedback, DirectFeedback):
        served = _layers_before_taps(model, names)
        chains = _chains(model, inputs)
        return {name: (b, c) for name, b, c in zip(served, model.feedback.matrices, chains, strict=True)}
    if isinstance(model.feedback, GenerativeFeedback):
        backward = [v.mT for v in reversed(model.feedback.weights[:-1])]
        weights = [layer.weight.detach() for layer in list(layers.values())[1:]]
        return dict(zip(names, zip(backward, weights, strict=True), strict=False))
    pairs = {}
    for below, name in itertools.pairwise(names):
        layer = feedback_layers(model.model).get(name)
        if layer is not None:
            pairs[below] = (layer.feedback_weight().detach(), layer.weight.detach())
    return pairs


def weight_layers(model: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Linear and convolution layers by name, in the order of registration."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}


def _check_model(model: object) -> None:
    if not isinstance(model, FeedbackModel):
        raise UserError(f"model is a {type(model).__name__}; wrap the network in a bdfa.FeedbackModel.")


class AlignmentMonitor:
    """Measures alignment every K training steps on a fixed batch.

    Args:
        model: Wrapped network.
        inputs: Batch to measure on.
        labels: Its labels.
        every: K, ≥ 1.
        criterion: Loss; default the model's.

    Attributes:
        rows: One dictionary per layer and measurement: ``step`` and the fields of `LayerAlignment`.

    Raises:
        UserError: For K < 1.
    """

    def __init__(
        self,
        model: FeedbackModel,
        inputs: Tensor,
        labels: Tensor,
        *,
        every: int = 1,
        criterion: Criterion | None = None,
    ) -> None:
        every = whole("every", every, 1)
        _check_model(model)
        self.model, self.inputs, self.labels = model, inputs, labels
        self.every, self.criterion = every, criterion
        self.rows: list[dict[str, Any]] = []
        with _still(model):
            model(inputs, labels=labels)
            self.initial = [feedback.clone() for feedback, _ in feedback_chain(model, inputs).values()]

    def observe(self, step: int) -> list[dict[str, Any]]:
        """Measure if `step` is a multiple of K.

        Args:
            step: Training step.

        Returns:
            The new rows; empty when `step` is not a multiple.
        """
        if whole("step", step) % self.every:
            return []
        found = measure_alignment(self.model, self.inputs, self.labels, self.criterion, self.initial)
        new = [{"step": step, **asdict(entry)} for entry in found]
        self.rows.extend(new)
        return new


def _gradients(
    model: FeedbackModel, inputs: Tensor, labels: Tensor, criterion: Criterion
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Weight gradient per layer, and the signal at each layer's output."""
    layers, outputs = weight_layers(model.model), {}

    def note(name: str) -> Any:
        return lambda _module, _inputs, output: outputs.update({name: output})

    handles = [layer.register_forward_hook(note(name)) for name, layer in layers.items()]
    try:
        loss = criterion(model(inputs, labels=labels), labels)
    finally:
        for handle in handles:
            handle.remove()
    weights = [layer.weight for layer in layers.values()]
    targets = [*weights, *(outputs[name] for name in layers)]
    found = torch.autograd.grad(loss, targets, allow_unused=True)  # type: ignore[arg-type]
    filled = [torch.zeros_like(t) if g is None else g for t, g in zip(targets, found, strict=True)]
    return dict(zip(layers, filled[: len(weights)], strict=True)), filled[len(weights) :]


def _layers_before_taps(model: FeedbackModel, names: list[str]) -> list[str]:
    """For each tap the last weight layer at or before it, by the order of registration."""
    order = [name for name, _ in model.model.named_modules()]
    served = []
    for tap in model.tap_names:
        inside = [
            n for n in names if n == tap or n.startswith(f"{tap}.") or order.index(n) <= order.index(tap)
        ]
        served.append(inside[-1])
    return served


def _chains(model: FeedbackModel, inputs: Tensor) -> list[Tensor]:
    """`W_{L+1} ⋯ W_{k+1}` for every tap of a perceptron, else mean Jacobians of the scores."""
    try:
        layers, _ = sequential_chain(model.model)
    except UserError:
        return _jacobians(model, inputs)
    if len(model.tap_names) != len(layers) - 1:
        return _jacobians(model, inputs)
    chains = [layers[-1].weight.detach()]
    for layer in reversed(layers[1:-1]):
        chains.append(chains[-1] @ layer.weight.detach())
    return chains[::-1]


def _jacobians(model: FeedbackModel, inputs: Tensor) -> list[Tensor]:
    """Mean over samples of ∂scores/∂h_k, shape (class, unit)."""
    with model.activations() as recorded:
        scores = scores_of(model(inputs))
    hidden = [recorded[name] for name in model.tap_names]
    flat = scores.reshape(-1, scores.shape[-1])
    rows = [
        torch.autograd.grad(flat[:, c].sum(), hidden, retain_graph=True, allow_unused=True)
        for c in range(flat.shape[1])
    ]
    chains = []
    for k, activation in enumerate(hidden):
        filled = [torch.zeros_like(activation) if row[k] is None else row[k] for row in rows]
        chains.append(torch.stack([row.reshape(len(flat), -1).mean(0) for row in filled]))
    return chains


@contextmanager
def _still(model: FeedbackModel) -> Iterator[None]:
    """Evaluation mode with gradients, whatever the caller's modes are; the random state is restored."""
    before = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    model.eval()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
            yield
    finally:
        for module, training in before.items():
            module.training = training
