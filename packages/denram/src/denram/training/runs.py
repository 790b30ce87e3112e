"""Stored runs: configuration, trained network, and location of the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from reprokit import Checkpoints, StoredRun, UserError, read_run
from reprokit.config import read_values, rebuild
from reprokit.run.checkpoint import DamagedCheckpoint, read_checkpoint
from reprokit.run.stored import read_digests, read_whole
from reprokit.types import CHANNELS

from denram.config import TrainConfig
from denram.data.loading import DataSet, is_named, load_data
from denram.engines.network import DelayNetwork
from denram.layer.stack import StackNetwork
from denram.spec import Engine

# Files of a run directory besides those of reprokit: best weights, delays, seconds spent; SOURCE, where the data
# were, is in runs of version 0.1 only.
WEIGHTS, DELAYS, TIMING, SOURCE = "weights.npy", "delays.npy", "timing.json", "source.json"
NOT_FIELDS = ("package", "data_fingerprint")  # keys of config.json that are not settings
RECORD = ("epoch", "train_loss", "train_acc", "val_loss", "val_acc", "test_acc", "new_best", "learning_rate")
SUMMARY = (
    *("best_epoch", "train_acc", "val_acc", "test_acc", "test_acc_p5", "test_acc_p95", "test_draws"),
    *("test_samples", "epochs", "stopped_early", "n_parameters"),
)
Which = Literal["best", "last"]


@dataclass(frozen=True, eq=False)
class Run:
    """A trained network on disk.

    Args:
        stored: Content of the run directory; `records` has one entry per epoch, `summary` the final numbers.
        config: Its configuration; `data` is the location of the data, `out` the directory.
        weights: Float32 `(n_out, n_in * n_delays + 1)`: those of the best epoch, or of the last one. For
            several layers, all weights by name, recurrent ones included (`denram.layer.stack`).
        delays: Delays in whole steps, float32 `(n_out, n_in * n_delays)`; for several layers by name.
    """

    stored: StoredRun
    config: TrainConfig
    weights: Any
    delays: Any

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.stored.path

    def network(self, *, engine: Engine = "auto", threads: int = 1) -> DelayNetwork | StackNetwork:
        """The network with its delays, ready for evaluation.

        Raises:
            UserError: Engine ``events`` for a network of several layers.
        """
        if self.config.layers > 1:
            if engine == "events":
                raise UserError(
                    f"engine is 'events', but {self.path} has several layers; choose auto or fft."
                )
            return StackNetwork(self.delays, self.config.stack(1))
        return DelayNetwork(self.delays, self.config.network(1), engine=engine, threads=threads)

    def data(self, source: str | None = None) -> DataSet:
        """The data of the run, or other data of the same shape.

        Args:
            source: As for `load_data`; None: where the run found its data.

        Raises:
            UserError: If the data are missing, differ from those of the run, or have more classes than outputs.
        """
        found = load_data(
            source or self.config.data,
            self.config.binning,
            channels=None if is_named(source or self.config.data) else self.config.channels or CHANNELS,
            time_unit=self.config.time_unit,
            start=self.config.start,
            allow_loss=True,
            levels=self.config.levels,
            classes=self.config.n_out,
        )
        if source is None and found.fingerprint != self.stored.config["data_fingerprint"]:
            raise UserError(
                f"The data at {self.config.data} are not those that {self.path} was trained on; "
                "name data with --data."
            )
        self.config.outputs(found.classes)
        return found

    def result(self) -> dict[str, Any]:
        """Final numbers.

        Raises:
            UserError: If the run is not finished.
        """
        if self.stored.summary is None:
            raise UserError(
                f"{self.path} is not finished; run `denram train` again with the same options first."
            )
        return self.stored.summary


def open_run(path: str | Path, which: Which = "best") -> Run:
    """Read a run directory; every file in it is checked, none is written.

    Args:
        path: The directory.
        which: Weights of the best epoch, or of the last one that a checkpoint holds.

    Raises:
        UserError: If the folder contains no run of this package, a run without weights yet, or damaged files.
    """
    stored = read_run(path, package="denram")
    file = stored.path / "config.json"
    config = rebuild(TrainConfig, stored.config, str(file), ignore=NOT_FIELDS, out=stored.path)
    if not isinstance(stored.config.get("data_fingerprint"), str):
        raise UserError(f"{file} does not name its data; restore the file or train again.")
    if not (stored.path / WEIGHTS).exists():
        raise UserError(
            f"{path} has no weights yet: no epoch is finished; "
            "run `denram train` again with the same options."
        )
    shapes = config.stack(1).shapes()
    arrays = {
        name: stored.array(f"{name}.npy", shape=shape, dtype=np.float32) for name, shape in shapes.items()
    }
    last = _check_files(stored, shapes["weights"])
    if which == "last":
        if not last:
            raise UserError(f"{path} has no checkpoint, so its last weights are gone; choose which best.")
        arrays |= {name: last[name] for name in shapes if name in last}
    config = replace(config, data=_source(stored))
    delays = {name: np.rint(array) for name, array in arrays.items() if name.startswith("delays")}
    weights = {name: array for name, array in arrays.items() if name not in delays}
    if config.layers == 1:
        return Run(stored, config, weights["weights"], delays["delays"])
    return Run(stored, config, weights, delays)


def read_seconds(path: Path) -> float:
    """Wall time of the finished run in `path`, in seconds."""
    return float(_entry(path / TIMING, "seconds", float))


def _source(stored: StoredRun) -> str:
    """Where the run found its data."""
    if stored.options:
        return str(stored.options.get("data") or stored.config["data"])
    return _entry(stored.path / SOURCE, "data", str)


def _check_files(stored: StoredRun, shape: tuple[int, int]) -> Mapping[str, np.ndarray]:
    """Refuse damaged files and those of another program; returns the arrays of the newest checkpoint."""
    log, summary, trained = stored.path / "metrics.jsonl", stored.summary, 0
    last: Mapping[str, np.ndarray] = {}
    for name in read_digests(stored.path):
        read_whole(stored.path, name)
    for file in reversed(Checkpoints(stored.path / "checkpoints").newest_first()):
        try:
            found = read_checkpoint(file)
        except DamagedCheckpoint as error:
            raise UserError(
                f"{error}; delete it, and `denram train` continues from the one before"
            ) from error
        last, trained = found.arrays, found.step
        if "weights" not in last or last["weights"].shape != shape:
            raise UserError(f"{file} is not a checkpoint of this run; delete it.")
    for number, record in enumerate(stored.records, start=1):
        tested = (
            record if record.get("test_acc", "") is not None else {**record, "test_acc": 0}
        )  # None: not tested
        _check_numbers(tested, RECORD, f"{log} line {number}")
    if summary is not None:
        _check_numbers(summary, SUMMARY, str(stored.path / "summary.json"))
        read_seconds(stored.path)
        trained = summary["epochs"]
    if len(stored.records) < trained:
        raise UserError(
            f"{log} holds {len(stored.records)} of {trained} epochs; restore the file or train again."
        )
    return last


def _check_numbers(values: Mapping[str, Any], names: Iterable[str], source: str) -> None:
    for name in names:
        if not isinstance(values.get(name), int | float):
            raise UserError(
                f"{source} is not denram's: {name} is not a number; restore the file or train again."
            )


def _entry(file: Path, name: str, kind: type) -> Any:
    value = read_values(file).get(name)
    if not isinstance(value, kind):
        raise UserError(f"{file} does not hold {name}; restore the file or train again.")
    return value
