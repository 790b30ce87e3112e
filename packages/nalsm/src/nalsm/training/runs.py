"""Reading a run directory back: configuration, network, weights, features."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from reprokit import RunDirectory, UserError, read_config

from nalsm.config import Config
from nalsm.data.loading import Split
from nalsm.model.network import LiquidNetwork
from nalsm.training.liquid import Liquid

WRITTEN = ("network.npz", "initial_weights.npy", "features_*.np[yz]", "labels_*.npy", "raster.npy", "depression.npy",
           "readout.npz", "metrics.jsonl", "summary.json", "config.json")  # fmt: skip


def clear_run(path: str | Path) -> None:
    """Delete a run, but nothing else, from its directory; a directory without a run is left as it is.

    Raises:
        UserError: where the directory holds the run of another program, or one that is going on.
    """
    path = Path(path)
    stored = read_config(path)
    if stored is None:
        return
    if not {"model", "astrocyte_weight"} <= set(stored):
        raise UserError(f"{path}: config.json is of another program; choose another folder.")
    with RunDirectory(path, stored):
        shutil.rmtree(path / "checkpoints", ignore_errors=True)
        for pattern in WRITTEN:
            for file in path.glob(pattern):
                file.unlink()


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
