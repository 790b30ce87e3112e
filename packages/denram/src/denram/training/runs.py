"""Finished (or half-finished) runs read back from their directories."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import UserError, read_config

from denram.config import TrainConfig
from denram.data.loading import DataSet, load_data
from denram.engines.network import DelayNetwork
from denram.spec import Engine

# Files of a run directory besides those of reprokit: best weights, delays, where the data were, seconds spent.
WEIGHTS, DELAYS, SOURCE, TIMING = "weights.npy", "delays.npy", "source.json", "timing.json"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, eq=False)
class Run:
    """A trained network on disk.

    Args:
        path: Run directory.
        settings: The content of config.json.
        config: The same as a configuration.
        weights: Best weights, float32 `(n_out, n_in * n_delays + 1)`.
        delays: Delays in steps, float32 `(n_out, n_in * n_delays)`.
    """

    path: Path
    settings: dict[str, Any]
    config: TrainConfig
    weights: np.ndarray
    delays: np.ndarray

    def network(self, *, engine: Engine = "auto", threads: int = 1) -> DelayNetwork:
        """The network with its delays, ready to be evaluated."""
        return DelayNetwork(self.delays, self.config.network(1), engine=engine, threads=threads)

    def data(self, source: str | None = None) -> DataSet:
        """The data of the run, or others of the same shape.

        Args:
            source: As for `load_data`; None: where the run found its data.

        Raises:
            UserError: If the data are gone, differ from those of the run, or have more classes than outputs.
        """
        found = load_data(source or self._source(), self.config.binning)
        if source is None and found.fingerprint != self.settings["data_fingerprint"]:
            raise UserError(
                f"The data at {self._source()} are not those that {self.path} was trained on; "
                "name data with --data."
            )
        self.config.outputs(found.classes)
        return found

    def records(self) -> list[dict[str, Any]]:
        """The log, one record an epoch."""
        log = self.path / "metrics.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def summary(self) -> dict[str, Any] | None:
        """Final numbers, or None while the run is not finished."""
        file = self.path / "summary.json"
        return json.loads(file.read_text()) if file.exists() else None

    def result(self) -> dict[str, Any]:
        """Final numbers.

        Raises:
            UserError: If the run is not finished.
        """
        found = self.summary()
        if found is None:
            raise UserError(
                f"{self.path} is not finished; run `denram train` again with the same options first."
            )
        return found

    def _source(self) -> str:
        return str(json.loads((self.path / SOURCE).read_text())["data"])


def open_run(path: Path) -> Run:
    """Read a run directory.

    Raises:
        UserError: If the folder holds no run of this package, or one without weights yet, or damaged files.
    """
    settings = read_config(path)
    if settings is None or settings.get("package") != "denram":
        raise UserError(
            f"{path} is not a run directory of denram; give the folder that `denram train` named."
        )
    if not (path / WEIGHTS).exists():
        raise UserError(
            f"{path} has no weights yet: no epoch is finished; "
            "run `denram train` again with the same options."
        )
    config = TrainConfig.from_identity(settings, out=path)
    spec = config.network(1)
    weights, delays = _read_array(path / WEIGHTS), _read_array(path / DELAYS)
    for name, array, shape in (
        (WEIGHTS, weights, (spec.n_out, spec.n_synapses + 1)),
        (DELAYS, delays, (spec.n_out, spec.n_synapses)),
    ):
        if array.shape != shape or array.dtype != np.float32:
            raise UserError(
                f"{path / name} holds {array.dtype} {array.shape}, but config.json asks for float32 {shape}."
            )
    return Run(path, settings, config, weights, delays)


def _read_array(file: Path) -> np.ndarray:
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read as an array ({error}); train again in a new folder."
        ) from error
