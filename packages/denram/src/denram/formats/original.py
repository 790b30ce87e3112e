"""A trained network in the names and formats of the original program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from reprokit.files import write_array, write_file

ORIGINAL_COLUMNS = (
    "n_in",
    "n_delays",
    "noise_std",
    "max_delay",
    "tau_mem",
    "r_mu",
    "r_std",
    "seed",
    "test_acc",
)


def export_original(
    folder: Path,
    weights: np.ndarray,
    delays: np.ndarray,
    settings: Mapping[str, Any],
    summary: Mapping[str, Any],
) -> list[Path]:
    """Write a trained network as the original does.

    Files: ``d_{seed}.npy`` float32 `(n_out, n_in * n_delays)`, ``w_{seed}.npy`` float32
    `(n_out, n_in * n_delays + 1)` with the bias last, and ``results_{seed}.csv`` with the header and the
    row that the original appends to its results.csv.

    Args:
        folder: The folder, which is created.
        weights: Best weights, float32 `(n_out, n_in * n_delays + 1)`.
        delays: Delays in steps, float32 `(n_out, n_in * n_delays)`.
        settings: Configuration of the run.
        summary: Final numbers of the run; `test_acc` is written.

    Returns:
        The files.

    Raises:
        UserError: If the folder cannot be written.
    """
    seed = settings["seed"]
    row = original_row({**settings, "test_acc": summary["test_acc"]})
    return [
        write_array(folder / f"d_{seed}.npy", delays),
        write_array(folder / f"w_{seed}.npy", weights),
        write_file(folder / f"results_{seed}.csv", f"{','.join(ORIGINAL_COLUMNS)}\n{row}\n"),
    ]


def original_row(values: Mapping[str, Any]) -> str:
    """One line of the original's results.csv, in its number formats."""
    return (
        f"{values['n_in']},{values['n_delays']},{values['noise_std']:.2f},{values['max_delay']},"
        f"{values['tau_mem']:.3f},{int(values['r_mu'])},{values['r_std']},{values['seed']},"
        f"{values['test_acc']:.4f}"
    )
