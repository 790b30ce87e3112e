"""The compiled engine: spikes as bits, weights gathered by spikes, neurons fused into the layers.

Its arrays are (time, batch, row, column, channel) with channels padded to 64 bytes, see :mod:`dalton.engines.packing`.
Mean pooling after a convolution is one convolution with a larger kernel and stride. A dense layer is a convolution
with one position.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from reprokit.errors import ask_core
from torch import Tensor

from dalton.data.encoding import EncoderParameters
from dalton.engines.interface import BoundLayer, Fired, fitting
from dalton.engines.packing import Bits, Kernel, Layout, plain_switches
from dalton.model.architectures import LayerSpec
from dalton.model.dropout import DropoutMask
from dalton.model.neuron import NeuronParameters, NeuronState


class NativeLayer:
    """A layer with its weight in the kernels' order: currents, spikes, adjoint, gradient.

    See :class:`dalton.engines.interface.BoundLayer`.
    """

    def __init__(self, kernel: Kernel, spec: LayerSpec, weight: Tensor) -> None:
        self.spec, self.kernel = spec, kernel
        first = spec.name == "conv1"
        self.below = Layout.of(spec.input_shape, 1 if first else kernel.pad)
        self.layout = Layout.of(spec.output_shape, kernel.pad)
        self.kernel_size = self._kernel_size()
        self.maps = self._map_layout()
        # (kernel row, kernel column, in, out), channels padded; inputs of a dense layer as (row, column, channel)
        self.rows = kernel.empty(*self.kernel_size, self._in_channels(), self.maps.padded)
        self._fold = self._fold_of(weight)
        kernel.core.fold(self._fold, fitting(spec, weight).numpy(), self.rows.numpy())
        self.geometry = kernel.module.Geometry(
            *self._in_size(), self._in_channels(), *self.kernel_size, self._stride(), self.maps.height,
            self.maps.width, self.maps.padded, spec.output_shape[0], spec.pool if spec.max_pooled else 1,
        )  # fmt: skip
        self._panels: tuple[int, Tensor] | None = None

    def _fold_of(self, weight: Tensor) -> Any:
        """Return how the weight is folded, padded and reordered; a dense layer's inputs are treated as maps."""
        spec, below = self.spec, self.below
        size = weight.shape[2:] if spec.kind == "conv" else (below.height, below.width)
        return self.kernel.module.Fold(
            len(weight), below.channels, *size, spec.stride, self._folded(), below.padded, self.maps.padded
        )

    def _folded(self) -> int:
        """Return the side of the mean pooling that is folded into the kernel, 1 for none."""
        return 1 if self.spec.max_pooled else self.spec.pool

    def _kernel_size(self) -> tuple[int, int]:
        if self.spec.kind == "dense":
            return 1, 1
        size = self.spec.weight_shape[2] + self.spec.stride * (self._folded() - 1)
        return size, size

    def _in_size(self) -> tuple[int, int]:
        return (1, 1) if self.spec.kind == "dense" else (self.below.height, self.below.width)

    def _in_channels(self) -> int:
        return self.below.units if self.spec.kind == "dense" else self.below.padded

    def _stride(self) -> int:
        return self.spec.stride * self._folded()

    def _map_layout(self) -> Layout:
        """Layout of the convolution's result: before max-pooling, after mean pooling."""
        if not self.spec.max_pooled:
            return self.layout
        sizes = ((n - self.spec.weight_shape[2]) // self.spec.stride + 1 for n in self.spec.input_shape[1:])
        return Layout.of((self.spec.output_shape[0], *sizes), self.kernel.pad)

    def currents(self, x: Any) -> tuple[Tensor, Tensor | None]:
        """Return I = Pool(A x) and the switches of a max-pool."""
        result = self.kernel.empty(*x.words.shape[:2], *self.layout.shape)
        switches = torch.empty(result.shape, dtype=torch.uint8) if self.spec.max_pooled else None
        self.kernel.core.currents(
            self.geometry, self.kernel.extent(x.words), x.words.numpy(), self.rows.numpy(), x.scale,
            result.numpy(), _numpy(switches),
        )  # fmt: skip
        return result, switches

    def fire(
        self, x: Any, neuron: NeuronParameters, mask: DropoutMask | None, state: NeuronState | None,
        show_currents: bool = False,
    ) -> Fired:  # fmt: skip
        """Run the layer over all time-steps."""
        kernel, shape = self.kernel, x.words.shape[:2]
        if state is None:
            v = torch.zeros((shape[1], *self.layout.shape), dtype=kernel.dtype)
            state = NeuronState(v, torch.zeros_like(v))
        emitted = torch.empty((*shape, self.layout.words), dtype=torch.int64)
        common = (
            kernel.keep(mask, self.layout), state.v.numpy(), state.c.numpy(),
        )  # fmt: skip
        constants, extent = kernel.neuron(neuron), kernel.extent(x.words)
        currents = switches = None
        if self.spec.max_pooled or show_currents:
            u, switches = self.currents(x)
            currents = u.clone() if show_currents else None
            count = kernel.core.fire(
                self.layout.units, constants, extent, *common, u.numpy(), emitted.numpy()
            )
        else:
            u = kernel.empty(*shape, *self.layout.shape)
            count = kernel.core.forward(
                self.geometry, constants, extent, x.words.numpy(), self.rows.numpy(), x.scale, *common,
                u.numpy(), emitted.numpy(),
            )  # fmt: skip
        scale = 1.0 if mask is None or mask.scale is None else mask.scale
        return Fired(u, Bits(emitted, scale, kernel.pad), state, count, switches, currents)

    def adjoint(self, error: Tensor, switches: Tensor | None) -> Tensor:
        """Return A^T Pool^T e."""
        if self._panels is None:
            self._panels = self._pack_panels()
        vectors, panels = self._panels
        result = self.kernel.empty(*error.shape[:2], *self.below.shape)
        self.kernel.core.adjoint(
            self.geometry, self.kernel.extent(error), vectors, panels.numpy(), error.numpy(),
            _numpy(switches), result.numpy(),
        )  # fmt: skip
        return result

    def _pack_panels(self) -> tuple[int, Tensor]:
        """Return the weights as (panel of input channels, tap, out, panel width) and the vectors of a panel."""
        lanes = self.kernel.lanes
        vectors = self._in_channels() // lanes
        width = next((n for n in (4, 3) if vectors % n == 0), 3 if vectors > 4 else vectors)
        taps, depth = math.prod(self.kernel_size), self.spec.output_shape[0]
        result = self.kernel.empty(-(-vectors // width), taps, depth, width * lanes)
        self.kernel.core.panels(self.geometry, width, self.rows.numpy(), result.numpy())
        return width, result

    def weight_gradient(self, x: Any, error: Tensor, switches: Tensor | None) -> Tensor:
        """Return corr(x, Pool^T e)."""
        total = torch.zeros_like(self.rows)
        self.kernel.core.weight_gradient(
            self.geometry, self.kernel.extent(error), x.words.numpy(), error.numpy(), _numpy(switches),
            total.numpy(),
        )  # fmt: skip
        if x.scale != 1:
            total *= x.scale
        result = self.kernel.empty(*self.spec.weight_shape)
        self.kernel.core.unfold(self._fold, total.numpy(), result.numpy())
        return result

    def plain_switches(self, switches: Tensor | None) -> Tensor | None:
        """Return switches as torch's max_pool2d numbers them."""
        return None if switches is None else plain_switches(switches, self.spec.pool, self.maps, self.layout)


def _numpy(switches: Tensor | None) -> Any:
    return None if switches is None else switches.numpy()


def readout_spec(spec: LayerSpec, matrix: Tensor) -> LayerSpec:
    """Return a readout of a layer as a dense layer."""
    return LayerSpec("readout", "dense", spec.output_shape, (len(matrix),), tuple(matrix.shape))


WORKING_SET = 3 << 20  # upper limit for the bytes of potentials in a block of samples


class NativeEngine:
    """The compiled engine. See :class:`dalton.engines.interface.Engine`.

    Args:
        module: The extension module.
        dtype: torch.float32 or torch.float64.
        isa: Instruction set; None: the best one of this processor, or the one that ``REPROKIT_ISA`` names.
    """

    name = "native"

    def __init__(self, module: Any, dtype: torch.dtype, isa: str | None = None) -> None:
        self.kernel = Kernel(module, dtype, isa or ask_core(module.isa))
        self._readouts: dict[str, tuple[Tensor, int, NativeLayer]] = {}

    def block(self, batch: int, steps: int, specs: tuple[LayerSpec, ...]) -> int:
        """Return how many samples keep potentials within the working set."""
        size = steps * sum(layer.units for layer in specs) * self.kernel.dtype.itemsize
        return max(1, min(batch, WORKING_SET // size))

    def bind(self, spec: LayerSpec, weight: Tensor) -> BoundLayer:
        """Fold, pad and reorder the weight."""
        return NativeLayer(self.kernel, spec, weight)

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
        """Return the readout of a layer, reordered again only if its matrix has changed."""
        known = self._readouts.get(spec.name)
        version = (
            0 if matrix.is_inference() else matrix._version
        )  # a matrix made under inference_mode cannot change
        if known is None or known[0].data_ptr() != matrix.data_ptr() or known[1] != version:
            known = matrix, version, NativeLayer(self.kernel, readout_spec(spec, matrix), matrix)
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
