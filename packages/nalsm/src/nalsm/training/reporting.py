"""Runs and measures in plain text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reprokit import read_run

from nalsm.names import SPLITS
from nalsm.training.evaluation import Measured
from nalsm.training.runs import result_of


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the result of a finished run, one value per line."""
    lines = [f"data set            {summary['dataset']} ({' / '.join(str(n) for n in summary['samples'])})"]
    lines += [f"{split + ' accuracy':19s} {summary[f'{split}_accuracy']:.4f}" for split in SPLITS]
    lines.append(f"liquid rate         {summary['rate_hz']:.1f} Hz")
    for split in ("test", "train"):
        if f"branching_{split}" in summary:
            lines.append(f"{f'branching ({split})':19s} {summary[f'branching_{split}']:.3f}")
    lines.append(f"seconds             {summary['seconds']:.0f}")
    return lines


def describe(run: str | Path) -> list[str]:
    """Return configuration, progress and result of a run directory.

    Raises:
        UserError: if there is no run of nalsm, or it is damaged.
    """
    stored = read_run(run, package="nalsm")
    result = result_of(stored)
    return stored.describe() + ([] if result is None else ["", *summary_lines(result)])


def measures_table(measured: Iterable[tuple[Path, str, Measured]]) -> str:
    """Return measures of runs as CSV, one value per line: run, measure, name, value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("run", "measure", "name", "value"))
    for run, what, found in measured:
        writer.writerows((run, what, name, value) for name, value in found.values.items())
    return text.getvalue()
