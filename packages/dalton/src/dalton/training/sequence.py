"""A batch as a whole sequence (bptt, prediction): layer by layer over all time-steps, in blocks of samples.

Samples do not interact, so blocks of them can be processed one after another, or in parallel by threads, and
their gradients are added in a fixed order. With the compiled engine, results do not depend on the number of
threads to the last bit (bptt, online, prediction; prediction does not depend on the batch size either). Where
torch divides sums among its threads, in its own engine on one block and in the traces of rtrl, results agree up to
rounding.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup, all_reduce, get_world_size, is_initialized

from dalton.checks import check_finite
from dalton.engines.interface import BoundLayer, Engine
from dalton.model.dropout import DropoutMask, SampleDropout
from dalton.model.network import SpikingCNN
from dalton.names import Loss
from dalton.rules.protocol import LearningRule, checked_pass
from dalton.rules.workspace import Pass, Recorder


@dataclass
class Job:
    """A checked training step: see :func:`dalton.train_step`; without `optimizer` the weights stay as they are.

    `group`: processes over which gradients are averaged.
    """

    rule: LearningRule
    network: SpikingCNN
    optimizer: torch.optim.Optimizer | None
    inputs: Tensor
    labels: Tensor
    steps: int
    frames: bool
    loss: Loss
    masks: dict[str, DropoutMask] | None
    generator: torch.Generator | None
    engine: Engine
    transfer_masks: bool
    recorder: Recorder
    group: ProcessGroup | None = None

    def bound_layers(self) -> list[BoundLayer]:
        """Return the layers bound to their current weights."""
        return [self.engine.bind(x, self.network.weight(x.name).detach()) for x in self.network.layers]


@dataclass
class Outcome:
    """Loss, losses by layer, class outputs and spike counts of a batch."""

    loss: float | Tensor
    layer_losses: dict[str, float]
    outputs: Tensor
    counts: dict[str, int] = field(default_factory=dict)


def train_sequence(job: Job) -> Outcome:
    """Take one bptt step."""
    batch, network = len(job.labels), job.network
    bound = job.bound_layers()
    dropout = SampleDropout(network, job.masks, job.generator, batch, job.steps)
    slices = _slices(batch, job.engine.block(batch, job.steps, network.layers))

    def work_on(part: slice) -> Callable[[], tuple[Pass, Tensor]]:
        def call() -> tuple[Pass, Tensor]:
            recorder = Recorder(job.recorder.names - {"gradient", "weight"})
            work = Pass(network, job.engine, bound, job.labels[part], batch, job.steps, job.loss,
                        dropout.masks(part), None, job.transfer_masks, True, recorder)  # fmt: skip
            work.memory = job.rule.begin(network, len(work.labels))
            outputs = checked_pass(job.rule, work, _encode(job, part, recorder))
            return work, outputs

        return call

    losses, gradients, outputs, counts = {}, {}, [], {}
    with closing(in_order([work_on(part) for part in slices])) as done:
        for work, part_outputs in done:
            _add(losses, work.losses)
            _add(gradients, work.gradients)
            _add(counts, work.counts)
            outputs.append(part_outputs)
            job.recorder.extend(work.recorder)
    check_finite(losses, gradients)
    for name, gradient in gradients.items():
        job.recorder.add("gradient", name, gradient[None], copy=True)
    apply_gradients(job, gradients)
    if job.optimizer is None:
        average_gradients(job)
    for name in gradients:
        job.recorder.add("weight", name, network.weight(name).detach()[None], copy=True)
    ordered = {name: losses[name] for name in network.layer_names if name in losses}
    return Outcome(sum(ordered.values()), ordered, torch.cat(outputs, 1), counts)


def predict_sequence(job: Job) -> Tensor:
    """Return class outputs (time, batch, class) without dropout."""
    batch, network = job.inputs.shape[1 if job.frames else 0], job.network
    bound = job.bound_layers()

    def work_on(part: slice) -> Callable[[], tuple[Pass, Tensor]]:
        def call() -> tuple[Pass, Tensor]:
            recorder = Recorder(job.recorder.names)
            work = Pass(network, job.engine, bound, job.labels[part], batch, job.steps, recorder=recorder)
            x = _encode(job, part, recorder)
            for number in range(len(bound)):
                x = work.forward_layer(number, x)[1]
            return work, work.class_outputs(x, network.out)

        return call

    outputs = []
    slices = _slices(batch, job.engine.block(batch, job.steps, network.layers))
    with closing(in_order([work_on(part) for part in slices])) as done:
        for work, part_outputs in done:
            outputs.append(part_outputs)
            job.recorder.extend(work.recorder)
    return torch.cat(outputs, 1)


def apply_gradients(job: Job, gradients: dict[str, Tensor]) -> None:
    """Add gradients to the parameters' `.grad` as a backward pass does, and take an optimizer step if there is one.

    torch's own backward passes them on: it skips frozen parameters, goes through parametrizations, calls hooks
    and gives a gradient its parameter's memory layout, which fused optimizers rely on. It also copies them, so
    it is bypassed where none of this matters.
    """
    with torch.enable_grad():
        weights = {name: job.network.weight(name) for name in gradients}
    learning = {name: weight for name, weight in weights.items() if weight.requires_grad}
    if is_initialized() or not all(_plain(weight, gradients[name]) for name, weight in learning.items()):
        torch.autograd.backward([*learning.values()], [gradients[name] for name in learning])
    else:
        for name, weight in learning.items():
            weight.grad = gradients[name]
    if job.optimizer is None:
        return
    average_gradients(job)
    job.optimizer.step()
    for parameter in job.network.parameters():
        parameter.grad = None


def _plain(weight: Tensor, gradient: Tensor) -> bool:
    """Return whether a backward pass would only leave a copy of the gradient as `.grad`."""
    hooks = weight._backward_hooks or weight._post_accumulate_grad_hooks  # pyright: ignore[reportAttributeAccessIssue]
    alike = weight.dtype == gradient.dtype and weight.device == gradient.device
    return (
        type(weight) is nn.Parameter and weight.grad is None and not hooks and alike
        and weight.stride() == gradient.stride()
    )  # fmt: skip


def average_gradients(job: Job) -> None:
    """Replace gradients by their mean over the processes of a DistributedDataParallel, if there is one."""
    if job.group is None:
        return
    found = [p.grad for p in job.network.parameters() if p.requires_grad and p.grad is not None]
    together = torch.cat([gradient.flatten() for gradient in found])
    all_reduce(together, group=job.group)
    together /= get_world_size(job.group)
    for gradient, mean in zip(found, together.split([g.numel() for g in found]), strict=True):
        gradient.copy_(mean.view(gradient.shape))


@contextmanager
def own_gradients(job: Job) -> Iterator[None]:
    """Let an optimizer see only this step's gradients: others are set aside and put back at the end."""
    if job.optimizer is None:
        yield
        return
    seen = {id(p): p for p in job.network.parameters()}
    seen |= {id(p): p for group in job.optimizer.param_groups for p in group["params"]}
    kept = [(parameter, parameter.grad) for parameter in seen.values()]
    try:
        for parameter, _ in kept:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in kept:
            parameter.grad = gradient


def _encode(job: Job, part: slice, recorder: Recorder) -> Any:
    inputs = job.inputs[:, part] if job.frames else job.inputs[part]
    steps = None if job.frames else job.steps
    spikes, _ = job.engine.encode(inputs, job.network.encoder, steps, job.network.dtype, None)
    if recorder.wants("encoder"):
        recorder.add("encoder", "input", job.engine.dense(spikes, job.network.input_shape, job.network.dtype))
    return spikes


def _slices(batch: int, block: int) -> list[slice]:
    return [slice(first, min(first + block, batch)) for first in range(0, batch, block)]


def _add(total: dict, part: dict) -> None:
    """Add the values of `part` to those of `total`, tensors in place."""
    for name, value in part.items():
        if name in total:
            total[name] += value
        else:
            total[name] = value


Result = TypeVar("Result")


def in_order(calls: Sequence[Callable[[], Result]]) -> Generator[Result]:
    """Yield the results of the calls in order, running as many at a time as PyTorch has threads.

    Each thread uses one PyTorch thread; a single call uses PyTorch's own. Close the generator, or torch stays
    with one thread as long as the traceback of an interrupt exists.
    """
    threads = torch.get_num_threads()
    if len(calls) == 1 or threads == 1:
        for call in calls:
            yield call()
        return
    pool, waiting, left = _pool(threads), deque[Future[Result]](), iter(calls)
    torch.set_num_threads(1)
    try:
        for call in left:
            waiting.append(pool.submit(_without_gradients, call))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        torch.set_num_threads(threads)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="dalton")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # its threads exist only in the parent


def _without_gradients(call: Callable[[], Result]) -> Result:
    with torch.no_grad():  # a per-thread setting
        return call()
