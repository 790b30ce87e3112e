"""What accumulates over the batches of an epoch, kept in checkpoints so that a resumed epoch reports the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class EpochSums:
    """Sums over the samples of the epoch so far, and the loss of each of its batches.

    Attributes:
        samples: Number of samples.
        right: Samples predicted rightly.
        layers: Loss of each layer, times samples.
        rates: Firing rate of each layer, times samples.
        losses: Total loss of each batch; online the mean over the time-steps from the burn-in on.
        accuracies: Share of right predictions of each batch.
    """

    samples: int = 0
    right: int = 0
    layers: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    weighted: float = 0.0

    def add(
        self,
        loss: float | Tensor,
        layer_losses: Mapping[str, float],
        rates: Mapping[str, float],
        predictions: Tensor,
        labels: Tensor,
    ) -> None:
        """Add one batch.

        Args:
            loss: Total loss, or (time,) of it.
            layer_losses: By layer.
            rates: Firing rates by layer.
            predictions: (batch,), int64.
            labels: (batch,), int64.
        """
        count = len(labels)
        value = float(torch.as_tensor(loss).double().mean())
        right = int((predictions.cpu() == labels.cpu()).sum())
        self.samples += count
        self.right += right
        self.weighted += count * value
        self.losses.append(value)
        self.accuracies.append(right / count)
        for sums, values in ((self.layers, layer_losses), (self.rates, rates)):
            for layer, number in values.items():
                sums[layer] = sums.get(layer, 0.0) + count * float(number)

    def record(self) -> dict[str, Any]:
        """Means over the samples, and the course over the batches."""
        return {
            "train_loss": self.weighted / self.samples,
            "layer_losses": {layer: value / self.samples for layer, value in self.layers.items()},
            "train_accuracy": self.right / self.samples,
            "firing_rates": {layer: value / self.samples for layer, value in self.rates.items()},
            "batch_losses": self.losses,
            "batch_accuracies": self.accuracies,
        }
