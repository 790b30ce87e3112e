"""Plain-text summaries of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprokit import UserError, read_config

from nalsm.names import SPLITS


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the result of a finished run, one figure a line."""
    lines = [f"data set            {summary['dataset']} ({' / '.join(str(n) for n in summary['samples'])})"]
    lines += [f"{split + ' accuracy':19s} {summary[f'{split}_accuracy']:.4f}" for split in SPLITS]
    lines.append(f"liquid rate         {summary['rate_hz']:.1f} Hz")
    for split in ("test", "train"):
        if f"branching_{split}" in summary:
            lines.append(f"{f'branching ({split})':19s} {summary[f'branching_{split}']:.3f}")
    lines.append(f"seconds             {summary['seconds']:.0f}")
    return lines


def describe(run: str | Path) -> list[str]:
    """Return configuration and progress of a run directory.

    Raises:
        UserError: where there is no run.
    """
    path = Path(run)
    config = read_config(path)
    if config is None:
        raise UserError(
            f"{path}: no run (config.json is missing); give the folder that `nalsm train --out` wrote."
        )
    lines = [f"{key:24s} {value}" for key, value in config.items()]
    records = path / "metrics.jsonl"
    if records.exists():
        lines += ["", *records.read_text().splitlines()]
    summary = path / "summary.json"
    if summary.exists():
        import json

        return [*lines, "", *summary_lines(json.loads(summary.read_text()))]
    return [*lines, "", "not finished: the same `nalsm train` command goes on"]
