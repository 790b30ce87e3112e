"""A batch step by step (online, rtrl): states pass from step to step; every step updates from the burn-in on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dalton.checks import check_finite
from dalton.model.dropout import StepDropout
from dalton.model.neuron import NeuronState
from dalton.rules.protocol import checked_pass
from dalton.rules.rtrl import EligibilityTrace
from dalton.rules.workspace import Pass
from dalton.training.sequence import Job, Outcome, apply_gradients, average_gradients


def train_stepwise(job: Job, burn_in: int, traces: bool) -> Outcome:
    """Take the online (or, with `traces`, the rtrl) steps of a batch."""
    network, loop = job.network, _Loop(job, traces)
    losses = torch.zeros((job.steps, len(network.layers)), dtype=torch.float64)
    outputs = torch.empty(
        (job.steps - burn_in, len(job.labels), network.classes), dtype=network.dtype, device=network.device
    )
    for t in range(job.steps):
        learning = t >= burn_in
        work, step_outputs = loop.step(t, learning)
        check_finite(work.losses, {})
        losses[t] = torch.tensor(
            [work.losses.get(name, 0.0) for name in network.layer_names], dtype=torch.float64
        )
        if not learning:
            continue
        outputs[t - burn_in] = step_outputs[0]
        gradients = work.gradients
        if job.optimizer is None:
            gradients = {name: g / (job.steps - burn_in) for name, g in gradients.items()}
        for name, gradient in work.gradients.items():
            job.recorder.add("gradient", name, gradient[None], copy=True)
        apply_gradients(job, gradients)
        if job.optimizer is not None and t + 1 < job.steps:
            loop.bind()
        for name in gradients:
            job.recorder.add("weight", name, network.weight(name).detach()[None], copy=True)
    if job.optimizer is None:
        average_gradients(job)
    layer_losses = dict(zip(network.layer_names, losses.mean(0).tolist(), strict=True))
    return Outcome(losses.sum(1), layer_losses, outputs, loop.counts)


class _Loop:
    """The state that passes from step to step."""

    def __init__(self, job: Job, traces: bool) -> None:
        self.job, network = job, job.network
        self.dropout = StepDropout(network, job.masks, job.generator, len(job.labels))
        self.states: list[NeuronState | None] = [None] * len(network.layers)
        self.voltage: Tensor | None = None
        self.counts = dict.fromkeys(network.layer_names, 0)
        self.memory = job.rule.begin(network, len(job.labels))
        self.traces = [EligibilityTrace(x, network.neuron) for x in network.layers] if traces else []
        self.bind()

    def bind(self) -> None:
        """Take over the current weights."""
        self.bound = self.job.bound_layers()

    def step(self, t: int, learning: bool) -> tuple[Pass, Tensor]:
        """Run step `t`; returns the pass and class outputs (1, batch, class)."""
        job = self.job
        now = job.inputs[t] if job.frames else job.inputs
        x, self.voltage = job.engine.encode(
            now[None], job.network.encoder, None, job.network.dtype, self.voltage
        )
        if job.recorder.wants("encoder"):
            job.recorder.add(
                "encoder", "input", job.engine.dense(x, job.network.input_shape, job.network.dtype)
            )
        work = Pass(job.network, job.engine, self.bound, job.labels, len(job.labels), 1, job.loss,
                    self.dropout.masks(t), self.states, job.transfer_masks, learning, job.recorder)  # fmt: skip
        if self.traces:
            work.observer = self._advance
            work.gradient_rule = self._gradient
        work.memory = self.memory
        outputs = checked_pass(job.rule, work, x)
        for name, count in work.counts.items():
            self.counts[name] += count
        return work, outputs

    def _advance(self, number: int, x: Any, u: Tensor, switches: Tensor | None) -> None:
        engine, spec = self.job.engine, self.job.network.layers[number]
        inputs = engine.dense(x, spec.input_shape, self.job.network.dtype)
        switches = self.bound[number].plain_switches(switches)
        self.traces[number].advance(inputs[0], switches, engine.plain(u, spec)[0])

    def _gradient(self, number: int, error: Tensor) -> Tensor:
        plain = self.job.engine.plain(error, self.job.network.layers[number])
        return self.traces[number].gradient(plain[0])
