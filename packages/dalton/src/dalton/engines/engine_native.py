"""The compiled engine: spikes as bits, weights gathered by spikes, neurons fused into the layers (spec 9).

Its arrays are (time, batch, row, column, channel) with channels padded to 64 bytes; see :mod:`dalton.engines.compiled`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dalton.data.encoding import EncoderParameters
from dalton.engines.compiled import NativeLayer, readout_spec
from dalton.engines.interface import BoundLayer
from dalton.engines.native_layout import Layout
from dalton.engines.packing import Bits, Kernel
from dalton.model.architectures import LayerSpec
from dalton.model.dropout_mask import DropoutMask
from dalton.model.neuron import NeuronParameters

WORKING_SET = 3 << 20  # bytes of potentials that a block of samples should stay below


class NativeEngine:
    """The compiled engine. See :class:`dalton.engines.interface.Engine`.

    Args:
        module: The extension module.
        dtype: torch.float32 or torch.float64.
        isa: Instruction set; None: the best of this processor.
    """

    name = "native"

    def __init__(self, module: Any, dtype: torch.dtype, isa: str | None = None) -> None:
        self.kernel = Kernel(module, dtype, isa or module.isa()[0])
        self._readouts: dict[str, tuple[Tensor, int, NativeLayer]] = {}

    def block(self, batch: int, steps: int, specs: tuple[LayerSpec, ...]) -> int:
        """Return how many samples keep potentials within the working set."""
        size = steps * sum(layer.units for layer in specs) * self.kernel.dtype.itemsize
        return max(1, min(batch, WORKING_SET // size))

    def bind(self, spec: LayerSpec, weight: Tensor) -> BoundLayer:
        """Fold, pad and reorder the weight."""
        return NativeLayer(self.kernel, spec, weight.detach())

    def encode(
        self, inputs: Tensor, encoder: EncoderParameters, steps: int | None, dtype: torch.dtype,
        voltage: Tensor | None,
    ) -> tuple[Any, Tensor]:  # fmt: skip
        """Return encoder spikes as bits and the last voltages."""
        held = steps is not None
        count, batch = (steps, len(inputs)) if held else inputs.shape[:2]
        layout = Layout.of(tuple(inputs.shape[-3:]), 1)
        bits = torch.empty((count, batch, layout.words), dtype=torch.int64)
        state = torch.zeros((batch, *inputs.shape[-3:]), dtype=dtype) if voltage is None else voltage.clone()
        self.kernel.core.encode(
            layout.maps(self.kernel.module), self.kernel.extent(bits), inputs.to(dtype).contiguous().numpy(),
            held, encoder.gain, encoder.bias, state.numpy(), bits.numpy(),
        )  # fmt: skip
        return Bits(bits, 1.0, 1), state

    def errors(
        self, u: Tensor, z: Tensor, neuron: NeuronParameters, mask: DropoutMask | None, scale: float
    ) -> Tensor:
        """Return e = dLoss/dI for g = scale mask z, in place of z."""
        self._errors(u, z, neuron, mask, scale, None, False)
        return z

    def errors_and_transfer(
        self, u: Tensor, z: Tensor, neuron: NeuronParameters, mask: DropoutMask | None, scale: float,
        transfer_masks: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return e in place of z, and sigma'(delta) z."""
        transferred = torch.empty_like(z)
        self._errors(u, z, neuron, mask, scale, transferred, transfer_masks)
        return z, transferred

    def _errors(
        self, u: Tensor, z: Tensor, neuron: NeuronParameters, mask: DropoutMask | None, scale: float,
        transferred: Tensor | None, transfer_masks: bool,
    ) -> None:  # fmt: skip
        kernel, keep, multiplier = self.kernel, None, 1.0
        if mask is not None:
            assert mask.prepared is not None, "a mask is packed when its layer fires"
            keep, multiplier = mask.prepared.numpy(), mask.scale or 1.0
        kernel.core.errors(
            math.prod(u.shape[2:]), kernel.neuron(neuron), kernel.extent(u), u.numpy(), z.numpy(), keep,
            scale * multiplier, None if transferred is None else transferred.numpy(), transfer_masks,
            multiplier if transfer_masks and mask is not None else 0.0,
        )  # fmt: skip

    def undropped(self, u: Tensor, neuron: NeuronParameters, spec: LayerSpec) -> Any:
        """Return the spikes before dropout as bits."""
        layout = Layout.of(spec.output_shape, self.kernel.pad)
        bits = torch.empty((*u.shape[:2], layout.words), dtype=torch.int64)
        keep = self.plain(u, spec) > neuron.threshold
        self.kernel.module.pack(
            layout.maps(self.kernel.module), self.kernel.extent(bits),
            keep.contiguous().view(torch.uint8).numpy(), bits.numpy(),
        )  # fmt: skip
        return Bits(bits, 1.0, self.kernel.pad)

    def _readout(self, matrix: Tensor, spec: LayerSpec) -> NativeLayer:
        """Return the readout of a layer, reordered once for as long as its matrix does not change."""
        known = self._readouts.get(spec.name)
        if known is None or known[0].data_ptr() != matrix.data_ptr() or known[1] != matrix._version:
            known = matrix, matrix._version, NativeLayer(self.kernel, readout_spec(spec, matrix), matrix)
            self._readouts[spec.name] = known
        return known[2]

    def readout(self, signal: Any, matrix: Tensor, spec: LayerSpec) -> Tensor:
        """Return R o (time, batch, class)."""
        layer = self._readout(matrix, spec)
        return layer.currents(signal)[0].flatten(2)[:, :, : len(matrix)]

    def spread(self, error: Tensor, matrix: Tensor, spec: LayerSpec) -> Tensor:
        """Return R^T dP in the layer's order."""
        layer = self._readout(matrix, spec)
        ordered = layer.rows[0, 0, :, : len(matrix)].T
        return (error @ ordered).view(*error.shape[:2], *Layout.of(spec.output_shape, self.kernel.pad).shape)

    def dense(self, signal: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a signal's values (time, batch, *shape)."""
        layout = Layout.of(shape, signal.padding)
        values = torch.empty((*signal.words.shape[:2], *shape), dtype=dtype)
        self.kernel.core.unpack(
            layout.maps(self.kernel.module), self.kernel.extent(values), signal.words.numpy(), signal.scale,
            values.numpy(),
        )  # fmt: skip
        return values

    def plain(self, value: Tensor, spec: LayerSpec) -> Tensor:
        """Return (time, batch, channel, height, width) or (time, batch, unit)."""
        cut = value[..., : spec.output_shape[0]]
        if spec.kind == "dense":
            return cut.reshape(*value.shape[:2], -1)
        return cut.movedim(-1, 2)
