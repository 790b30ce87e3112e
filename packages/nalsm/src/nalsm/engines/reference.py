"""The liquid in plain PyTorch, one array operation per line: oracle of the compiled engine, fallback, GPU path.

State of a sample is explicit (`State`); `step` advances all samples of a batch by one millisecond in the order of the
original program. Currents are summed over synapses from neuron-level ages,

    I_i = sum_j W_ij exp(-age_j / tau_u) / tau_u,   age_j = ms since the last spike of j (20 at the start, at most 100).

If all samples share constant weights, this sum becomes one matrix product for the whole batch, which is how
static liquids run on an accelerator. The product adds in a different order, so a potential may differ in its last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from reprokit import UserError
from torch import Tensor

from nalsm.data.sources import Events, Rates
from nalsm.model.network import LiquidNetwork
from nalsm.parameters import NeuronParameters, PlasticityParameters
from nalsm.rules.builtin import rule_of
from nalsm.rules.plasticity import bounds
from nalsm.rules.protocol import Memory, Wiring


@dataclass
class State:
    """Everything that changes while samples are presented; first axis = sample.

    Attributes:
        potential, spikes, refractory, age: (sample, neuron); neurons are liquid, then input.
        weights: (sample, synapse), or (1, synapse) if nothing is plastic.
        memory: what the weight rule remembers, by name.
        matrix: (neuron, liquid), the weights as a matrix if the sum is a matrix product, otherwise None.
    """

    potential: Tensor
    spikes: Tensor
    refractory: Tensor
    age: Tensor
    weights: Tensor
    memory: Memory
    matrix: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        """Return what the weight rule remembers: trace and calcium (sample, neuron), depression (sample,), ..."""
        memory = self.__dict__.get("memory", {})
        if name in memory:
            return memory[name]
        if name in ("trace", "calcium") and "potential" in self.__dict__:
            return torch.zeros_like(self.potential)
        if name == "depression" and "potential" in self.__dict__:
            return self.potential.new_zeros(len(self.potential))
        raise AttributeError(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; names of the rule's memory are set there."""
        memory = self.__dict__.get("memory", {})
        if name in memory:
            memory[name] = value
        else:
            object.__setattr__(self, name, value)


class ReferenceLiquid:
    """A network with its constants on one device and in one floating-point type.

    Args:
        network: the liquid.
        neuron: constants of its neurons.
        plasticity: weight rule.
        device: device on which it runs.
        dtype: type of all state.
        product: currents of static shared weights as a matrix product; None: on accelerators.
    """

    def __init__(
        self,
        network: LiquidNetwork,
        neuron: NeuronParameters | None = None,
        plasticity: PlasticityParameters | None = None,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        product: bool | None = None,
    ) -> None:
        self.network = network
        self.neuron = neuron or NeuronParameters()
        self.plasticity = plasticity or PlasticityParameters()
        self.device, self.dtype = torch.device(device), dtype
        self.product = self.device.type != "cpu" if product is None else product
        active = network.active
        self.post = torch.as_tensor(network.post[active].astype("int64"), device=device)
        self.pre = torch.as_tensor(network.pre[active].astype("int64"), device=device)
        self.inhibitory = (self.pre >= network.excitatory) & (self.pre < network.liquid)
        excitatory = self.pre < network.excitatory
        self.wiring = Wiring(
            self.post, self.pre, excitatory, self.inhibitory, network.liquid, network.neurons
        )
        self.rule = rule_of(self.plasticity)
        # in float64, which not every device supports
        low, high = bounds(excitatory.cpu(), self.inhibitory.cpu(), self.plasticity.weight_limit)
        self.low, self.high = (bound.to(dtype).to(device) for bound in (low, high))

    def start(
        self, weights: Tensor, samples: int, trace: Tensor | None = None, calcium: Tensor | None = None
    ) -> State:
        """Return the state at the start of a presentation.

        Args:
            weights: (synapse,) or (sample, synapse), active synapses only.
            samples: number of samples.
            trace: (sample, neuron) carried over from an earlier presentation; None starts at 0.
            calcium: the same for calcium.
        """
        options = {"dtype": self.dtype, "device": self.device}
        zeros = torch.zeros(samples, self.network.neurons, **options)
        weights = torch.as_tensor(weights, **options)
        weights = weights.expand(samples, -1) if weights.dim() == 2 else weights[None]
        if self.plasticity.rule != "none":
            weights = weights.expand(samples, -1).clone()
        memory = self.rule.start(self.wiring, samples, zeros)
        for name, carried in (("trace", trace), ("calcium", calcium)):
            if carried is not None and name in memory:
                memory[name] = carried.to(**options).clone()
        return State(
            potential=zeros.clone(),
            spikes=zeros.clone(),
            refractory=zeros.clone(),
            age=torch.full_like(zeros, 20.0),
            weights=weights,
            memory=memory,
            matrix=self._matrix(weights),
        )

    def _matrix(self, weights: Tensor) -> Tensor | None:
        """Return the weights as (pre, post) if every sample keeps the same constant ones."""
        if not self.product or self.plasticity.rule != "none" or len(weights) != 1:
            return None
        matrix = torch.zeros(self.network.neurons, self.network.liquid, dtype=self.dtype, device=self.device)
        return matrix.index_put_((self.pre, self.post), weights[0], accumulate=True)

    def _currents(self, state: State, strength: Tensor) -> Tensor:
        """Return synaptic currents (sample, neuron); inputs receive none."""
        current = torch.zeros_like(strength)
        if state.matrix is not None:
            with torch.autocast(self.device.type, enabled=False):
                current[:, : self.network.liquid] = strength @ state.matrix
        else:
            current.index_add_(1, self.post, state.weights * strength[:, self.pre])
        return current

    def step(self, state: State, events: Tensor) -> Tensor:
        """Advance one millisecond in place and return the spikes (sample, neuron).

        Args:
            state: state of all samples, changed in place.
            events: (sample, input), number of input events of this millisecond.
        """
        neuron, liquid = self.neuron, self.network.liquid
        fires = (state.potential >= neuron.threshold) & (state.refractory <= 0)
        state.spikes = fires.to(self.dtype)
        state.potential = torch.where(fires, 0.0, state.potential)
        if self.plasticity.rule != "none":
            self.rule.observe(state.memory, state.spikes)
        state.age = torch.where(fires, 0.0, state.age)
        strength = torch.exp(-state.age / neuron.tau_u) / neuron.tau_u
        current = self._currents(state, strength)
        current[:, liquid:] += neuron.input_current * events
        state.potential = state.potential + current - state.potential / neuron.tau_v
        state.age = torch.clamp(state.age + 1.0, max=100.0)
        state.refractory = torch.where(fires, float(neuron.refractory), state.refractory - 1.0)
        if self.plasticity.rule != "none":
            self.learn(state)
        return state.spikes

    def learn(self, state: State) -> None:
        """Update weights and the rule's memory from `state.spikes`, in place (see `rules/plasticity.py`).

        Raises:
            UserError: if a user's own rule returns changes of the wrong shape.
        """
        change = self.rule.change(state.memory, state.weights, state.spikes, self.wiring)
        if not isinstance(change, Tensor) or change.shape != state.weights.shape:
            shape = tuple(change.shape) if isinstance(change, Tensor) else f"a {type(change).__name__}"
            raise UserError(
                f"rule {self.rule.name!r} returns changes {shape}; it must be (sample, synapse), "
                f"{tuple(state.weights.shape)}."
            )
        state.weights = torch.clamp(state.weights + change, self.low, self.high)


@dataclass
class Presentation:
    """The result of a presentation.

    Attributes:
        counts: int32 (sample, liquid), spikes of each liquid neuron.
        raster: uint8 (sample, millisecond, neuron) or None.
        depression: float32 (sample, millisecond), L- after each millisecond (the astrocyte, under its rule).
        weights: float32 weights at the end, (synapse,) in sequence, (sample, synapse) if kept, else None.
        trace, calcium: float32 at the end, (sample, neuron) or (neuron,) in sequence.
    """

    counts: np.ndarray
    raster: np.ndarray | None
    depression: np.ndarray
    weights: np.ndarray | None
    trace: np.ndarray
    calcium: np.ndarray


def independent(
    liquid: ReferenceLiquid,
    source: Rates | Events,
    weights: np.ndarray,
    duration: int,
    trace: np.ndarray,
    *,
    record: bool,
    keep: bool,
    batch: int = 250,
) -> Presentation:
    """Present samples in parallel, `batch` at a time; see `Simulator.present_independent`."""
    parts = []
    for begin in range(0, max(len(source), 1), batch):
        shown = source[begin : begin + batch]
        state = liquid.start(
            torch.as_tensor(weights), len(shown), torch.as_tensor(trace[begin : begin + batch])
        )
        part = _run(liquid, state, shown.events(duration), duration, record)
        if keep:
            part.weights = state.weights.expand(len(shown), -1).cpu().numpy().copy()
        parts.append(part)
    return join(parts)


def join(parts: list[Presentation]) -> Presentation:
    """Join presentations of samples into one."""
    if len(parts) == 1:
        return parts[0]
    rasters = [part.raster for part in parts if part.raster is not None]
    weights = [part.weights for part in parts if part.weights is not None]
    return Presentation(
        counts=np.concatenate([part.counts for part in parts]),
        raster=np.concatenate(rasters) if rasters else None,
        depression=np.concatenate([part.depression for part in parts]),
        weights=np.concatenate(weights) if weights else None,
        trace=np.concatenate([part.trace for part in parts]),
        calcium=np.concatenate([part.calcium for part in parts]),
    )


def sequence(
    liquid: ReferenceLiquid,
    source: Rates | Events,
    weights: np.ndarray,
    duration: int,
    trace: np.ndarray,
    calcium: np.ndarray,
    *,
    carry_trace: bool,
    record: bool,
) -> Presentation:
    """Present samples one after another; see `Simulator.present_in_sequence`."""
    parts = []
    for k in range(len(source)):
        state = liquid.start(
            torch.as_tensor(weights), 1, torch.as_tensor(trace)[None] if carry_trace else None,
            torch.as_tensor(calcium)[None],
        )  # fmt: skip
        parts.append(_run(liquid, state, source[k : k + 1].events(duration), duration, record))
        weights, trace, calcium = state.weights[0].cpu().numpy(), parts[-1].trace[0], parts[-1].calcium[0]
    counts = np.concatenate([p.counts for p in parts])
    raster = np.concatenate([p.raster for p in parts if p.raster is not None]) if record else None
    depression = np.concatenate([p.depression for p in parts])
    return Presentation(counts, raster, depression, weights.copy(), trace, calcium)


def _run(liquid: ReferenceLiquid, state: State, events: Events, duration: int, record: bool) -> Presentation:
    counts = torch.zeros(len(events), liquid.network.liquid, dtype=torch.int32, device=liquid.device)
    rasters, rates = [], []
    for t in range(duration):
        spikes = liquid.step(state, torch.as_tensor(events.at(t), device=liquid.device, dtype=liquid.dtype))
        counts += spikes[:, : liquid.network.liquid].to(torch.int32)
        rates.append(state.depression.clone())
        if record:
            rasters.append(spikes.to(torch.uint8))
    return Presentation(
        counts=counts.cpu().numpy(),
        raster=torch.stack(rasters, 1).cpu().numpy() if record else None,
        depression=torch.stack(rates, 1).cpu().numpy(),
        weights=None,
        trace=state.trace.cpu().numpy(),
        calcium=state.calcium.cpu().numpy(),
    )
