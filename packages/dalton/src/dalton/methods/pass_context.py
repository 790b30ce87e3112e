"""One pass over a block of samples and time-steps: what a rule is given, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from dalton.engine_torch import BoundLayer, Engine
from dalton.losses import Loss
from dalton.network import SpikingCNN
from dalton.neuron import NeuronState
from dalton.recording import Recorder

GradientRule = Callable[[int, Tensor, Tensor, Tensor | None], Tensor]

Observer = Callable[[int, Tensor, Tensor, Tensor | None], None]


class Activity(NamedTuple):
    """What a layer did: its input x, potentials u, switches of a max-pool, and the dropout multipliers."""

    x: Tensor
    u: Tensor
    switches: Tensor | None
    mask: Tensor | None


@dataclass
class Pass:
    """A rule's workspace. Arrays are (time, batch, ...).

    Attributes:
        network: The network; its weights do not change during a pass.
        engine: Who computes.
        layers: The layers bound to their present weights.
        labels: int64 (batch,).
        samples: Batch size that losses are averaged over.
        steps: Time-steps that losses are averaged over; 1 online.
        loss: "mse" or "ce".
        masks: Dropout multipliers of emitted spikes by layer name.
        states: States of the layers, replaced by those after the pass; None: from rest, not kept.
        transfer_masks: DALTON: dropout and clipping also in the recursion of the targets.
        need_gradients: False: losses only.
        recorder: Collects arrays on demand.
        gradient_rule: Gives a weight gradient; None: correlation of inputs and errors.
        observer: Sees (layer number, inputs, potentials u, switches) of each layer after it ran.
        losses: Result: loss of each layer summed over the steps of this pass, divided by `steps`.
        gradients: Result: by parameter name.
        counts: Result: number of spikes of each layer, before dropout.
    """

    network: SpikingCNN
    engine: Engine
    layers: Sequence[BoundLayer]
    labels: Tensor
    samples: int
    steps: int
    loss: Loss = "mse"
    masks: dict[str, Tensor] = field(default_factory=dict)
    states: list[NeuronState | None] | None = None
    transfer_masks: bool = False
    need_gradients: bool = True
    recorder: Recorder = field(default_factory=Recorder)
    gradient_rule: GradientRule | None = None
    observer: Observer | None = None
    losses: dict[str, float] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def forward_layer(self, number: int, x: Tensor) -> tuple[Activity, Tensor]:
        """Run one layer over all steps of the pass; returns its activity and the spikes it passes on."""
        layer, name = self.layers[number], self.layers[number].spec.name
        before = self.states[number] if self.states is not None else None
        currents, switches = layer.current(x)
        self.recorder.add("current", name, currents, copy=True)
        mask = self.masks.get(name)
        fired = self.engine.fire(currents, self.network.neuron, mask, before)
        if self.states is not None:
            self.states[number] = fired.state
        self.counts[name] = fired.count
        self.recorder.time_course(name, fired.u, self.network.neuron, before)
        self.recorder.add("spikes", name, fired.spikes)
        if self.observer is not None:
            self.observer(number, x, fired.u, switches)
        return Activity(x, fired.u, switches, mask), fired.spikes

    def forward(self, x: Tensor) -> tuple[list[Activity], Tensor]:
        """Run all layers; returns their activities and the last one's spikes."""
        activities = []
        for number in range(len(self.layers)):
            activity, x = self.forward_layer(number, x)
            activities.append(activity)
        return activities, x

    def class_outputs(self, spikes: Tensor, readout: Tensor, name: str) -> Tensor:
        """Return P = R o (time, batch, class)."""
        outputs = spikes.flatten(2) @ readout.detach().T
        self.recorder.add("readout", name, outputs)
        return outputs

    def add_gradient(self, number: int, activity: Activity, error: Tensor) -> None:
        """Keep the weight gradient that belongs to errors e of a layer's currents."""
        rule = self.gradient_rule
        name = self.layers[number].spec.name
        if rule is not None:
            self.gradients[name] = rule(number, activity.x, error, activity.switches)
        else:
            self.gradients[name] = self.layers[number].weight_gradient(activity.x, error, activity.switches)

    def add_loss(self, name: str, per_step: Tensor) -> None:
        """Keep a layer's loss, given per time-step."""
        self.losses[name] = float(per_step.sum()) / self.steps


def mean_square(errors: Tensor, samples: int) -> Tensor:
    """Return per time-step the mean over samples and units of squared errors (time, batch, ...), float64 (time,)."""
    flat = errors.flatten(1)
    units = errors[0, 0].numel()
    return torch.linalg.vector_norm(flat, dim=1, dtype=torch.float64).square() / (samples * units)
