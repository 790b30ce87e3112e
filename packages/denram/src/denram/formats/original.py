"""A trained network in the names and formats of the original program."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from reprokit.files.atomic import atomic_write, make_folder

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
        folder: Where to; created.
        weights: Best weights, float32 `(n_out, n_in * n_delays + 1)`.
        delays: Delays in steps, float32 `(n_out, n_in * n_delays)`.
        settings: Configuration of the run.
        summary: Final numbers of the run; `test_acc` is written.

    Returns:
        The files.

    Raises:
        UserError: If the folder cannot be written.
    """
    make_folder(folder, "export folder")
    seed = settings["seed"]
    row = original_row({**settings, "test_acc": summary["test_acc"]})
    files = {
        f"d_{seed}.npy": _npy(delays),
        f"w_{seed}.npy": _npy(weights),
        f"results_{seed}.csv": f"{','.join(ORIGINAL_COLUMNS)}\n{row}\n".encode(),
    }
    for name, data in files.items():
        atomic_write(folder / name, data)
    return [folder / name for name in files]


def original_row(values: Mapping[str, Any]) -> str:
    """One line of the original's results.csv, in its number formats."""
    return (
        f"{values['n_in']},{values['n_delays']},{values['noise_std']:.2f},{values['max_delay']},"
        f"{values['tau_mem']:.3f},{int(values['r_mu'])},{values['r_std']},{values['seed']},"
        f"{values['test_acc']:.4f}"
    )


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
