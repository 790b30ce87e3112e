"""Parts of a run that other commands use too: its data, its stored counts, its readout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from reprokit import Checkpoints, UserError

from nalsm.config import Config
from nalsm.data.loading import Dataset, Split, load_dataset
from nalsm.rules.readout import LinearReadout, train_adadelta, train_lbfgs, train_ridge


def open_dataset(config: Config) -> Dataset:
    """Load the data set a configuration names."""
    return load_dataset(
        config.data,
        seed=config.seed,
        duration=config.duration,
        own_test_scaling=config.quirks.own_test_scaling,
        jitter_per_sample=config.quirks.jitter_per_sample,
        limits={
            "train": config.train_samples,
            "validation": config.validation_samples,
            "test": config.test_samples,
        },
    )


def chunk_size(config: Config) -> int:
    """Return how many samples are presented between two checkpoints: whole batches of the original, about 1000."""
    return config.batch if config.quirks.carry_trace else max(1000 // config.batch, 1) * config.batch


def compact(counts: np.ndarray) -> np.ndarray:
    """Return counts in the smallest unsigned type that holds them."""
    top = int(counts.max(initial=0))
    return counts.astype(np.uint8 if top < 256 else np.uint16)


def fit_readout(
    config: Config,
    counts: dict[Split, np.ndarray],
    labels: dict[Split, np.ndarray],
    classes: int,
    *,
    threads: int = 1,
    checkpoints: Checkpoints | None = None,
) -> LinearReadout:
    """Train the readout a configuration names; Adadelta goes on from its last checkpoint, if there is one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order; where threads pay, they share the samples in fixed groups
    try:
        return _fit(config, counts, labels, classes, threads, checkpoints)
    finally:
        torch.set_num_threads(before)


def _fit(
    config: Config,
    counts: dict[Split, np.ndarray],
    labels: dict[Split, np.ndarray],
    classes: int,
    threads: int,
    checkpoints: Checkpoints | None,
) -> LinearReadout:
    validation = (counts["validation"], labels["validation"])
    if config.readout == "ridge":
        return train_ridge(counts["train"], labels["train"], classes=classes)
    if config.readout == "lbfgs":
        return train_lbfgs(
            counts["train"], labels["train"], classes=classes, soft=config.soft_labels,
            l2=5e-10 if config.soft_labels else 1e-6, iterations=min(config.readout_epochs, 300), validation=validation,
            threads=threads,
        )  # fmt: skip
    return train_adadelta(
        counts["train"], labels["train"], classes=classes, epochs=config.readout_epochs, batch=config.batch,
        batch_maximum=config.quirks.batch_maximum, validation=validation,
        evaluate_every=1 if config.profile == "faithful" else 25, checkpoints=checkpoints,
    )  # fmt: skip


def load_readout(path: str | Path) -> LinearReadout:
    """Read the readout of a run directory.

    Raises:
        UserError: where the run has none yet.
    """
    file = Path(path) / "readout.npz"
    if not file.is_file():
        raise UserError(f"{file}: no readout; finish the run with `nalsm train --out {path}`.")
    with np.load(file, allow_pickle=False) as data:
        return LinearReadout(data["weight"], data["bias"], float(data["maximum"]))
