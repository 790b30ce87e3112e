"""Loss and error of networks: on a batch of scores, on a portion of the data, or of a stored run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from reprokit import UserError
from reprokit.config import device_name
from torch import Tensor

from bdfa.config import TrainConfig
from bdfa.data.loading import EVALUATION_BATCH, Portion, augment, data_folder_of, other_portion
from bdfa.engines.engine import Engine, load_model_arrays, make_engine
from bdfa.randomness import stream
from bdfa.training.runs import named, open_run

Split = Literal["train", "validation", "test"]


def scores_loss(scores: Tensor, labels: Tensor, loss: str, log_probabilities: bool = False) -> Tensor:
    """Mean loss of each network as the original prints it: bce over samples and classes, ce over samples.

    Args:
        scores: (network, sample, class).
        labels: (sample,).
        loss: ``"bce"`` or ``"ce"``.
        log_probabilities: Whether the scores are log-probabilities already.

    Returns:
        (network,), float64.
    """
    scores = scores.double()
    if loss == "bce":
        # scatter_ instead of one_hot, which may wait for the device to look at the labels
        target = torch.zeros_like(scores).scatter_(-1, labels[None, :, None].expand(len(scores), -1, 1), 1.0)
        return F.binary_cross_entropy_with_logits(scores, target, reduction="none").mean((-1, -2))
    rows = scores if log_probabilities else torch.log_softmax(scores, -1)
    return -rows.gather(-1, labels[None, :, None].expand(len(scores), -1, 1)).mean((-1, -2))


def evaluate(
    engine: Engine, portion: Portion, config: TrainConfig, role: str = "test", epoch: int = 0
) -> list[tuple[float, float]]:
    """Error (fraction) and loss of each network on a portion of the data.

    With ``augment`` and profile ``faithful`` the test images are augmented too, as in the original (DEV-26).
    """
    wrong = torch.zeros(len(engine.models), dtype=torch.float64, device=portion.labels.device)
    total = wrong.clone()
    for number, (images, labels) in enumerate(portion.batches(EVALUATION_BATCH)):
        if config.augment and config.faithful and role == "test":
            images = augment(images, stream(config.seed, "augment test", epoch, number))
        scores = engine.scores(images)
        wrong += (scores.argmax(-1) != labels).sum(-1)
        total += scores_loss(scores, labels, config.loss, engine.models[0].log_probabilities) * len(labels)
    count = len(portion)
    return [(error / count, loss / count) for error, loss in zip(wrong.tolist(), total.tolist(), strict=True)]


def evaluate_run(
    path: Path,
    *,
    data: str | None = None,
    split: Split = "test",
    which: Literal["last", "best"] = "last",
    engine: Literal["auto", "module", "fast"] = "auto",
    device: str = "auto",
) -> list[dict[str, Any]]:
    """Error and loss of each network of a run, one row per network.

    Args:
        path: Run directory.
        data: Another data set, or a folder of downloaded ones, see `data_folder_of`.
        split: Portion of the data; for another data set, only train or test.
        which: Checkpoint to take.
        engine: Engine, as in training.
        device: Device, as in training.

    Raises:
        UserError: The run, its checkpoint or the data cannot be used.
    """
    run = open_run(path)
    found = run.checkpoint(which)
    folder, other = data_folder_of(data, run.configs[0].dataset)
    place = torch.device(device_name(device, torch.cuda.device_count()))
    configs = [replace(c, engine=engine, data_dir=run.data_dir(folder), device=device) for c in run.configs]
    loaded = run.data(configs[0], place)
    portions = {"train": loaded.train, "validation": loaded.validation, "test": loaded.test}
    portion = portions[split] if other is None else None
    if other is not None and split != "validation":
        portion = other_portion(loaded, other, split)
    if portion is None:
        raise UserError(
            f"--split {split}: {other or path} holds out no validation images; choose train or test."
        )
    networks = make_engine(configs, loaded.input_shape, loaded.classes, place)
    load_model_arrays(networks.models, named(found, "model/"), path)
    epoch = max((int(record["epoch"]) for record in run.records("epoch")), default=0)
    measured = evaluate(networks, portion, configs[0], split, epoch)
    return [
        {
            "run": str(path), "network": index, "rule": config.rule, "seed": config.seed,
            "data": other or loaded.name, "split": split, "samples": len(portion), "error": error, "loss": loss,
        }
        for index, (config, (error, loss)) in enumerate(zip(configs, measured, strict=True))
    ]  # fmt: skip
