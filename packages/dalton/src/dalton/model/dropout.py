"""Dropout of emitted spikes: a fresh mask in every time-step, kept spikes multiplied by 1/(1-p).

On an accelerator, masks are drawn there by a generator that is seeded from the CPU's: the same seed gives
different masks than on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dalton.model.architectures import LayerSpec
from dalton.model.network import SpikingCNN


class DropoutMask:
    """Multipliers of emitted spikes, (time, batch, ...): one value for kept spikes, or any values.

    Args:
        keep: bool, or multipliers of any value.
        scale: Multiplier of kept spikes; None where `keep` holds multipliers.
    """

    def __init__(self, keep: Tensor, scale: float | None) -> None:
        self.keep, self.scale = keep, scale
        self.prepared: Any = None  # the mask in an engine's own form

    @staticmethod
    def from_multipliers(values: Tensor) -> DropoutMask:
        """Return the mask of given multipliers; `scale` stays None if kept spikes have several values."""
        keep = values != 0
        kept = values[keep]
        if len(kept) == 0:
            return DropoutMask(keep, 1.0)
        low, high = (float(v) for v in torch.aminmax(kept))
        return DropoutMask(keep, high) if low == high else DropoutMask(values, None)

    def part(self, index: tuple[slice, ...]) -> DropoutMask:
        """Return the mask of some time-steps and samples."""
        return DropoutMask(self.keep[index], self.scale)

    def multipliers(self, dtype: torch.dtype) -> Tensor:
        """Return the multipliers as numbers."""
        values = self.keep.to(dtype)
        return values if self.scale is None else values.mul_(self.scale)


LEVELS = 1 << 16  # a spike is kept where 16 random bits are below (1-p) 2^16


def draw_keep(shape: tuple[int, ...], dropout: float, generator: torch.Generator) -> Tensor:
    """Return bool: True with probability 1-p, to within 2^-17."""
    numbers = torch.empty((math.prod(shape) + 3) // 4, dtype=torch.int64, device=generator.device)
    numbers.random_(-(2**63), None, generator=generator)
    bits = numbers.view(torch.int16)[: math.prod(shape)]
    limit = round((1 - dropout) * LEVELS) - LEVELS // 2
    if limit == LEVELS // 2:  # more than 16 bits can hold, where p is below 2^-17
        return torch.ones(shape, dtype=torch.bool, device=generator.device)
    return (bits < limit).view(shape)


class SampleDropout:
    """Masks for whole sequences, drawn sample by sample, so they do not depend on how a batch is divided.

    Args:
        network: The network.
        masks: Given masks (time, batch, ...); None: draw.
        generator: CPU source of one seed per sample.
        batch: Samples.
        steps: Time-steps.
    """

    def __init__(
        self,
        network: SpikingCNN,
        masks: Mapping[str, DropoutMask] | None,
        generator: torch.Generator | None,
        batch: int,
        steps: int,
    ) -> None:
        self.network, self.given, self.steps = network, masks, steps
        self.dropped = [] if masks is not None else [layer for layer in network.layers if layer.dropout]
        self.seeds = torch.randint(2**62, (batch,), generator=generator).tolist() if self.dropped else []

    def masks(self, part: slice) -> dict[str, DropoutMask]:
        """Return the masks {layer: (time, batch, ...)} of some samples."""
        if self.given is not None:
            return {name: mask.part((slice(None), part)) for name, mask in self.given.items()}
        seeds = self.seeds[part]
        if self.dropped and self.network.device.type != "cpu":  # the whole batch at once
            generator = torch.Generator(self.network.device).manual_seed(seeds[0])
            shapes = {layer.name: (self.steps, len(seeds), *layer.output_shape) for layer in self.dropped}
            return {
                layer.name: _mask(
                    layer, draw_keep(shapes[layer.name], layer.dropout, generator), self.network
                )
                for layer in self.dropped
            }
        keep = {
            layer.name: torch.empty((self.steps, len(seeds), *layer.output_shape), dtype=torch.bool)
            for layer in self.dropped
        }
        for number, seed in enumerate(seeds):
            generator = torch.Generator().manual_seed(seed)
            for layer in self.dropped:
                shape = (self.steps, *layer.output_shape)
                keep[layer.name][:, number] = draw_keep(shape, layer.dropout, generator)
        return {layer.name: _mask(layer, keep[layer.name], self.network) for layer in self.dropped}


class StepDropout:
    """Masks for one time-step at a time.

    Args:
        network: The network.
        masks: Given masks (time, batch, ...); None: draw.
        generator: CPU source.
        batch: Samples.
    """

    def __init__(
        self,
        network: SpikingCNN,
        masks: Mapping[str, DropoutMask] | None,
        generator: torch.Generator | None,
        batch: int,
    ) -> None:
        self.network, self.given, self.generator, self.batch = network, masks, generator, batch
        self.dropped = [] if masks is not None else [layer for layer in network.layers if layer.dropout]
        if self.dropped and network.device.type != "cpu":
            seed = int(torch.randint(2**62, (), generator=generator))
            self.generator = torch.Generator(network.device).manual_seed(seed)

    def masks(self, t: int) -> dict[str, DropoutMask]:
        """Return the masks {layer: (1, batch, ...)} of time-step `t`; call with t = 0, 1, ... in turn."""
        if self.given is not None:
            return {name: mask.part((slice(t, t + 1),)) for name, mask in self.given.items()}
        result = {}
        for layer in self.dropped:
            assert self.generator is not None
            shape = (1, self.batch, *layer.output_shape)
            result[layer.name] = _mask(layer, draw_keep(shape, layer.dropout, self.generator), self.network)
        return result


def _mask(layer: LayerSpec, keep: Tensor, network: SpikingCNN) -> DropoutMask:
    return DropoutMask(keep.to(network.device), 1 / (1 - layer.dropout))
