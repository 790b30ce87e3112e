"""The compiled engine: spikes as bits, weights gathered by spikes, neurons fused into the layers (spec 9).

Its arrays are (time, batch, row, column, channel) with channels padded to 64 bytes. Mean pooling after a convolution
is one convolution with a larger kernel and stride (spec 9.3). A dense layer is a convolution with one position.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dalton.architectures import LayerSpec
from dalton.dropout_mask import DropoutMask
from dalton.encoder import EncoderParameters
from dalton.engine_interface import BoundLayer, Fired
from dalton.native_layout import Layout, fold_kernel
from dalton.native_pool import max_pool, max_unpool, plain_switches
from dalton.neuron import NeuronParameters, NeuronState

WORKING_SET = 3 << 20  # bytes of potentials that a block of samples should stay below


class Bits(NamedTuple):
    """A signal: words (time, batch, word) int64, the value of a spike, and what channels are padded to."""

    words: Tensor
    scale: float
    padding: int


class _Kernel:
    """The kernels of one float type and instruction set."""

    def __init__(self, module: Any, dtype: torch.dtype, isa: str) -> None:
        double = dtype == torch.float64
        self.module, self.dtype = module, dtype
        self.core = (module.CoreDouble if double else module.CoreFloat)(isa)
        self.neuron_type = module.NeuronDouble if double else module.NeuronFloat
        self.lanes = self.core.lanes
        self.pad = 8 if double else 16

    def extent(self, array: Tensor) -> Any:
        return self.module.Extent(array.shape[0], array.shape[1], torch.get_num_threads())

    def neuron(self, neuron: NeuronParameters) -> Any:
        return self.neuron_type(
            neuron.decay, neuron.threshold, neuron.surrogate_scale, neuron.reset == "hard"
        )

    def empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self.dtype)

    def keep(self, mask: DropoutMask | None, layout: Layout) -> Any:
        """Return a dropout mask as bits."""
        if mask is None:
            return None
        if mask.prepared is None:
            bits = torch.empty((*mask.keep.shape[:2], layout.words), dtype=torch.int64)
            keep = mask.keep.contiguous().view(torch.uint8).numpy()
            self.module.pack(layout.maps(self.module), self.extent(bits), keep, bits.numpy())
            mask.prepared = bits
        return mask.prepared.numpy()


class NativeLayer:
    """A layer of the compiled engine. See :class:`BoundLayer`."""

    def __init__(self, kernel: _Kernel, spec: LayerSpec, weight: Tensor) -> None:
        self.spec, self.kernel = spec, kernel
        first = spec.name == "conv1"
        self.below = Layout.of(spec.input_shape, 1 if first else kernel.pad)
        self.layout = Layout.of(spec.output_shape, kernel.pad)
        folded = fold_kernel(spec, weight)
        self.kernel_size = tuple(folded.shape[2:]) if spec.kind == "conv" else (1, 1)
        self.maps = self._map_layout()
        # (kernel row, kernel column, in, out), channels padded, the inputs of a dense layer as (row, column, channel)
        self.rows = torch.zeros((*self.kernel_size, self._in_channels(), self.maps.padded), dtype=weight.dtype)
        self._plain(self.rows).copy_(folded.view(self._plain_shape(folded)).permute(2, 3, 1, 0))
        self.geometry = kernel.module.Geometry(
            *self._in_size(), self._in_channels(), *self.kernel_size, self._stride(), self.maps.height,
            self.maps.width, self.maps.padded, spec.output_shape[0],
        )  # fmt: skip
        self._panels: tuple[int, Tensor] | None = None

    def _plain_shape(self, weight: Tensor) -> tuple[int, ...]:
        """Return a weight's shape as (out, in, row, column), a dense layer's inputs seen as maps."""
        if self.spec.kind == "conv":
            return tuple(weight.shape)
        return len(weight), self.below.channels, self.below.height, self.below.width

    def _plain(self, rows: Tensor) -> Tensor:
        """Return the part of `rows` that is not padding, (row, column, in, out)."""
        below, out = self.below, self.spec.output_shape[0]
        if self.spec.kind == "dense":
            rows = rows.view(below.height, below.width, below.padded, -1)
        return rows[:, :, : below.channels, :out]

    def _in_size(self) -> tuple[int, int]:
        return (1, 1) if self.spec.kind == "dense" else (self.below.height, self.below.width)

    def _in_channels(self) -> int:
        return self.below.units if self.spec.kind == "dense" else self.below.padded

    def _stride(self) -> int:
        return self.spec.stride * (1 if self.spec.max_pooled else self.spec.pool)

    def _map_layout(self) -> Layout:
        """Layout of the convolution's result: before max-pooling, after mean pooling."""
        if not self.spec.max_pooled:
            return self.layout
        sizes = ((n - self.spec.weight_shape[2]) // self.spec.stride + 1 for n in self.spec.input_shape[1:])
        return Layout.of((self.spec.output_shape[0], *sizes), self.kernel.pad)

    def _maps_of(self, x: Bits) -> Tensor:
        """Return the convolution's result (time, batch, row, column, channel)."""
        result = self.kernel.empty(*x.words.shape[:2], *self.maps.shape)
        self.kernel.core.currents(
            self.geometry, self.kernel.extent(x.words), x.words.numpy(), self.rows.numpy(), x.scale,
            result.numpy(),
        )  # fmt: skip
        return result

    def currents(self, x: Any) -> tuple[Tensor, Tensor | None]:
        """Return I = Pool(A x) and the switches of a max-pool."""
        maps = self._maps_of(x)
        return max_pool(maps, self.spec.pool, self.layout) if self.spec.max_pooled else (maps, None)

    def fire(
        self, x: Any, neuron: NeuronParameters, mask: DropoutMask | None, state: NeuronState | None,
        show_currents: bool = False,
    ) -> Fired:  # fmt: skip
        """Run the layer over all time-steps."""
        kernel, shape = self.kernel, x.words.shape[:2]
        if state is None:
            v = torch.zeros((shape[1], *self.layout.shape), dtype=kernel.dtype)
            state = NeuronState(v, torch.zeros_like(v))
        else:
            state = NeuronState(state.v.clone(), state.c.clone())
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
        maps = error if switches is None else max_unpool(error, switches, self.spec.pool, self.maps)
        result = self.kernel.empty(*error.shape[:2], *self.below.shape)
        self.kernel.core.adjoint(
            self.geometry, self.kernel.extent(error), vectors, panels.numpy(), maps.numpy(), result.numpy()
        )
        return result

    def _pack_panels(self) -> tuple[int, Tensor]:
        """Return the weights as (panel of input channels, tap, out, panel width) and the vectors of a panel."""
        lanes, depth = self.kernel.lanes, self.spec.output_shape[0]
        vectors = self._in_channels() // lanes
        width = next((n for n in (4, 3) if vectors % n == 0), 3 if vectors > 4 else vectors)
        panels = -(-vectors // width)
        taps = self.rows[..., :depth].flatten(0, 1)
        if panels * width > vectors:
            taps = torch.nn.functional.pad(taps, (0, 0, 0, (panels * width - vectors) * lanes))
        split = taps.view(len(taps), panels, width * lanes, depth)
        return width, split.permute(1, 0, 3, 2).contiguous()

    def weight_gradient(self, x: Any, error: Tensor, switches: Tensor | None) -> Tensor:
        """Return corr(x, Pool^T e)."""
        maps = error if switches is None else max_unpool(error, switches, self.spec.pool, self.maps)
        total = torch.zeros_like(self.rows)
        self.kernel.core.weight_gradient(
            self.geometry, self.kernel.extent(error), x.words.numpy(), maps.numpy(), total.numpy()
        )
        if x.scale != 1:
            total *= x.scale
        return self._unfold(total)

    def _unfold(self, rows: Tensor) -> Tensor:
        """Return the gradient of the weight from that of the folded, padded, reordered one."""
        folded = self._plain(rows).permute(3, 2, 0, 1)
        if self.spec.kind == "dense":
            return folded.reshape(self.spec.weight_shape)
        return fold_kernel(self.spec, folded, back=True).contiguous()

    def plain_switches(self, switches: Tensor | None) -> Tensor | None:
        """Return switches as torch's max_pool2d numbers them."""
        return None if switches is None else plain_switches(switches, self.spec.pool, self.maps, self.layout)


class NativeEngine:
    """The compiled engine. See :class:`dalton.engine_interface.Engine`.

    Args:
        module: The extension module.
        dtype: torch.float32 or torch.float64.
        isa: Instruction set; None: the best of this processor.
    """

    name = "native"

    def __init__(self, module: Any, dtype: torch.dtype, isa: str | None = None) -> None:
        self.kernel = _Kernel(module, dtype, isa or module.isa()[0])

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

    def readout(self, signal: Any, matrix: Tensor, spec: LayerSpec) -> Tensor:
        """Return R o (time, batch, class)."""
        layer = NativeLayer(self.kernel, readout_spec(spec, matrix), matrix)
        return layer.currents(signal)[0].flatten(2)[:, :, : len(matrix)]

    def spread(self, error: Tensor, matrix: Tensor, spec: LayerSpec) -> Tensor:
        """Return R^T dP in the layer's order."""
        layer = NativeLayer(self.kernel, readout_spec(spec, matrix), matrix)
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


def readout_spec(spec: LayerSpec, matrix: Tensor) -> LayerSpec:
    """Return a readout of a layer as a dense layer."""
    return LayerSpec("readout", "dense", spec.output_shape, (len(matrix),), tuple(matrix.shape))
