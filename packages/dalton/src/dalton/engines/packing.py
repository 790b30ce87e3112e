"""The form of values, spikes and switches in the compiled core.

Values are stored in the order of `Layout`, spikes are bits (`Bits`), and the switch of a max-pool is the number of the
winner within its window, row by row. `Kernel` is the core for one float type and instruction set.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dalton.model.architectures import LayerSpec
from dalton.model.dropout import DropoutMask
from dalton.model.neuron import NeuronParameters


def words(units: int) -> int:
    """Return the number of 64-bit words for an image's spikes; one more than needed, for reading across the end."""
    return -(-units // 64) + 1


@dataclass(frozen=True)
class Layout:
    """(row, column, padded channel) of one image.

    Attributes:
        height: Rows.
        width: Columns.
        channels: Channels.
        padded: Channels with padding.
    """

    height: int
    width: int
    channels: int
    padded: int

    @staticmethod
    def of(shape: tuple[int, ...], multiple: int) -> Layout:
        """Return the layout of a plain shape (channel, height, width) or (unit,), channels padded to a multiple."""
        channels, height, width = shape if len(shape) == 3 else (shape[0], 1, 1)
        return Layout(height, width, channels, -(-channels // multiple) * multiple)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image's values."""
        return self.height, self.width, self.padded

    @property
    def units(self) -> int:
        """Values of one image, padding included."""
        return math.prod(self.shape)

    @property
    def words(self) -> int:
        """Words of one image's spikes."""
        return words(self.units)

    def maps(self, module: Any) -> Any:
        """Return the layout in the form of the packing functions."""
        return module.Maps(self.height, self.width, self.channels, self.padded)


class Bits(NamedTuple):
    """A signal: words (time, batch, word) int64, the value of a spike, and the padding of channels."""

    words: Tensor
    scale: float
    padding: int


class Kernel:
    """The kernels of one float type and instruction set.

    Args:
        module: The extension module.
        dtype: torch.float32 or torch.float64.
        isa: Instruction set.
    """

    def __init__(self, module: Any, dtype: torch.dtype, isa: str) -> None:
        double = dtype == torch.float64
        self.module, self.dtype = module, dtype
        self.core = (module.CoreDouble if double else module.CoreFloat)(isa)
        self.neuron_type = module.NeuronDouble if double else module.NeuronFloat
        self.lanes = self.core.lanes
        self.pad = 8 if double else 16

    def extent(self, array: Tensor) -> Any:
        """Return time-steps and samples of an array (time, batch, ...), and the number of threads."""
        return self.module.Extent(array.shape[0], array.shape[1], torch.get_num_threads())

    def neuron(self, neuron: NeuronParameters) -> Any:
        """Return a neuron's constants in the kernels' form."""
        return self.neuron_type(
            neuron.decay, neuron.threshold, neuron.surrogate_scale, neuron.reset == "hard"
        )

    def empty(self, *shape: int) -> Tensor:
        """Return an array of the kernels' type, not initialised."""
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


LARGEST_WINDOW = 16  # side of a window whose elements a byte can count


def too_wide(specs: Iterable[LayerSpec]) -> str | None:
    """Return a clause naming the layer whose max-pool window has more elements than a switch can count."""
    for spec in specs:
        if spec.max_pooled and spec.pool > LARGEST_WINDOW:
            return (
                f"{spec.name} takes the maximum over {spec.pool} x {spec.pool}, and the compiled engine goes up to "
                f"{LARGEST_WINDOW} x {LARGEST_WINDOW}"
            )
    return None


def plain_switches(switches: Tensor, pool: int, maps: Layout, layout: Layout) -> Tensor:
    """Return int64 (image, channel, height, width): places in a map of (height x width), as max_pool2d gives them."""
    number = switches[..., : layout.channels].long().movedim(-1, 2).flatten(0, 1)
    rows = torch.arange(layout.height).view(-1, 1) * pool + number // pool
    columns = torch.arange(layout.width) * pool + number % pool
    return rows * maps.width + columns
