"""Collects what the original dumps every epoch: predicted classes in training, class outputs in the test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dalton.data.samples import Portion
from dalton.formats.dumps import write_dump
from dalton.model.network import SpikingCNN
from dalton.names import EngineName
from dalton.training.step import StepResult, classes, observe

LABELS = "true"


class EpochDump:
    """Predicted classes of an epoch's training samples so far, in the order in which they were seen.

    Args:
        network: The network.
        method: Its method; with ``tfr`` every layer predicts, otherwise only the last, as in the original.
        online: Whether weights are updated every time-step; then, too, only the last layer predicts.
    """

    def __init__(self, network: SpikingCNN, method: str, online: bool) -> None:
        self.network = network
        self.every_layer = method == "tfr"
        self.training_layers = (
            network.layer_names if self.every_layer and not online else network.layer_names[-1:]
        )
        # TFR's online model has entries for the other layers, but empty ones
        self.empty = network.layer_names[:-1] if self.every_layer and online else []
        self.parts: dict[str, list[np.ndarray]] = {}

    @property
    def record(self) -> tuple[str, ...]:
        """The arrays that :func:`dalton.train_step` must record."""
        return ("readout",) if len(self.training_layers) > 1 else ()

    def add(self, result: StepResult, labels: Tensor) -> None:
        """Add one batch."""
        found = {self.network.layer_names[-1]: result.predictions, LABELS: labels}
        for layer in self.training_layers[:-1]:
            found[layer] = classes(result.records["readout"][layer])
        for name, values in found.items():
            self.parts.setdefault(name, []).append(values.cpu().numpy().astype(np.int64))

    def arrays(self) -> dict[str, np.ndarray]:
        """The state for a checkpoint."""
        return {name: np.concatenate(parts) for name, parts in self.parts.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from a checkpoint."""
        self.parts = {name: [array] for name, array in arrays.items()}

    def write_training(self, folder: Path, epoch: int) -> None:
        """Write the file of the epoch's predictions and start the next."""
        found = self.arrays()
        labels = found.pop(LABELS)
        layers = {**{name: np.empty(0, np.int64) for name in self.empty}, **found}
        write_dump(folder, epoch, "training", layers, labels)
        self.parts = {}

    def write_test(
        self, folder: Path, epoch: int, portion: Portion, batch_size: int, burn_in: int, engine: EngineName
    ) -> None:
        """Write the file of the test samples' class outputs (sample, time, class), with TFR of all layers."""
        names = self.network.layer_names if self.every_layer else self.network.layer_names[-1:]
        parts: dict[str, list[Tensor]] = {name: [] for name in names}
        truth = []
        for inputs, labels in portion.batches(batch_size, epoch):
            outputs, records = observe(
                self.network, inputs, portion.static_steps, burn_in, engine,
                ("spikes",) if self.every_layer else (),
            )  # fmt: skip
            for name in names[:-1]:
                spikes = records["spikes"][name][burn_in:].flatten(2)
                parts[name].append(
                    (spikes.to(self.network.dtype) @ self.network.readout(name).T).transpose(0, 1).cpu()
                )
            parts[names[-1]].append(outputs.transpose(0, 1).cpu())
            truth.append(labels.cpu())
        write_dump(
            folder, epoch, "test", {name: _joined(found) for name, found in parts.items()}, torch.cat(truth)
        )


def _joined(parts: Iterable[Tensor]) -> np.ndarray:
    return torch.cat(list(parts)).float().numpy()
