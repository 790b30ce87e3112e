"""The plain PyTorch engine: any device, float32 and float64. It is the reference of the compiled engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dalton import layers
from dalton.architectures import LayerSpec
from dalton.encoder import EncoderParameters, encode
from dalton.neuron import NeuronParameters, NeuronState, current_gradient, run, threshold_distance
from dalton.surrogate import surrogate_derivative


class Fired(NamedTuple):
    """Time course of a layer's neurons: u (time, batch, ...), spikes after dropout, last state, number of spikes."""

    u: Tensor
    spikes: Tensor
    state: NeuronState | None
    count: int


class BoundLayer(Protocol):
    """A layer with its present weight; arrays are (time, batch, ...)."""

    spec: LayerSpec

    def current(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return I = Pool(A x) and the switches of a max-pool."""
        ...

    def adjoint(self, error: Tensor, switches: Tensor | None) -> Tensor:
        """Return A^T Pool^T e."""
        ...

    def weight_gradient(self, x: Tensor, error: Tensor, switches: Tensor | None) -> Tensor:
        """Return corr(x, Pool^T e), summed over time and batch."""
        ...


class Engine(Protocol):
    """What the methods need."""

    name: str

    def block(self, batch: int, steps: int, specs: tuple[LayerSpec, ...], local: bool) -> int:
        """Return how many samples a sequence method takes at once."""
        ...

    def bind(self, spec: LayerSpec, weight: Tensor) -> BoundLayer:
        """Prepare a layer for use until its weight changes."""
        ...

    def encode(
        self, inputs: Tensor, encoder: EncoderParameters, steps: int | None, dtype: torch.dtype,
        voltage: Tensor | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return encoder spikes and last voltages, see :func:`dalton.encoder.encode`."""
        ...

    def fire(
        self, currents: Tensor, neuron: NeuronParameters, mask: Tensor | None, state: NeuronState | None
    ) -> Fired:
        """Run the neurons; `currents` may be overwritten."""
        ...

    def errors(
        self, u: Tensor, z: Tensor, neuron: NeuronParameters, mask: Tensor | None, scale: float
    ) -> Tensor:
        """Return e = dLoss/dI for g = scale mask z; `z` may be overwritten."""
        ...

    def transfer(self, u: Tensor, z: Tensor, neuron: NeuronParameters) -> Tensor:
        """Return sigma'(delta) z."""
        ...


@dataclass(frozen=True)
class TorchLayer:
    """A layer in plain form: convolution, then pooling."""

    spec: LayerSpec
    weight: Tensor

    def current(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return I = Pool(A x) and the switches of a max-pool."""
        value, switches = layers.current(self.spec, x.flatten(0, 1), self.weight)
        return value.view(*x.shape[:2], *self.spec.output_shape), switches

    def adjoint(self, error: Tensor, switches: Tensor | None) -> Tensor:
        """Return A^T Pool^T e."""
        flat = layers.adjoint(self.spec, error.flatten(0, 1), self.weight, switches)
        return flat.view(*error.shape[:2], *self.spec.input_shape)

    def weight_gradient(self, x: Tensor, error: Tensor, switches: Tensor | None) -> Tensor:
        """Return corr(x, Pool^T e)."""
        return layers.weight_gradient(self.spec, x.flatten(0, 1), error.flatten(0, 1), switches)


class TorchEngine:
    """Loops over time in Python, everything else by PyTorch."""

    name = "torch"

    def block(self, batch: int, steps: int, specs: tuple[LayerSpec, ...], local: bool) -> int:
        """Return the whole batch."""
        del steps, specs, local
        return batch

    def bind(self, spec: LayerSpec, weight: Tensor) -> BoundLayer:
        """Return the layer in plain form."""
        return TorchLayer(spec, weight.detach())

    def encode(
        self, inputs: Tensor, encoder: EncoderParameters, steps: int | None, dtype: torch.dtype,
        voltage: Tensor | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return encoder spikes and last voltages."""
        return encode(inputs, encoder, steps=steps, dtype=dtype, voltage=voltage)

    def fire(
        self, currents: Tensor, neuron: NeuronParameters, mask: Tensor | None, state: NeuronState | None
    ) -> Fired:
        """Run the neurons."""
        u, after = run(currents, neuron, state)
        fired = u > neuron.threshold
        spikes = fired.to(u.dtype)
        if mask is not None:
            spikes *= mask
        return Fired(u, spikes, after, int(fired.sum()))

    def errors(
        self, u: Tensor, z: Tensor, neuron: NeuronParameters, mask: Tensor | None, scale: float
    ) -> Tensor:
        """Return e = dLoss/dI for g = scale mask z."""
        g = z * scale
        if mask is not None:
            g *= mask
        return current_gradient(u, g, neuron)

    def transfer(self, u: Tensor, z: Tensor, neuron: NeuronParameters) -> Tensor:
        """Return sigma'(delta) z."""
        return surrogate_derivative(threshold_distance(u, neuron), neuron.surrogate_scale).mul_(z)
