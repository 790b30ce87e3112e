r"""Training steps of `FastMLP` on data that stay on the device: the same memory at every step, so a GPU can repeat it.

A step of small networks is dozens of small kernels, and starting them takes a GPU longer than computing them. Here the
images, the labels, the batch's indices, all buffers and the sums of errors and losses have fixed places, nothing waits
for the device, and no host number changes from step to step (Adam's bias correction is computed on the device). So
the step is recorded once as a CUDA graph and started as a whole; the host only copies the indices of the next batch.

On a CPU, or for options that cannot be recorded, the same step runs kernel by kernel. Its numbers are those of
`FastMLP.step`, the same bits for buffers of the same batch size; adam with its correction on the device is equal to
rounding (1e-12 in float64).

Memory: the images as floats, and buffers of one batch; recording keeps the intermediate results of one step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from reprokit import UserError
from torch import Tensor

from bdfa.checks import whole
from bdfa.engines.fast_step import Buffers
from bdfa.model.criteria import IGNORED, check_labels

if TYPE_CHECKING:
    from bdfa.engines.fast_mlp import FastMLP

Body = Callable[[], None]
Recorder = Callable[[Body], Body]


class ResidentStep:
    """Trains the networks of a `FastMLP` on batches of resident data, named by their indices.

    Args:
        fast: The networks; its optimiser's state and rate are used and changed.
        images: (sample, ...), on the networks' device; converted to their dtype once.
        labels: Class indices, (sample,), checked once.
        batch_size: Samples of every batch.
        note: Called in every step with the scores before the update, (…, batch, class), and the labels; it may only
            do work on the device, in place (adding up errors and losses), because it becomes a part of the graph.
        graph: Whether to use a CUDA graph; None: on a GPU, where the options allow it.

    Raises:
        UserError: Images or labels that do not fit the networks, or ``graph=True`` on a CPU or with a rate that
            changes at every step (lr_decay).

    Example:
        >>> import bdfa, torch
        >>> fast = bdfa.FastMLP(bdfa.FeedbackModel(bdfa.mlp(4, (8,), 3), "dfa", seed=1), lr=0.01)
        >>> step = bdfa.ResidentStep(fast, torch.rand(20, 4), torch.arange(20) % 3, batch_size=5)
        >>> for index in torch.randperm(20).split(5):
        ...     scores = step(index)
        >>> scores.shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        fast: FastMLP,
        images: Tensor,
        labels: Tensor,
        *,
        batch_size: int = 64,
        note: Callable[[Tensor, Tensor], None] | None = None,
        graph: bool | None = None,
    ) -> None:
        self.fast, self.note = fast, note
        first, size = fast.weights[0], whole("batch_size", batch_size, 1)
        self.images = fast.flat(images)
        if check_labels(labels, fast.weights[-1].shape[-2], self.images.shape[:-1]):
            raise UserError(
                f"labels hold {IGNORED}, and the fast path cannot leave samples out; drop these samples."
            )
        if self.images.dim() != 2 or {self.images.device, labels.device} != {first.device}:
            raise UserError(
                f"images of shape {tuple(images.shape)} are on {images.device} and labels on {labels.device}; give "
                f"(sample, ...) and (sample,) on {first.device}, the device of the networks."
            )
        self.labels = labels
        self.index = torch.zeros(size, dtype=torch.long, device=first.device)
        self.inputs = first.new_empty(size, first.shape[-1])
        self.targets = labels.new_empty(size)
        lead = () if fast.single else (len(fast.models),)
        wide, classes = fast.columns[-1].stop, fast.weights[-1].shape[-2]
        self.space = Buffers.empty(lead, size, wide, classes, first)
        self.updates = fast.updates
        self.record: Recorder | None = self._recorder(graph, first.device)
        self._graph: Body | None = None
        self._recorded: object = None
        self._warm: object = None

    def _recorder(self, graph: bool | None, device: torch.device) -> Recorder | None:
        decays = any(update.lr_decay for update in self.updates)
        if graph and device.type != "cuda":
            raise UserError(
                f"graph=True needs a CUDA device, and the networks are on {device}; leave graph out."
            )
        if graph and decays:
            raise UserError(
                "graph=True needs a rate that stays the same, and lr_decay changes it; set it to 0."
            )
        if graph is False or device.type != "cuda":
            return None
        if decays:
            _warn_once(
                "lr_decay changes the rate at every step, so the steps run without a CUDA graph (slower)."
            )
            return None
        return cuda_graph

    @torch.no_grad()
    def __call__(self, index: Tensor) -> Tensor:
        """Train on one batch.

        Args:
            index: Sample indices, int64, (batch_size,); on a GPU best a part of an order that is there already.

        Returns:
            Scores before the update, (…, batch, class): a buffer that the next step overwrites.

        Raises:
            UserError: Another number of indices.
        """
        if index.shape != self.index.shape:
            raise UserError(
                f"index has shape {tuple(index.shape)}; this step takes {len(self.index)} indices at a time, and "
                "smaller batches go to FastMLP.step."
            )
        self.index.copy_(index)
        state = self._state()
        if self.record is None:
            self._body()
        elif self._graph is not None and self._recorded == state:
            self._replay()
        elif (
            self._warm == state
        ):  # all state exists and all kernels are loaded: the same step again, recorded
            self._begin()
            counts = [update.steps for update in self.updates]
            self._graph = self.record(self._body)
            for update, count in zip(self.updates, counts, strict=True):
                update.steps = count  # recording does nothing yet
            self._recorded = state
            self._replay()
        else:
            self._graph, self._warm = None, state
            self._begin()
            self._body()
        return self.space.output

    def _state(self) -> object:
        """What is written into a graph: rates, places of the state, and whether momentum has begun."""
        return tuple((update.lr, update.generation, update.steps > 0) for update in self.updates)

    def _begin(self) -> None:
        for update in self.updates:
            update.count_on_device(self.index.device)

    def _replay(self) -> None:
        assert self._graph is not None
        self._graph()
        for update in self.updates:
            update.steps += 1

    def _body(self) -> None:
        """The step: nothing in it depends on a number of the host that changes."""
        fast = self.fast
        torch.index_select(self.images, 0, self.index, out=self.inputs)
        torch.index_select(self.labels, 0, self.index, out=self.targets)
        for update in self.updates:
            update.begin()
        fast.program.step(self.inputs, self.targets, self.space, fast.update)
        fast.update.advance()
        if self.note is not None:
            self.note(self.space.output, self.targets)


def cuda_graph(body: Body) -> Body:
    """Record the kernels of a function, without running them; returns what starts them all."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    return graph.replay


@lru_cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)
