"""The published results, repeated: ``sbs reproduce --scale smoke|reduced|paper``.

| claim | paper | reduced | smoke |
| --- | --- | --- | --- |
| sbs-mnist-v2 | 375 updates (3 epochs), 1600 spikes | 125 updates, 400 spikes | - |
| sbs-mnist-v1 | 1000 updates, 1200 spikes | 100 updates, 400 spikes | - |
| sbs-digits | - | - | 150 updates, 200 spikes on scikit-learn's digits |

Each training adds one row to ``results.csv``; each point of the curve "accuracy against number of spikes"
adds one more. A row whose run id is there already is not computed again; an interrupted training goes on.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from reprokit import Ledger, run_id, standard_row
from reprokit.terminal import say

from sbs.config import TrainConfig
from sbs.data.loading import load_dataset
from sbs.plots import save_figure, spikes_curve
from sbs.presets import preset
from sbs.training.evaluation import evaluate
from sbs.training.loop import train
from sbs.training.runs import Model

Scale = Literal["smoke", "reduced", "paper"]
COLUMNS: dict[str, type] = {
    "network": str,
    "profile": str,
    "loss": str,
    "updates": int,
    "number_of_spikes": int,
    "test_images": int,
    "test_accuracy": float,
}
SPIKE_COUNTS = {
    "smoke": (10, 25, 50, 100, 200),
    "reduced": (50, 100, 200, 400),
    "paper": (50, 100, 200, 400, 800, 1600),
}


@dataclass(frozen=True)
class Job:
    """One training of the plan.

    Attributes:
        claim: Name of the claim the row supports.
        config: The run.
        curve: Whether accuracy against the number of spikes is measured afterwards.
    """

    claim: str
    config: TrainConfig
    curve: bool


def plan(scale: Scale, only: str = "") -> list[Job]:
    """Return the trainings of one scale.

    Args:
        scale: "smoke", "reduced" or "paper".
        only: Keep only this claim; "" keeps all.
    """
    if scale == "smoke":
        jobs = [Job("sbs-digits", preset("digits-smoke"), curve=True)]
    else:
        second, first = preset("mnist-v2"), preset("mnist-v1")
        if scale == "reduced":
            second, first = _shorter(second, 125, 400), _shorter(first, 100, 400)
        jobs = [Job("sbs-mnist-v2", second, curve=True), Job("sbs-mnist-v1", first, curve=False)]
    return [job for job in jobs if only in ("", job.claim)]


def reproduce(scale: Scale, out: Path, runs: Path, *, data: str = "", only: str = "") -> None:
    """Do what is missing of one scale and say where the results are.

    Args:
        scale: "smoke", "reduced" or "paper".
        out: Folder of ``results.csv`` and the figures.
        runs: Folder of the run directories.
        data: Folder whose sub-folder ``mnist`` holds the four official files; "" uses the data cache.
        only: Run only this claim.
    """
    if data:
        os.environ["REPROKIT_MIRROR"] = data
    ledger = Ledger.for_results(out / "results.csv", COLUMNS)
    for job in plan(scale, only):
        _run(job, scale, ledger, out, runs)
    say(f"results: {ledger.path}")


def _run(job: Job, scale: Scale, ledger: Ledger, out: Path, runs: Path) -> None:
    folder = runs / f"{job.config.name}-{scale}-seed{job.config.seed}"
    model: Model | None = None
    counts = SPIKE_COUNTS[scale] if job.curve else ()
    own = job.config.network.number_of_spikes
    if not ledger.has(run_id(identity(job.config, own))):
        say(f"{job.claim}: training {job.config.name} in {folder}")
        model = train(job.config, folder, report=say)
    for count in sorted({own, *counts}, reverse=True):
        if ledger.has(run_id(identity(job.config, count))):
            say(f"{job.claim}, {count} spikes: recorded already")
            continue
        model = model or train(job.config, folder, report=say)
        ledger.append(_measure(job, scale, model, folder, count))
    if counts:
        _draw(job, scale, ledger, out)


def identity(config: TrainConfig, count: int) -> dict[str, Any]:
    """Return what names a row: the training and the number of spikes it was tested with."""
    return {**config.content(), "tested_with_spikes": count}


def _measure(job: Job, scale: Scale, model: Model, folder: Path, count: int) -> dict[str, Any]:
    import json

    config = job.config
    dataset = load_dataset(config.data.source, limit_test=config.data.limit_test)
    result = evaluate(
        model.network, model.presentation, dataset.test, seed=config.seed, number_of_spikes=count
    )
    say(f"{job.claim}, {count} spikes: {result.accuracy:.2f} % of {result.total} test images")
    trained = json.loads((folder / "summary.json").read_text())["seconds"]
    own = count == config.network.number_of_spikes
    row = standard_row(
        identity(config, count),
        package="sbs",
        claim=job.claim if own else f"{job.claim}-spikes",
        dataset=dataset.name,
        scale=scale,
        seed=config.seed,
        seconds=trained if own else result.seconds,
        threads=config.threads,
        packages=("torch", "numpy", "sbs"),
    )
    return row | {
        "network": config.name,
        "profile": config.profile,
        "loss": config.learning.loss,
        "updates": model.step,
        "number_of_spikes": count,
        "test_images": result.total,
        "test_accuracy": result.accuracy,
    }


def _draw(job: Job, scale: Scale, ledger: Ledger, out: Path) -> None:
    rows = [
        row
        for row in ledger.rows()
        if row["network"] == job.config.name
        and row["scale"] == scale
        and row["seed"] == job.config.seed
        and row["run_id"] == run_id(identity(job.config, row["number_of_spikes"]))
    ]
    rows.sort(key=lambda row: row["number_of_spikes"])
    title = f"{job.config.name}, {rows[0]['dataset']}, {rows[0]['test_images']} test images"
    counts = [row["number_of_spikes"] for row in rows]
    figure = spikes_curve(counts, [row["test_accuracy"] for row in rows], title)
    path = save_figure(figure, out / f"spikes-{job.config.name}-{scale}.png")
    say(f"figure: {path}")


def _shorter(config: TrainConfig, updates: int, spikes: int) -> TrainConfig:
    cooldown = min(config.network.cooldown_after, spikes * 5 // 6)
    return replace(
        config,
        network=replace(config.network, number_of_spikes=spikes, cooldown_after=cooldown),
        learning=replace(config.learning, updates=updates),
    )
