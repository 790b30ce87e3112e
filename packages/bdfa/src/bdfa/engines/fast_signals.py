r"""Hidden signals and feedback learning of the fast path, one class per family of rules, and which networks share them.

All tensors may have a leading network dimension. Hidden activations of all layers are stored side by side in one
buffer (n, ΣH), so the direct rules need one projection `e [B_1|…|B_L]` and one elementwise pass for all
layers. Networks of one rule with equal feedback settings form a group and are computed together.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bdfa.engines.fast_stack import adopt_buffers, adopt_direct, adopt_parameters
from bdfa.engines.fast_updates import AdaptiveUpdate, SgdUpdate, make_update, product_
from bdfa.rules.bdfa import FeedbackLearner, target_of_all, weighted_target
from bdfa.rules.bfa import GenerativeFeedback, check_sigmoid_range
from bdfa.rules.feedback_model import FeedbackModel
from bdfa.rules.table import Rule


@dataclass
class Pass:
    """Views of one step's buffers for the networks of one rule.

    Attributes:
        inputs: x, (…, n, D), possibly without the network dimension.
        hidden: All hidden activations, (…, n, ΣH).
        signals: Buffer of the hidden signals δ, (…, n, ΣH).
        output: Logits or log-probabilities, (…, n, C).
        error: Error at the logits, (…, n, C).
        broadcast: What the direct rules project, (…, n, C).
        labels: Class indices, (n,).
        columns: Columns of each hidden layer in the wide buffers.
    """

    inputs: Tensor
    hidden: Tensor
    signals: Tensor
    output: Tensor
    error: Tensor
    broadcast: Tensor
    labels: Tensor
    columns: Sequence[slice]

    def layer(self, wide: Tensor, k: int) -> Tensor:
        """Columns of hidden layer k (0 is the lowest) of a wide buffer."""
        return wide[..., self.columns[k]]


def derivative_(signal: Tensor, activation: Tensor, name: str) -> None:
    """Multiply a signal by `f'`, written with f's value, in place."""
    if name == "tanh":
        torch.ops.aten.tanh_backward.grad_input(signal, activation, grad_input=signal)
    elif name == "sigmoid":
        torch.ops.aten.sigmoid_backward.grad_input(signal, activation, grad_input=signal)
    else:
        torch.ops.aten.threshold_backward.grad_input(signal, activation, 0, grad_input=signal)


def multiply(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Matrix product into `out`; strided outputs are fine for matrices and batches."""
    if out.dim() == 2:
        torch.mm(left, right, out=out)
    else:
        product_(out, left, right, 0.0, 1.0)


class ChainSignals:
    """bp, fa and bfa: `δ_k = (δ_{k+1} M_{k+1}) ⊙ f'`, M the weights, F, or the transposed V.

    Args:
        matrices: `M_2 … M_{L+1}`, (…, out, in).
        nonlinearity: Name of f.
    """

    def __init__(self, matrices: Sequence[Tensor], nonlinearity: str) -> None:
        self.matrices, self.nonlinearity = matrices, nonlinearity

    def compute(self, step: Pass) -> None:
        """Fill the signals from the top down."""
        delta = step.error
        for k in reversed(range(len(self.matrices))):
            signal = step.layer(step.signals, k)
            multiply(delta, self.matrices[k], signal)
            derivative_(signal, step.layer(step.hidden, k), self.nonlinearity)
            delta = signal

    def learn(self, step: Pass) -> None:
        """Do nothing: no feedback learns."""


class DirectSignals:
    """dfa, sign-dfa, drtp and bdfa: one projection for all layers.

    Args:
        matrix: `[B_1|…|B_L]`, (…, C, ΣH).
        nonlinearity: Name of f.
        source: What is broadcast: ``"error"``, ``"sign"``, ``"target"``.
        scale: Factor of the target.
        learner: Feedback learning of bdfa, or None.
    """

    def __init__(
        self,
        matrix: Tensor,
        nonlinearity: str,
        source: str = "error",
        scale: float = 1.0,
        learner: FeedbackLearner | None = None,
    ) -> None:
        self.matrix, self.nonlinearity, self.source = matrix, nonlinearity, source
        self.scale, self.learner = scale, learner

    def compute(self, step: Pass) -> None:
        """Project once, multiply by f' once."""
        sent = step.broadcast
        if self.source == "sign":
            sent = sent.sign()
        elif self.source == "target":
            sent = torch.zeros_like(sent)
            index = step.labels[:, None].expand(*sent.shape[:-1], 1)
            sent.scatter_(-1, index, self.scale)
        multiply(sent, self.matrix, step.signals)
        derivative_(step.signals, step.hidden, self.nonlinearity)

    def learn(self, step: Pass) -> None:
        """Update the feedback matrices of bdfa, which `compute` has already used."""
        learner = self.learner
        if learner is None:
            return
        count, target = len(step.columns), None
        for k, columns in enumerate(step.columns):
            if target is None or learner.target == "code":
                target = target_of_all(
                    learner.target, step.output, step.labels, alpha=learner.alpha, depth=count - k,
                    probability=learner.criterion,
                )  # fmt: skip
            matrix, hidden = self.matrix[..., columns], step.layer(step.hidden, k)
            if learner.loss == "logistic":
                weighted, _ = weighted_target(target, matrix, hidden)
                product_(matrix, weighted.mT, hidden, 1.0, learner.lr)
            else:
                self._learn_mse(matrix, target, hidden, learner.lr)

    def _learn_mse(self, matrix: Tensor, target: Tensor, hidden: Tensor, lr: float) -> None:
        squashed = torch.tanh(target @ matrix)
        product_(matrix, target.mT, (squashed - hidden) * (1 - squashed * squashed), 1.0, -lr)


class GenerativeSignals(ChainSignals):
    """bfa: a chain through the transposed V, and the feedback phase that trains V.

    What the generator does depends on a sample's class alone, and its updates are sums over samples that are linear
    in γ: `dV_j = Σ_n γ_j(n) u_{j−1}(n)^T = Σ_c (Σ_{n of c} γ_j(n)) u_{j−1}(c)^T`. So batches of more samples than
    classes are computed by class, the same sums in another order.

    Args:
        generator: `V_1 … V_{L+1}`, (…, in, out).
        weights: `W_1 … W_{L+1}`, (…, out, in).
        nonlinearity: Name of f.
        update: Update of V.
        simultaneous: Whether the feedback phase uses the weights before their update.
        sigmoid: Whether the generated input goes through a sigmoid.
    """

    def __init__(
        self,
        generator: Sequence[Tensor],
        weights: Sequence[Tensor],
        nonlinearity: str,
        update: SgdUpdate | AdaptiveUpdate,
        simultaneous: bool,
        sigmoid: bool,
    ) -> None:
        super().__init__([v.mT for v in reversed(generator[:-1])], nonlinearity)
        self.generator, self.weights, self.update = generator, weights, update
        self.simultaneous, self.sigmoid = simultaneous, sigmoid
        self._in_range = not sigmoid  # whether inputs need no look at their range

    def feedback_phase(self, step: Pass) -> list[tuple[Tensor, Tensor]]:
        """Signals γ_j and activities u_{j−1} of every V_j, with the current weights.

        Returns:
            Pairs (…, rows, units) from V_1 up; rows are samples, or classes with γ summed over the samples of each.
        """
        if not self._in_range:
            check_sigmoid_range(step.inputs)
            self._in_range = True
        first = self.generator[0]
        samples, classes = len(step.labels), first.shape[-1]
        one_hot = torch.zeros(samples, classes, dtype=first.dtype, device=first.device)
        one_hot.scatter_(-1, step.labels[:, None], 1.0)
        by_class = classes < samples
        if by_class:
            activities = [torch.eye(classes, dtype=first.dtype, device=first.device)]
        else:
            activities = [one_hot.expand(*first.shape[:-2], samples, classes)]
        for v in self.generator[:-1]:
            activities.append(activate_(activities[-1] @ v.mT, self.nonlinearity))
        gamma = activities[-1] @ self.generator[-1].mT
        gamma = gamma.sigmoid_() if self.sigmoid else gamma
        if by_class:
            gamma.mul_(one_hot.sum(0)[:, None]).sub_(one_hot.mT @ step.inputs)
        else:
            gamma.sub_(step.inputs)
        pairs = [(gamma, activities[-1])]
        for j in range(len(self.generator) - 1, 0, -1):
            gamma = gamma @ self.weights[len(self.generator) - 1 - j].mT
            derivative_(gamma, activities[j], self.nonlinearity)
            pairs.append((gamma, activities[j - 1]))
        return pairs[::-1]

    def apply(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        """Update every V_j."""
        for j, (gamma, below) in enumerate(pairs):
            self.update(j, self.generator[j], None, gamma, below)
        self.update.advance()


def activate_(values: Tensor, name: str) -> Tensor:
    """Apply f in place."""
    return {"tanh": torch.tanh_, "sigmoid": torch.sigmoid_, "relu": torch.relu_}[name](values)


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
        (feedback.order, feedback.output, feedback.optimiser.defaults["lr"])
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
        sigmoid = first.feedback.output == "sigmoid"
        return GenerativeSignals(joint, weights, nonlinearity, update, simultaneous, sigmoid)
    matrix = adopt_direct([model.feedback for model in models], columns, single)  # type: ignore[misc]
    assert isinstance(first.rule, Rule)  # `checked_chains` refuses others
    return DirectSignals(matrix, nonlinearity, first.rule.source, first.target_scale, first.learner)
