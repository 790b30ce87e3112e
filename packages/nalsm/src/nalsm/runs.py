"""Reading a run directory back: configuration, network, weights, features."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from reprokit import UserError, read_config

from nalsm.config import Config
from nalsm.data import Split
from nalsm.liquid import Liquid
from nalsm.network import LiquidNetwork


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
