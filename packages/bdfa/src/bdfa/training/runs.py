"""Reading a run directory: its configurations, its records, its networks; nothing is written."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from reprokit import Checkpoint, StoredRun, UserError, read_run
from reprokit.config import rebuild
from reprokit.files import write_file

from bdfa.config import TrainConfig
from bdfa.data.loading import Data, load_data
from bdfa.engines.build import build_model
from bdfa.engines.engine import load_model_arrays
from bdfa.rules.feedback_model import FeedbackModel

FILES = (
    "angles.*",
    "errors.*",
    "generated.*",
)  # what commands other than training write into a run directory
Record = dict[str, Any]
_NUMBERS = {
    "epoch": ("network", "step", "epoch", "train_error", "test_error"),
    "alignment": ("step", "gradient_angle"),
}
_SUMMARY = {"rule", "seed", "epochs", "steps", "train_error", "test_error", "validation_error", "best_test_error",
            "seconds", "dataset", "device", "threads", "engine"}  # fmt: skip
_REMEDY = "restore the file or train again in another folder."


@dataclass(frozen=True)
class OpenedRun:
    """A finished or interrupted run.

    Attributes:
        stored: Its files.
        configs: The configuration of each network; several when they were trained together.
    """

    stored: StoredRun
    configs: tuple[TrainConfig, ...]

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.stored.path

    def records(self, kind: Literal["epoch", "alignment"]) -> list[Record]:
        """Records of the log of one kind, in order."""
        return [record for record in self.stored.records if record["kind"] == kind]

    def angles(self) -> list[Record]:
        """Rows of ``angles.csv``: the measurements of each layer, see `LayerAlignment`."""
        return [{k: v for k, v in r.items() if k != "kind"} for r in self.records("alignment")]

    def summaries(self) -> list[Record]:
        """The finished run's summary of each network; empty until it is finished."""
        return (self.stored.summary or {"networks": []})["networks"]

    def checkpoint(self, which: Literal["last", "best"] = "last") -> Checkpoint:
        """The newest checkpoint; runs of bdfa do not keep a best one.

        Raises:
            UserError: There is none, it is damaged, or it is not one of bdfa.
        """
        if which == "best":
            raise UserError(
                f"{self.path} has no best checkpoint, bdfa keeps the last ones; use --which last."
            )
        found = self.stored.checkpoint(which)
        if not named(found, "model/"):
            raise UserError(
                f"{self.path / 'checkpoints'} holds a checkpoint of another program; restore it or train again."
            )
        return found

    def load(
        self, data_dir: Path | None = None, which: Literal["last", "best"] = "last"
    ) -> tuple[FeedbackModel, Data]:
        """Rebuild the first network on the CPU, in evaluation mode, with its data.

        Args:
            data_dir: Folder of downloaded data sets; None: the one the run was given.
            which: Checkpoint to take.

        Raises:
            UserError: The data or the checkpoint is missing, damaged or does not fit.
        """
        found = self.checkpoint(which)
        data = self.data(replace(self.configs[0], data_dir=self.data_dir(data_dir)))
        model = build_model(self.configs[0], data.input_shape, data.classes)
        load_model_arrays([model], named(found, "model/"), self.path)
        model.eval()
        return model, data

    def data(self, config: TrainConfig, device: torch.device | str = "cpu") -> Data:
        """Load the data of the run, whose transformation was fitted on them.

        Raises:
            UserError: They are not those it was trained on, or cannot be loaded.
        """
        loaded, there = load_data(config, device), self.stored.identity()
        if there is not None and there.digest != loaded.identity.digest:
            raise UserError(
                f"the data set {config.dataset} changed since {self.path} was trained on it (SHA-256 {there.short} "
                f"there, {loaded.identity.short} now), and its inputs are scaled by it; restore it, or train again."
            )
        return loaded

    def data_dir(self, given: Path | None) -> Path | None:
        """The folder of downloaded data sets: the given one, otherwise that of the run."""
        kept = self.stored.options.get("data_dir")
        return given or (Path(kept) if isinstance(kept, str) else None)


def open_run(path: Path) -> OpenedRun:
    """Read the run in a folder.

    Raises:
        UserError: The folder does not contain a run of bdfa, or contains a damaged file.
    """
    stored = read_run(path, package="bdfa")
    contents = stored.config.get("together", [stored.config])
    source = str(stored.path / "config.json")
    if not (isinstance(contents, list) and contents and all(isinstance(each, Mapping) for each in contents)):
        raise UserError(f"{source} names no network; {_REMEDY}")
    try:
        run = OpenedRun(
            stored, tuple(rebuild(TrainConfig, {"revision": 1, **values}, source) for values in contents)
        )
    except UserError as error:
        raise UserError(f"{str(error).rstrip('.')}; {_REMEDY}") from error
    for number, record in enumerate(stored.records, start=1):
        numbers = [record.get(name) for name in _NUMBERS.get(record.get("kind", ""), ("kind",))]
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
            raise UserError(
                f"{stored.path / 'metrics.jsonl'}: record {number} was not written by bdfa; {_REMEDY}"
            )
    if stored.summary is not None:
        _check_summary(run)
    return run


def _check_summary(run: OpenedRun) -> None:
    """Refuse a summary that does not belong to the configuration or to the log."""
    file, found = run.path / "summary.json", (run.stored.summary or {}).get("networks")
    if not (isinstance(found, list) and len(found) == len(run.configs)):
        raise UserError(f"{file} does not say how {len(run.configs)} networks ended; {_REMEDY}")
    for index, network in enumerate(found):
        if not (isinstance(network, Mapping) and network.keys() >= _SUMMARY):
            raise UserError(f"{file} does not say how network {index} ended; {_REMEDY}")
        steps = [record["step"] for record in run.records("epoch") if record["network"] == index]
        if network["steps"] != (steps or [0])[-1]:
            raise UserError(
                f"{run.path / 'metrics.jsonl'} ends at step {(steps or [0])[-1]}, the run ended at "
                f"{network['steps']}; {_REMEDY}"
            )


def named(checkpoint: Checkpoint, prefix: str) -> dict[str, np.ndarray]:
    """Arrays of a checkpoint whose names begin with a prefix, under their names without it."""
    return {k.removeprefix(prefix): v for k, v in checkpoint.arrays.items() if k.startswith(prefix)}


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as CSV, the keys of the first one as columns."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_file(path, buffer.getvalue())


def export_arrays(run: OpenedRun, path: Path, which: Literal["last", "best"] = "last") -> Path:
    """Write weights, feedback and statistics of a run as .npz, each array named ``network/parameter``.

    Raises:
        UserError: The checkpoint is missing or damaged.
    """
    arrays: dict[str, Any] = named(run.checkpoint(which), "model/")
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return write_file(path, buffer.getvalue())
