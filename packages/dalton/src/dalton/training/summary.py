"""What a finished run reports: ``summary.json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dalton.config import TrainConfig
from dalton.data.samples import Splits
from dalton.engines.choice import engine_for
from dalton.model.network import SpikingCNN

Record = dict[str, Any]
_LAST = (
    "train_loss", "layer_losses", "train_accuracy", "train_accuracy_leaks", "validation_accuracy", "test_accuracy",
    "firing_rates", "peak_memory_mb",
)  # fmt: skip


def summarise(
    config: TrainConfig,
    data: Splits,
    net: SpikingCNN,
    records: Sequence[Record],
    epochs: int,
    best: tuple[float, int] | None,
    seconds: float,
) -> Record:
    """Figures of the last epoch, the selected epoch, sizes, and where the run took place.

    Args:
        config: Options.
        data: Data set.
        net: Network.
        records: One an epoch.
        epochs: Epochs done.
        best: Accuracy and number of the selected epoch; None before the first.
        seconds: Wall time, of all resumed parts together.
    """
    epoch = 0 if best is None else best[1]
    chosen: Record = next((record for record in records if record["epoch"] == epoch), {})
    last: Record = records[-1] if records else {}
    device = net.device
    return {
        **{name: last.get(name) for name in _LAST},
        "epochs": epochs,
        "selected_epoch": epoch,
        "selected_by": "test" if data.validation is None else "validation",
        "selected_test_accuracy": chosen.get("test_accuracy"),
        "method": config.method,
        "setting": config.setting,
        "network": f"{net.arch.name}, {sum(p.numel() for p in net.parameters())} weights",
        "dataset": data.name,
        "train_samples": len(data.train),
        "validation_samples": 0 if data.validation is None else len(data.validation),
        "test_samples": len(data.test),
        "steps": data.train.steps,
        "burn_in": config.resolved_burn_in(data.train.steps),
        "engine": engine_for(config.engine_name, net).name,
        "seconds": seconds,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }
