"""A run directory read back: its configurations, its records, its network, its angles as a table."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from reprokit import Checkpoints, UserError
from reprokit.config import rebuild
from reprokit.files import write_file

from bdfa.config import TrainConfig
from bdfa.data.loading import Data, load_data
from bdfa.engines.build import build_model
from bdfa.engines.engine import load_model_arrays
from bdfa.rules.feedback_model import FeedbackModel


def read_records(run: Path, kind: str) -> list[dict[str, Any]]:
    """Records of a run directory of one kind, ``"epoch"`` or ``"alignment"``; a torn last line is ignored.

    Raises:
        UserError: When the directory holds no run.
    """
    log = run / "metrics.jsonl"
    if not (run / "config.json").exists():
        raise UserError(f"{run} is not a run directory; give the folder of a bdfa train run.")
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    complete = text[: text.rfind("\n") + 1].splitlines()
    return [record for record in map(json.loads, complete) if record.get("kind") == kind]


def run_configs(run: Path) -> list[TrainConfig]:
    """Configurations of the networks of a run directory.

    Raises:
        UserError: When the directory holds no run.
    """
    if not (run / "config.json").exists():
        raise UserError(f"{run} is not a run directory; give the folder of a bdfa train run.")
    content = json.loads((run / "config.json").read_text(encoding="utf-8"))
    return [
        rebuild(TrainConfig, values, str(run / "config.json"))
        for values in content.get("together", [content])
    ]


def load_run(run: Path, data_dir: Path | None = None) -> tuple[TrainConfig, FeedbackModel, Data]:
    """Rebuild the (first) network of a run from its newest checkpoint, with its data from ``data_dir`` if given.

    Raises:
        UserError: When there is no valid checkpoint.
    """
    config = replace(run_configs(run)[0], data_dir=data_dir)
    found = Checkpoints(run / "checkpoints").load_latest()
    if found is None:
        raise UserError(f"{run} holds no valid checkpoint; train it first.")
    data = load_data(config)
    model = build_model(config, data.input_shape, data.classes)
    arrays = {k.removeprefix("model/"): v for k, v in found.arrays.items() if k.startswith("model/")}
    load_model_arrays([model], arrays, run)
    model.eval()
    return config, model, data


def write_angles(run: Path) -> Path | None:
    """Write ``angles.csv`` of a run from its log; None when nothing was measured."""
    records = read_records(run, "alignment")
    if not records:
        return None
    columns = [name for name in records[0] if name != "kind"]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return write_file(run / "angles.csv", buffer.getvalue())
