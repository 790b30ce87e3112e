"""What a run directory holds and how to read it back: configuration, network, weights, features, readout, data."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from reprokit import Checkpoints, UserError, read_config

from nalsm.config import Config
from nalsm.data.loading import Dataset, load_dataset
from nalsm.model.network import LiquidNetwork
from nalsm.model.readout import LinearReadout
from nalsm.names import Split
from nalsm.rules.readout import train_adadelta, train_lbfgs, train_ridge
from nalsm.training.liquid import Liquid

WRITTEN = ("network.npz", "initial_weights.npy", "features_*.np[yz]", "labels_*.npy", "raster.npy", "depression.npy",
           "readout.npz", "checkpoints/trace_*.npy", "checkpoints/features_*/*.npz")  # fmt: skip


@dataclass(frozen=True)
class FinishedRun:
    """A run whose liquid is initialised."""

    path: Path
    config: Config
    network: LiquidNetwork
    weights: np.ndarray

    def liquid(self) -> Liquid:
        """Return the liquid, ready to be shown samples."""
        return Liquid(self.network, self.config)

    def features(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Return the stored spike counts and labels of a split.

        Raises:
            UserError: where they are not there yet.
        """
        files = [self.path / f"{kind}_{split}.npy" for kind in ("features", "labels")]
        for file in files:
            if not file.is_file():
                raise UserError(f"{file} is missing; finish the run with `nalsm train --out {self.path}`.")
        counts, labels = (np.load(file, allow_pickle=False) for file in files)
        return counts, labels


def open_run(path: str | Path) -> FinishedRun:
    """Open a run directory.

    Raises:
        UserError: where it holds no run, or one that is not initialised yet.
    """
    path = Path(path)
    stored = read_config(path)
    if stored is None:
        raise UserError(
            f"{path}: no run (config.json is missing); give the folder that `nalsm train --out` wrote."
        )
    known = {field.name for field in fields(Config)}
    unknown = sorted(set(stored) - known)
    if unknown:
        raise UserError(
            f"{path}: config.json has unknown keys {', '.join(unknown)}; it was made by another version."
        )
    stored["dims"] = tuple(stored["dims"])
    config = Config(**stored)
    weights = path / "initial_weights.npy"
    if not weights.is_file():
        raise UserError(
            f"{path}: the liquid is not initialised yet; finish the run with `nalsm train --out {path}`."
        )
    return FinishedRun(
        path, config, LiquidNetwork.load(path / "network.npz"), np.load(weights, allow_pickle=False)
    )


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
