"""The plain PyTorch engine: any device, float32 and float64. It is the reference for the compiled engine.

On a GPU with Triton, neurons and encoder run in their own kernels (:mod:`dalton.engines.gpu`); everywhere else
they are loops over time in Python.

Its signals, the spikes passed from layer to layer, are values (time, batch, channel, height, width) or
(time, batch, unit); all its arrays are in this plain order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dalton.data.encoding import EncoderParameters, encode
from dalton.engines import gpu as gpu_kernels
from dalton.engines.interface import BoundLayer, Fired, fitting
from dalton.model import layers
from dalton.model.architectures import LayerSpec
from dalton.model.dropout import DropoutMask
from dalton.model.neuron import (
    NeuronParameters,
    NeuronState,
    current_gradient,
    run,
    surrogate_derivative,
    threshold_distance,
)
from dalton.names import Convolution

WORKING_SET = 8 << 20  # upper limit for the bytes of float32 potentials in a block of samples on the CPU


@dataclass(frozen=True)
class TorchLayer:
    """A layer in plain form: convolution, then pooling. See :class:`BoundLayer`."""

    spec: LayerSpec
    weight: Tensor
    fused: bool = False
    convolution: Convolution = "full"

    def currents(self, x: Any) -> tuple[Tensor, Tensor | None]:
        """Return I = Pool(A x) and the switches of a max-pool."""
        value, switches = layers.current(self.spec, x.flatten(0, 1), self.weight, self.convolution)
        return value.view(*x.shape[:2], *self.spec.output_shape), switches

    def fire(
        self, x: Any, neuron: NeuronParameters, mask: DropoutMask | None, state: NeuronState | None,
        show_currents: bool = False,
    ) -> Fired:  # fmt: skip
        """Run the layer over all time-steps."""
        currents, switches = self.currents(x)
        if self.fused:
            u, spikes, after = gpu_kernels.fire(currents, neuron, state)
        else:
            u, after = run(currents, neuron, state)
            spikes = (u > neuron.threshold).to(u.dtype)
        count = int(spikes.count_nonzero())
        if mask is not None:
            spikes *= mask.multipliers(u.dtype)
        return Fired(u, spikes, after, count, switches, currents if show_currents else None)

    def adjoint(self, error: Tensor, switches: Tensor | None) -> Tensor:
        """Return A^T Pool^T e."""
        flat = layers.adjoint(self.spec, error.flatten(0, 1), self.weight, switches, self.convolution)
        return flat.view(*error.shape[:2], *self.spec.input_shape)

    def weight_gradient(self, x: Any, error: Tensor, switches: Tensor | None) -> Tensor:
        """Return corr(x, Pool^T e)."""
        flat = error.flatten(0, 1)
        return layers.weight_gradient(self.spec, x.flatten(0, 1), flat, switches, self.convolution)

    def plain_switches(self, switches: Tensor | None) -> Tensor | None:
        """Return the switches as they are."""
        return switches


class TorchEngine:
    """Everything in PyTorch; on a GPU, neurons and encoder in their own kernels. See :class:`Engine`.

    Args:
        device: Where the weights are.
        convolution: Digits of the convolutions, see :mod:`dalton.model.precision`.
    """

    name = "torch"

    def __init__(self, device: torch.device | None = None, convolution: Convolution = "full") -> None:
        self.convolution: Convolution = convolution
        self.on_cpu = device is None or device.type == "cpu"
        self.fused = device is not None and gpu_kernels.available(device)

    def block(self, batch: int, steps: int, specs: tuple[LayerSpec, ...]) -> int:
        """Return how many samples keep potentials within the working set; on an accelerator the whole batch."""
        if not self.on_cpu:
            return batch
        return max(1, min(batch, WORKING_SET // (4 * steps * sum(layer.units for layer in specs))))

    def bind(self, spec: LayerSpec, weight: Tensor) -> BoundLayer:
        """Return the layer in plain form, its weight contiguous: results do not depend on a memory format."""
        return TorchLayer(spec, fitting(spec, weight), self.fused, self.convolution)

    def encode(
        self, inputs: Tensor, encoder: EncoderParameters, steps: int | None, dtype: torch.dtype,
        voltage: Tensor | None,
    ) -> tuple[Any, Tensor]:  # fmt: skip
        """Return encoder spikes and last voltages."""
        if self.fused:
            return gpu_kernels.encode(inputs, encoder, steps, dtype, voltage)
        return encode(inputs, encoder, steps=steps, dtype=dtype, voltage=voltage)

    def errors(
        self, u: Tensor, z: Tensor, neuron: NeuronParameters, mask: DropoutMask | None, scale: float
    ) -> Tensor:
        """Return e = dLoss/dI for g = scale mask z."""
        g = z * scale
        if mask is not None:
            g *= mask.multipliers(z.dtype)
        return (gpu_kernels.current_gradient if self.fused else current_gradient)(u, g, neuron)

    def errors_and_transfer(
        self, u: Tensor, z: Tensor, neuron: NeuronParameters, mask: DropoutMask | None, scale: float,
        transfer_masks: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return e as :meth:`errors` does, and sigma'(delta) z."""
        transferred = surrogate_derivative(threshold_distance(u, neuron), neuron.surrogate_scale).mul_(z)
        if transfer_masks:
            transferred.masked_fill_(u < 0, 0)
            if mask is not None:
                transferred *= mask.multipliers(z.dtype)
        return self.errors(u, z, neuron, mask, scale), transferred

    def undropped(self, u: Tensor, neuron: NeuronParameters, spec: LayerSpec) -> Any:
        """Return the spikes before dropout as a signal."""
        del spec
        return (u > neuron.threshold).to(u.dtype)

    def readout(self, signal: Any, matrix: Tensor, spec: LayerSpec) -> Tensor:
        """Return R o (time, batch, class)."""
        del spec
        return signal.flatten(2) @ matrix.contiguous().T

    def spread(self, error: Tensor, matrix: Tensor, spec: LayerSpec) -> Tensor:
        """Return R^T dP."""
        return (error @ matrix.contiguous()).view(*error.shape[:2], *spec.output_shape)

    def dense(self, signal: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return the signal's values."""
        del shape, dtype
        return signal

    def plain(self, value: Tensor, spec: LayerSpec) -> Tensor:
        """Return the array as it is."""
        del spec
        return value
