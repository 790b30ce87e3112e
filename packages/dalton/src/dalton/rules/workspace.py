"""One pass over a block of samples and time-steps: what a rule receives, what it leaves, and what can be recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from reprokit import UserError
from torch import Tensor

from dalton.checks import widest
from dalton.engines.interface import BoundLayer, Engine, Fired
from dalton.model.architectures import LayerSpec
from dalton.model.dropout import DropoutMask
from dalton.model.network import SpikingCNN
from dalton.model.neuron import NeuronParameters, NeuronState, after_reset, threshold_distance
from dalton.names import Loss

RECORDS = ("encoder", "delta", "v", "c", "spikes", "current", "readout", "target", "gradient", "weight")


class Recorder:
    """Collects the requested arrays.

    Args:
        names: Among :data:`RECORDS`: encoder spikes, delta (potential minus threshold), v after the reset, c synaptic
            current, spikes passed on, input current, readout prediction, DALTON target, and, in online and
            rtrl, gradient and weight of every update.

    Raises:
        UserError: Unknown name.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = frozenset(names)
        if unknown := sorted(self.names - set(RECORDS)):
            raise UserError(f"record has {', '.join(unknown)}; choose from {', '.join(RECORDS)}.")
        self.collected: dict[str, dict[str, list[Tensor]]] = {name: {} for name in sorted(self.names)}
        self._current: dict[str, Tensor] = {}

    def wants(self, name: str) -> bool:
        """Return whether an array is requested."""
        return name in self.names

    def add(self, name: str, layer: str, value: Tensor, *, copy: bool = False) -> None:
        """Keep one piece of an array."""
        if name == "current":
            self._current[layer] = value
        if name in self.names:
            self.collected[name].setdefault(layer, []).append(value.clone() if copy else value)

    def latest_current(self, layer: str) -> Tensor:
        """Return the newest currents of a layer."""
        return self._current[layer]

    def time_course(self, layer: str, u: Tensor, neuron: NeuronParameters, before: Tensor | None) -> None:
        """Keep delta, v and c that follow from u (time, batch, ...) and v before the first step (1, batch, ...)."""
        if "delta" in self.names:
            self.add("delta", layer, threshold_distance(u, neuron))
        if not self.names & {"v", "c"}:
            return
        v = after_reset(u, neuron)
        first = torch.zeros_like(v[:1]) if before is None else before
        self.add("c", layer, u - torch.cat([first, v[:-1]]))
        self.add("v", layer, v)

    def extend(self, other: Recorder) -> None:
        """Take over what another recorder collected."""
        for name, layers in other.collected.items():
            for layer, pieces in layers.items():
                self.collected[name].setdefault(layer, []).extend(pieces)

    def joined(self, dim: int) -> dict[str, dict[str, Tensor]]:
        """Return the pieces joined along time (0) or batch (1)."""
        return {
            name: {layer: torch.cat(pieces, dim) for layer, pieces in layers.items()}
            for name, layers in self.collected.items()
        }


GradientRule = Callable[[int, Tensor], Tensor]

Observer = Callable[[int, Any, Tensor, Tensor | None], None]


class Activity(NamedTuple):
    """A layer's activity: its input signal x, potentials u, switches of a max-pool, and the dropout of its spikes."""

    x: Any
    u: Tensor
    switches: Tensor | None
    mask: DropoutMask | None


@dataclass
class Pass:
    """A rule's workspace. Signals and arrays of layers are in the engine's form.

    Attributes:
        network: The network; its weights do not change during a pass.
        engine: The engine.
        layers: The layers bound to their current weights.
        labels: int64 (batch,).
        samples: Batch size over which losses are averaged.
        steps: Time-steps over which losses are averaged; 1 in online and rtrl.
        loss: "mse" or "ce".
        masks: Dropout of emitted spikes by layer name.
        states: States of the layers, overwritten by the final ones; None: start at rest, final states are not kept.
        transfer_masks: DALTON: dropout and clipping also in the recursion of the targets.
        need_gradients: False: losses only.
        recorder: Collects arrays on demand.
        gradient_rule: Gives a weight gradient from (layer number, errors); None: correlation with the inputs.
        memory: What the rule remembers of earlier passes, see `LearningRule.begin`.
        observer: Called with (layer number, inputs, potentials u, switches) of each layer after it ran.
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
    masks: dict[str, DropoutMask] = field(default_factory=dict)
    states: list[NeuronState | None] | None = None
    transfer_masks: bool = False
    need_gradients: bool = True
    recorder: Recorder = field(default_factory=Recorder)
    gradient_rule: GradientRule | None = None
    observer: Observer | None = None
    memory: Any = None
    losses: dict[str, float] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def forward_layer(self, number: int, x: Any) -> tuple[Activity, Any]:
        """Run one layer over all steps of the pass; returns its activity and the signal it passes on."""
        layer, spec, recorder = self.layers[number], self.layers[number].spec, self.recorder
        before = self.states[number] if self.states is not None else None
        v = before.v.clone() if before is not None and recorder.names & {"v", "c"} else None
        mask = self.masks.get(spec.name)
        show = bool(recorder.names & {"current", "readout", "target"})
        fired = layer.fire(x, self.network.neuron, mask, before, show)
        if self.states is not None:
            self.states[number] = fired.state
        self.counts[spec.name] = fired.count
        if recorder.names:
            self._record(spec, fired, v)
        if self.observer is not None:
            self.observer(number, x, fired.u, fired.switches)
        return Activity(x, fired.u, fired.switches, mask), fired.signal

    def _record(self, spec: LayerSpec, fired: Fired, v: Tensor | None) -> None:
        recorder, engine = self.recorder, self.engine
        if fired.currents is not None:
            recorder.add("current", spec.name, engine.plain(fired.currents, spec))
        if recorder.wants("spikes"):
            dense = engine.dense(fired.signal, spec.output_shape, self.network.dtype)
            recorder.add("spikes", spec.name, dense, copy=True)
        before = None if v is None else engine.plain(v[None], spec)
        recorder.time_course(spec.name, engine.plain(fired.u, spec), self.network.neuron, before)

    def forward(self, x: Any) -> tuple[list[Activity], Any]:
        """Run all layers; returns their activities and the last one's signal."""
        activities = []
        for number in range(len(self.layers)):
            activity, x = self.forward_layer(number, x)
            activities.append(activity)
        return activities, x

    def class_outputs(self, signal: Any, readout: Tensor, number: int = -1) -> Tensor:
        """Return P = R o (time, batch, class) of layer `number`."""
        spec = self.layers[number].spec
        outputs = self.engine.readout(signal, readout.detach(), spec)
        self.recorder.add("readout", spec.name, outputs, copy=True)
        return outputs

    def add_gradient(self, number: int, activity: Activity, error: Tensor) -> None:
        """Keep the weight gradient that belongs to errors e of a layer's currents."""
        layer = self.layers[number]
        if self.gradient_rule is not None:
            gradient = self.gradient_rule(number, error)
        else:
            gradient = layer.weight_gradient(activity.x, error, activity.switches)
        self.gradients[layer.spec.name] = gradient

    def add_loss(self, name: str, per_step: Tensor) -> None:
        """Keep a layer's loss, given per time-step."""
        self.losses[name] = float(per_step.sum()) / self.steps


def mean_square(errors: Tensor, samples: int, units: int) -> Tensor:
    """Return per time-step the mean over samples and units of squared errors (time, batch, ...), float64 (time,)."""
    flat = errors.flatten(1)
    return torch.linalg.vector_norm(flat, dim=1, dtype=widest(flat.device)).square() / (samples * units)
