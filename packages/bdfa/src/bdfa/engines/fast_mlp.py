"""Training multi-layer perceptrons without an autograd graph, one network or many of one shape at once.

The forward and backward passes are written out on buffers that are allocated once (see `bdfa.engines.fast_step`);
updates are fused (see `bdfa.engines.fast_updates`), signals share products (see `bdfa.engines.fast_signals`). R
networks (seeds, rules) of one shape become batched products. The numbers are those of `FeedbackModel` with
`make_optimiser`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from reprokit import UserError
from torch import Tensor

from bdfa.checks import real, whole
from bdfa.engines.fast_signals import GenerativeSignals, signal_groups
from bdfa.engines.fast_stack import SUPPORTED, adopt_parameters, checked_chains
from bdfa.engines.fast_step import Buffers, Program
from bdfa.engines.fast_updates import AdaptiveUpdate, SgdUpdate, make_update
from bdfa.model.criteria import IGNORED, Criterion, check_labels
from bdfa.rules.feedback_model import FeedbackModel

__all__ = ["SUPPORTED", "FastMLP"]


class FastMLP:
    """Trains wrapped multi-layer perceptrons in place, without a graph.

    The networks' weights and feedback become views of this object's tensors, so the models always show the
    trained state (``state_dict``, evaluation, alignment); do not move them to another device afterwards.

    Args:
        models: One `FeedbackModel`, or several whose networks have the same sizes; rules, seeds and feedback
            settings may differ.
        optimiser: ``"sgd"``, ``"rmsprop"`` or ``"adam"``.
        lr: Learning rate; write the attribute `lr` to change it later.
        momentum: sgd only, Torch7's.
        dampening: sgd only, default the momentum.
        weight_decay: L2 coefficient, on biases too.
        lr_decay: Decay of the rate per step, sgd and adam.
        feedback_optimiser: Optimiser of the feedback network of bfa; its rate is the model's ``feedback_lr``.
        criterion: Loss; default the models' criterion with the original's reduction.
        batch_size: Largest batch; buffers grow when a larger batch arrives.
        check: Check the labels of every batch; on a GPU this waits for the device, so check once and then
            switch it off.

    Raises:
        UserError: For networks, rules or options the fast path does not cover, or the same model twice.

    Example:
        >>> import bdfa, torch
        >>> models = [bdfa.FeedbackModel(bdfa.mlp(4, (8,), 3), rule, seed=1) for rule in ("bp", "dfa")]
        >>> fast = bdfa.FastMLP(models, lr=0.01)
        >>> fast.step(torch.zeros(2, 4), torch.tensor([0, 1])).shape
        torch.Size([2, 2, 3])
    """

    def __init__(
        self,
        models: FeedbackModel | Sequence[FeedbackModel],
        *,
        optimiser: str = "sgd",
        lr: float = 1e-4,
        momentum: float = 0.0,
        dampening: float | None = None,
        weight_decay: float = 0.0,
        lr_decay: float = 0.0,
        feedback_optimiser: str = "sgd",
        criterion: Criterion | None = None,
        batch_size: int = 64,
        check: bool = True,
    ) -> None:
        self.models = [models] if isinstance(models, FeedbackModel) else list(models)
        if criterion is not None and not isinstance(criterion, Criterion):
            raise UserError(
                f"criterion={criterion!r} is not a bdfa.Criterion; give Criterion('bce') or ('ce')."
            )
        batch_size = whole("batch_size", batch_size, 1)
        self.single = len(self.models) == 1
        self.check = check
        chains = checked_chains(self.models)
        self.nonlinearity = chains[0][1].lower()
        layers = [chain[0] for chain in chains]
        self.weights = [self._adopt([net[k].weight for net in layers]) for k in range(len(layers[0]))]
        self.biases = [
            None if layers[0][k].bias is None else self._adopt([net[k].bias for net in layers])
            for k in range(len(layers[0]))
        ]
        first = self.models[0]
        self.criterion = criterion or Criterion(first.criterion)  # type: ignore[arg-type]
        self.log_probabilities = first.log_probabilities
        self.update = make_update(
            optimiser,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            lr_decay=lr_decay,
        )
        edges = [0, *itertools.accumulate(weight.shape[-2] for weight in self.weights[:-1])]
        self.columns = [slice(a, b) for a, b in itertools.pairwise(edges)]
        self.groups = signal_groups(
            self.models, layers, self.weights, self.columns, self.nonlinearity, feedback_optimiser
        )
        self.program = Program(
            self.weights, self.biases, self.groups, self.columns, self.nonlinearity, self.criterion,
            self.log_probabilities,
        )  # fmt: skip
        self.updates: list[SgdUpdate | AdaptiveUpdate] = [
            self.update,
            *(rule.update for _, rule in self.groups if isinstance(rule, GenerativeSignals)),
        ]
        self._allocate(batch_size)

    @property
    def lr(self) -> float:
        """Learning rate of the weights."""
        return self.update.lr

    @lr.setter
    def lr(self, value: float) -> None:
        self.update.lr = real("lr", value, least=0)

    def _adopt(self, tensors: Sequence[Tensor]) -> Tensor:
        """One tensor for all networks; the networks' own tensors become views of it."""
        return tensors[0].data if self.single else adopt_parameters(tensors)

    def _allocate(self, batch: int) -> None:
        lead = () if self.single else (len(self.models),)
        wide, classes = self.columns[-1].stop, self.weights[-1].shape[-2]
        self._space = Buffers.empty(lead, batch, wide, classes, self.weights[0])

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of all networks.

        Args:
            inputs: (batch, ...) for all networks, or (network, batch, ...) with one batch each.

        Returns:
            (batch, class), or (network, batch, class); a buffer that the next call overwrites.
        """
        inputs = self.flat(inputs)
        space = self._rows(inputs)
        self.program.forward(inputs, space)
        return space.output

    __call__ = forward

    def _rows(self, inputs: Tensor) -> Buffers:
        """Buffers for a batch."""
        size = inputs.shape[-2]
        if size > self._space.capacity:
            self._allocate(size)
        return self._space.rows(size)

    @torch.no_grad()
    def step(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """One training step of all networks.

        Args:
            inputs: As in `forward`.
            labels: Class indices, (batch,).

        Returns:
            Logits before the update (log-probabilities under ``faithful`` with ce), as in `forward`.

        Raises:
            UserError: For labels of a wrong dtype, shape or range, or inputs of a wrong size.
        """
        inputs = self.flat(inputs)
        if self.check and check_labels(labels, self.weights[-1].shape[-2], (inputs.shape[-2],)):
            raise UserError(
                f"labels hold {IGNORED}, and the fast path cannot leave samples out; drop these samples, or train the "
                "FeedbackModel itself."
            )
        space = self._rows(inputs)
        for update in self.updates:
            update.begin()
        self.program.step(inputs, labels, space, self.update)
        self.update.advance()
        return space.output

    def flat(self, inputs: Tensor) -> Tensor:
        """Inputs as `forward` takes them with one dimension a sample, in the dtype of the weights."""
        if not isinstance(inputs, Tensor):
            raise UserError(f"inputs are a {type(inputs).__name__}; give a tensor (torch.from_numpy(array)).")
        width = self.weights[0].shape[-1]
        shape, networks = inputs.shape, len(self.models)
        if shape[1:].numel() == width and len(shape) > 1:
            return inputs.reshape(shape[0], width).to(self.weights[0].dtype)
        if not self.single and len(shape) > 2 and shape[0] == networks and shape[2:].numel() == width:
            return inputs.reshape(networks, shape[1], width).to(self.weights[0].dtype)
        raise UserError(
            f"inputs of shape {tuple(shape)} do not fit {networks} networks of {width} inputs; give (batch, "
            "...) or, for several networks, (network, batch, ...)."
        )

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """State of the optimisers; the weights and feedback are in the models' state dicts."""
        states = {"update": self.update.state_dict()}
        for index, (_, rule) in enumerate(self.groups):
            if isinstance(rule, GenerativeSignals):
                states[f"feedback{index}"] = rule.update.state_dict()
        return states

    def load_state_dict(self, states: dict[str, dict[str, Any]]) -> None:
        """Continue from the optimisers' state."""
        self.update.load_state_dict(states["update"])
        for index, (_, rule) in enumerate(self.groups):
            if isinstance(rule, GenerativeSignals):
                rule.update.load_state_dict(states[f"feedback{index}"])
