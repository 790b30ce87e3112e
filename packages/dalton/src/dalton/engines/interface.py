"""What the learning rules need from an engine.

A signal is an engine's own form of spikes over (time, batch, ...); arrays of a layer (potentials u, errors e) are in
the engine's own order of units, which `plain` turns into (time, batch, channel, height, width) or (time, batch, unit).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from reprokit import UserError
from torch import Tensor

from dalton.data.encoding import EncoderParameters
from dalton.model.architectures import LayerSpec
from dalton.model.dropout import DropoutMask
from dalton.model.neuron import NeuronParameters, NeuronState


@dataclass(frozen=True)
class Fired:
    """A layer's activity: potentials u, signal passed on, last state, number of spikes before dropout, switches, I."""

    u: Tensor
    signal: Any
    state: NeuronState | None
    count: int
    switches: Tensor | None
    currents: Tensor | None


class BoundLayer(Protocol):
    """A layer with its current weight."""

    @property
    def spec(self) -> LayerSpec:
        """The layer."""
        ...

    def currents(self, x: Any) -> tuple[Tensor, Tensor | None]:
        """Return I = Pool(A x) and the switches of a max-pool."""
        ...

    def fire(
        self, x: Any, neuron: NeuronParameters, mask: DropoutMask | None, state: NeuronState | None,
        show_currents: bool = False,
    ) -> Fired:  # fmt: skip
        """Run the layer over all time-steps of the signal x; the given state may be overwritten."""
        ...

    def adjoint(self, error: Tensor, switches: Tensor | None) -> Tensor:
        """Return A^T Pool^T e, in the order of the layer below."""
        ...

    def weight_gradient(self, x: Any, error: Tensor, switches: Tensor | None) -> Tensor:
        """Return corr(x, Pool^T e), summed over time and batch, in the shape of the weight."""
        ...

    def plain_switches(self, switches: Tensor | None) -> Tensor | None:
        """Return switches as torch's max_pool2d numbers them."""
        ...


class Engine(Protocol):
    """An engine, which does the computations."""

    name: str

    def block(self, batch: int, steps: int, specs: tuple[LayerSpec, ...]) -> int:
        """Return how many samples a sequence method handles at once."""
        ...

    def bind(self, spec: LayerSpec, weight: Tensor) -> BoundLayer:
        """Prepare a layer for use until its weight changes."""
        ...

    def encode(
        self, inputs: Tensor, encoder: EncoderParameters, steps: int | None, dtype: torch.dtype,
        voltage: Tensor | None,
    ) -> tuple[Any, Tensor]:  # fmt: skip
        """Return encoder spikes as a signal and the last voltages, see :func:`dalton.data.encoding.encode`."""
        ...

    def errors(
        self, u: Tensor, z: Tensor, neuron: NeuronParameters, mask: DropoutMask | None, scale: float
    ) -> Tensor:
        """Return e = dLoss/dI for g = scale mask z; `z` may be overwritten."""
        ...

    def errors_and_transfer(
        self, u: Tensor, z: Tensor, neuron: NeuronParameters, mask: DropoutMask | None, scale: float,
        transfer_masks: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return e, and sigma'(delta) z (times mask and [u >= 0] with `transfer_masks`); `z` may be overwritten."""
        ...

    def undropped(self, u: Tensor, neuron: NeuronParameters, spec: LayerSpec) -> Any:
        """Return the spikes before dropout as a signal."""
        ...

    def readout(self, signal: Any, matrix: Tensor, spec: LayerSpec) -> Tensor:
        """Return R o (time, batch, class) for a readout R (class, unit) of a layer's signal o."""
        ...

    def spread(self, error: Tensor, matrix: Tensor, spec: LayerSpec) -> Tensor:
        """Return R^T dP in the layer's order, for dP (time, batch, class)."""
        ...

    def dense(self, signal: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a signal's values (time, batch, *shape)."""
        ...

    def plain(self, value: Tensor, spec: LayerSpec) -> Tensor:
        """Return an array of a layer in plain order."""
        ...


def fitting(spec: LayerSpec, weight: Tensor) -> Tensor:
    """Return a layer's weight without its history, contiguous.

    Raises:
        UserError: Its shape is not the layer's.
    """
    if tuple(weight.shape) != spec.weight_shape:
        raise UserError(
            f"{spec.name} has a weight of shape {tuple(weight.shape)}; the layer takes {spec.weight_shape}."
        )
    return weight.detach().contiguous()
