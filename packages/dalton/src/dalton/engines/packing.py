"""The compiled kernels of one float type and instruction set, and the form in which they take spikes: bits."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dalton.engines.native_layout import Layout
from dalton.model.dropout_mask import DropoutMask
from dalton.model.neuron import NeuronParameters


class Bits(NamedTuple):
    """A signal: words (time, batch, word) int64, the value of a spike, and what channels are padded to."""

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
        """Return a neuron's constants as the kernels take them."""
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
