"""The branching factor of finished runs by the original's definition, and what the rate alone would give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reprokit import Ledger, run_id, standard_row
from reprokit.run.stored import stored_identity

from nalsm.training.evaluation import without_rate
from nalsm.training.measures import branching_factor
from nalsm.training.runs import open_run

LEDGER = "branching.csv"
COLUMNS: dict[str, type] = {
    "experiment": str,
    "model": str,
    "recurrence": bool,
    "astrocyte_weight": float,
    "neurons": int,
    "samples": int,
    "rate_hz": float,
    "branching_factor": float,
    "branching_factor_shuffled": float,
    "branching_ratio": float,
}


def add_branching(runs: Iterable[tuple[Mapping[str, Any], Path]], out: Path, *, scale: str) -> None:
    """Measure the recorded test samples of finished runs and add the rows that ``branching.csv`` lacks.

    Each row has the factor of the original program, that of the same spikes at random times (the surrogate,
    without causation), and the branching ratio m estimated from the activity (Wilting and Priesemann 2018). Runs
    whose directory is not on this machine, or that did not record spikes, are left out.

    Args:
        runs: identity in the study and run directory of each.
        out: folder of ``branching.csv``.
        scale: as the study was asked for.
    """
    ledger = Ledger.for_results(out / LEDGER, COLUMNS)
    for settings, folder in runs:
        config = {"measure": "branching", "run": settings}
        there = (folder / "summary.json").is_file() and (folder / "raster.npy").is_file()
        if not there or ledger.has(run_id(config)):
            continue
        run = open_run(folder)
        raster, summary = run.raster(), run.stored.summary or {}
        values = without_rate("test", raster, run.network, run.config.seed)
        row = standard_row(
            config, package="nalsm", claim="branching", dataset=summary["dataset"], scale=scale,
            seed=run.config.network_seed, seconds=0.0, threads=1, packages=("nalsm", "numpy"),
            data=stored_identity(folder), reduced=scale == "paper" and summary["samples"][0] != 50_000,
        )  # fmt: skip
        ledger.append(
            row
            | {
                "experiment": settings["experiment"],
                "model": run.config.model,
                "recurrence": run.config.recurrence,
                "astrocyte_weight": run.config.astrocyte_weight if run.config.model == "nalsm" else None,
                "neurons": run.network.liquid,
                "samples": len(raster),
                "rate_hz": summary["rate_hz"],
                "branching_factor": branching_factor(raster, run.network).value,
                "branching_factor_shuffled": values["shuffled test"],
                "branching_ratio": values["ratio m test"],
            }
        )
