"""TensorBoard events of a run (``pip install tensorboard``). Names follow the original's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from reprokit import UserError
from torch import nn

from sbs.model.networks import sbs_layers

SCALARS = {
    "train_error": "Train Performance",
    "loss": "Train Loss",
    "weight_rate": "Learning Rate Scale WF",
    "epsilon_rate": "Learning Rate Scale Eps XY",
}


class Tracker:
    """Writes scalars per update and histograms per test; does nothing without a folder.

    Args:
        folder: Folder of the event files; None switches tracking off.
        first_update: Events from here on belong to an interrupted run and are hidden.

    Raises:
        UserError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path | None, first_update: int = 0) -> None:
        self._writer: Any = None
        if folder is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "TensorBoard is not installed; install it with: pip install tensorboard"
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=first_update)

    def update(self, record: Mapping[str, Any], network: nn.Module) -> None:
        """Write one log record, and histograms of weights and epsilon_xy if it includes a test."""
        if self._writer is None:
            return
        step = record["update"]
        for key, name in SCALARS.items():
            if record.get(key) is not None:
                self._writer.add_scalar(name, record[key], step)
        if "accuracy" in record:
            self._writer.add_scalar("Test Error", 100.0 - record["accuracy"], step)
            with torch.no_grad():
                for index, layer in enumerate(sbs_layers(network)):
                    self._writer.add_histogram(f"Weights {index}", layer.weights.detach().cpu(), step)
                    self._writer.add_histogram(f"Epsilon XY {index}", layer.epsilon_xy.detach().cpu(), step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
