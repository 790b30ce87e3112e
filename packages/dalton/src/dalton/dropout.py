"""Dropout of emitted spikes: a fresh mask in every time-step, kept spikes multiplied by 1/(1-p) (spec 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from dalton.architectures import LayerSpec
from dalton.network import SpikingCNN


def _draw(shape: tuple[int, ...], spec: LayerSpec, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    keep = 1 - spec.dropout
    return torch.empty(shape, dtype=dtype).bernoulli_(keep, generator=generator).mul_(1 / keep)


class SampleDropout:
    """Masks for whole sequences, drawn sample by sample, so that they do not depend on how a batch is divided.

    Args:
        network: The network.
        masks: Given multipliers (time, batch, ...); None: draw.
        generator: CPU source of one seed per sample.
        batch: Samples.
        steps: Time-steps.
    """

    def __init__(
        self,
        network: SpikingCNN,
        masks: dict[str, Tensor] | None,
        generator: torch.Generator | None,
        batch: int,
        steps: int,
    ) -> None:
        self.network, self.given, self.steps = network, masks, steps
        self.dropped = [] if masks is not None else [layer for layer in network.layers if layer.dropout]
        self.seeds = torch.randint(2**62, (batch,), generator=generator).tolist() if self.dropped else []

    def masks(self, part: slice) -> dict[str, Tensor]:
        """Return the multipliers {layer: (time, batch, ...)} of some samples."""
        if self.given is not None:
            return {name: mask[:, part] for name, mask in self.given.items()}
        seeds = self.seeds[part]
        result = {
            layer.name: torch.empty((self.steps, len(seeds), *layer.output_shape), dtype=self.network.dtype)
            for layer in self.dropped
        }
        for number, seed in enumerate(seeds):
            generator = torch.Generator().manual_seed(seed)
            for layer in self.dropped:
                shape = (self.steps, *layer.output_shape)
                result[layer.name][:, number] = _draw(shape, layer, generator, self.network.dtype)
        return {name: mask.to(self.network.device) for name, mask in result.items()}


class StepDropout:
    """Masks for one time-step after the other.

    Args:
        network: The network.
        masks: Given multipliers (time, batch, ...); None: draw.
        generator: CPU source.
        batch: Samples.
    """

    def __init__(
        self,
        network: SpikingCNN,
        masks: dict[str, Tensor] | None,
        generator: torch.Generator | None,
        batch: int,
    ) -> None:
        self.network, self.given, self.generator, self.batch = network, masks, generator, batch
        self.dropped = [] if masks is not None else [layer for layer in network.layers if layer.dropout]

    def masks(self, t: int) -> dict[str, Tensor]:
        """Return the multipliers {layer: (1, batch, ...)} of time-step `t`; call with t = 0, 1, ..."""
        if self.given is not None:
            return {name: mask[t : t + 1] for name, mask in self.given.items()}
        result = {}
        for layer in self.dropped:
            assert self.generator is not None
            shape = (1, self.batch, *layer.output_shape)
            result[layer.name] = _draw(shape, layer, self.generator, self.network.dtype).to(
                self.network.device
            )
        return result
