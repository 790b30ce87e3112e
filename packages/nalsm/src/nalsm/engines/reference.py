"""The liquid in plain PyTorch, one array operation a line: oracle of the compiled engine, fallback, GPU path.

State of a sample is explicit (`State`); `step` advances all samples of a batch by one millisecond in the order of the
original program (specification section 2.6). Currents are summed over synapses from neuron-level ages,

    I_i = sum_j W_ij exp(-age_j / tau_u) / tau_u,   age_j = ms since the last spike of j (20 at the start, at most 100).

Weights that all samples share and that stay as they are make this sum one matrix product for the whole batch, which
is how static liquids run on an accelerator. It adds in another order, so that a potential may differ in its last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nalsm.model.network import LiquidNetwork
from nalsm.parameters import NeuronParameters, PlasticityParameters


@dataclass
class State:
    """Everything that changes while samples are presented; first axis = sample.

    Attributes:
        potential, spikes, refractory, age, trace, calcium: (sample, neuron); neurons are liquid, then input.
        weights: (sample, synapse), or (1, synapse) where nothing is plastic.
        matrix: (neuron, liquid), the weights as a matrix where the sum is a matrix product, else None.
        potentiation, depression, astrocyte_weight, astrocyte_bias: floats or (sample,) tensors, the rates now.
    """

    potential: Tensor
    spikes: Tensor
    refractory: Tensor
    age: Tensor
    trace: Tensor
    calcium: Tensor
    weights: Tensor
    potentiation: float
    depression: Tensor
    astrocyte_weight: float
    astrocyte_bias: float
    matrix: Tensor | None = None


class ReferenceLiquid:
    """A network with its constants on one device and in one floating-point type.

    Args:
        network: the liquid.
        neuron: constants of its neurons.
        plasticity: weight rule.
        device: where it runs.
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
        limit = self.plasticity.weight_limit
        self.inhibitory = (self.pre >= network.excitatory) & (self.pre < network.liquid)
        excitatory = self.pre < network.excitatory
        self.low = torch.where(excitatory, 0.0, -limit).to(dtype)
        self.high = torch.where(self.inhibitory, 0.0, limit).to(dtype)

    def start(
        self, weights: Tensor, samples: int, trace: Tensor | None = None, calcium: Tensor | None = None
    ) -> State:
        """Return the state at the start of a presentation.

        Args:
            weights: (synapse,) or (sample, synapse), active synapses only.
            samples: number of samples side by side.
            trace: (sample, neuron) carried over from an earlier presentation; None starts at 0.
            calcium: likewise.
        """
        options = {"dtype": self.dtype, "device": self.device}
        zeros = torch.zeros(samples, self.network.neurons, **options)
        weights = torch.as_tensor(weights, **options)
        weights = weights.expand(samples, -1) if weights.dim() == 2 else weights[None]
        if self.plasticity.rule != "none":
            weights = weights.expand(samples, -1).clone()
        rate = self.plasticity.rate
        bias = rate * (1.0 + self.plasticity.astrocyte_bias_offset)
        first = bias if self.plasticity.rule == "astrocyte" else rate
        return State(
            potential=zeros.clone(),
            spikes=zeros.clone(),
            refractory=zeros.clone(),
            age=torch.full_like(zeros, 20.0),
            trace=zeros.clone() if trace is None else trace.to(**options).clone(),
            calcium=zeros.clone() if calcium is None else calcium.to(**options).clone(),
            weights=weights,
            potentiation=rate,
            depression=torch.full((samples,), first, **options),
            astrocyte_weight=self.plasticity.astrocyte_weight,
            astrocyte_bias=bias,
            matrix=self._matrix(weights),
        )

    def _matrix(self, weights: Tensor) -> Tensor | None:
        """Return the weights as (pre, post) where every sample has the same ones for good."""
        if not self.product or self.plasticity.rule != "none" or len(weights) != 1:
            return None
        matrix = torch.zeros(self.network.neurons, self.network.liquid, dtype=self.dtype, device=self.device)
        return matrix.index_put_((self.pre, self.post), weights[0], accumulate=True)

    def _currents(self, state: State, strength: Tensor) -> Tensor:
        """Return synaptic currents (sample, neuron); inputs receive none."""
        current = torch.zeros_like(strength)
        if state.matrix is not None:
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
        if self.plasticity.rule == "calcium":
            state.calcium = state.calcium - state.calcium / self.plasticity.calcium_tau + state.spikes
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
        """Update weights, traces, astrocyte and rates from `state.spikes` (specification 3.1-3.4)."""
        rule = self.plasticity
        state.weights = torch.clamp(state.weights + self._change(state), self.low, self.high)
        state.trace = rule.trace_decay * (state.trace + rule.trace_increment * state.spikes)
        if rule.rule == "astrocyte":
            liquid = state.spikes[:, : self.network.liquid].sum(1)
            difference = liquid - state.spikes[:, self.network.liquid :].sum(1)
            drive = state.astrocyte_weight * difference + state.astrocyte_bias - state.depression
            state.depression = state.depression + drive / rule.astrocyte_tau
            state.astrocyte_weight *= rule.rate_decay
            state.astrocyte_bias *= rule.rate_decay
        state.depression = state.depression * rule.rate_decay
        state.potentiation *= rule.rate_decay

    def _change(self, state: State) -> Tensor:
        """Both terms of the weight rule for every synapse, (sample, synapse)."""
        depression = state.depression[:, None]
        arrival = state.trace[:, self.pre] * state.spikes[:, self.post]  # pre before post
        departure = state.trace[:, self.post] * state.spikes[:, self.pre]  # post before pre
        up = torch.where(self.inhibitory, departure, arrival) * state.potentiation
        down = torch.where(self.inhibitory, arrival, departure) * depression
        if self.plasticity.rule != "calcium":
            return up - down
        calcium, theta, width = (
            state.calcium[:, self.post],
            self.plasticity.calcium_threshold,
            self.plasticity.calcium_range,
        )
        rises = (calcium > theta) & (calcium < theta + width)
        falls = (calcium < theta) & (calcium > theta - width)
        return up * rises - down * falls


def run_reference(
    liquid: ReferenceLiquid, state: State, raster: Tensor, *, record: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Present events (sample, input, millisecond) to a state; return spike counts and, if asked, the raster.

    Returns:
        Counts (sample, liquid) int32, and spikes (sample, millisecond, neuron) uint8 or None.
    """
    counts = torch.zeros(len(raster), liquid.network.liquid, dtype=torch.int32, device=liquid.device)
    kept = []
    for t in range(raster.shape[2]):
        spikes = liquid.step(state, raster[:, :, t].to(liquid.device, liquid.dtype))
        counts += spikes[:, : liquid.network.liquid].to(torch.int32)
        if record:
            kept.append(spikes.to(torch.uint8))
    return counts, torch.stack(kept, 1) if record else None
