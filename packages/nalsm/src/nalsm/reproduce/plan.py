"""The published experiments as runs into one ledger: four models, the w_a sweep, 8000 neurons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from reprokit import Job, Ledger, UserError, run_id, run_jobs, standard_row

from nalsm.config import Config
from nalsm.training.evaluation import evaluate
from nalsm.training.pipeline import Run

Scale = Literal["smoke", "reduced", "paper"]
SWEEP = (0.002, 0.0075, 0.025, 0.05, 0.1, 0.2)
PAPER_SAMPLES = (50_000, 10_000, 10_000)
COLUMNS: dict[str, type] = {
    "experiment": str,
    "model": str,
    "profile": str,
    "neurons": int,
    "weight": float,
    "astrocyte_weight": float,
    "readout": str,
    "soft_labels": bool,
    "train_samples": int,
    "validation_samples": int,
    "test_samples": int,
    "initial_samples": int,
    "test_accuracy": float,
    "validation_accuracy": float,
    "train_accuracy": float,
    "rate_hz": float,
    "branching_test": float,
    "branching_train": float,
    "separation": float,
    "approximation": float,
}


@dataclass(frozen=True)
class Experiment:
    """One run: a configuration, its group, and whether kernel quality is measured too."""

    name: str
    config: Config
    kernel: bool = False


def experiments(scale: Scale, data: str) -> list[Experiment]:
    """Return the runs of a scale, the most telling first.

    Args:
        scale: smoke (seconds), reduced (fewer samples) or paper.
        data: data set.
    """
    base = Config(data=data)
    seeds: tuple[int, ...] = (1, 2, 3)
    if scale == "smoke":
        base = replace(base, dims=(6, 6, 6), duration=100, initial_samples=200, train_samples=400,
                       validation_samples=100, test_samples=200, readout_epochs=60)  # fmt: skip
        seeds = (1,)
    elif scale == "reduced":
        base = replace(base, train_samples=5000, validation_samples=1000, test_samples=2000)
        seeds = (1,)
    models = {
        "nalsm": replace(base, model="nalsm"),
        "lsm": replace(base, model="lsm"),
        "lsm-apstdp": replace(base, model="lsm-apstdp"),
        # the published runs froze all but one sample of a batch (DEV-1); plastic ones cost ten times the time
        "lsm-stdp": replace(base, model="lsm-stdp", profile="faithful"),
    }
    runs = [
        Experiment("models", replace(config, network_seed=seed), kernel=seed == 1)
        for seed in seeds
        for config in models.values()
    ]
    if scale != "smoke":
        runs += [
            Experiment("astrocyte-weight", replace(models["nalsm"], network_seed=1, astrocyte_weight=w))
            for w in SWEEP
        ]
    if scale == "paper":
        large = replace(models["nalsm"], dims=(20, 20, 20), astrocyte_weight=0.0075, network_seed=1)
        runs.append(Experiment("8000", large))
    return runs


def reproduce(
    scale: Scale, data: str | None, only: tuple[str, ...], jobs: int, out: Path, say: Callable[[str], object]
) -> int:
    """Do the runs that OUT/results.csv lacks, draw the figures, and print a table.

    Args:
        scale: smoke, reduced or paper.
        data: data set; None: mnist, for smoke the embedded digits.
        only: groups (models, astrocyte-weight, 8000) or models to run; empty: all.
        jobs: runs at a time, each in a process of one thread.
        out: folder of results.csv and the figures; runs go to OUT/runs.
        say: takes the lines of the report.

    Returns:
        0, or 1 if a run failed.

    Raises:
        UserError: unknown names in `only`.
    """
    chosen = experiments(scale, data or ("digits" if scale == "smoke" else "mnist"))
    known = {e.name for e in chosen} | {e.config.model for e in chosen}
    if set(only) - known:
        raise UserError(
            f"unknown experiment {', '.join(sorted(set(only) - known))}; choose from {', '.join(sorted(known))}."
        )
    if only:
        chosen = [e for e in chosen if {e.name, e.config.model} & set(only)]
    ledger = Ledger.for_results(out / "results.csv", COLUMNS)
    tasks = [Job(_identity(e, scale), _label(e)) for e in chosen]
    work = partial(run_one, runs=out / "runs", scale=scale)
    report = run_jobs(tasks, work, ledger=ledger, workers=jobs, say=say)
    from nalsm.reproduce.figures import draw, table

    of_scale = {run_id(_identity(e, scale)) for e in experiments(scale, data or chosen[0].config.data)}
    rows = [row for row in ledger.rows() if row["run_id"] in of_scale]
    for line in table(rows):
        say(line)
    for file in draw(rows, out):
        say(f"figure: {file}")
    return 0 if report.ok else 1


def _identity(experiment: Experiment, scale: Scale) -> dict[str, Any]:
    about = {"experiment": experiment.name, "kernel": experiment.kernel, "scale": scale}
    return about | experiment.config.settings()


def _label(experiment: Experiment) -> str:
    config = experiment.config
    detail = (
        f", w_a {config.astrocyte_weight:g}" if config.model == "nalsm" else f", |w| {config.start_weight:g}"
    )
    size = config.dims[0] * config.dims[1] * config.dims[2]
    return f"{config.model} {size}{detail}, network {config.network_seed}"


def run_one(settings: Mapping[str, Any], *, runs: Path, scale: Scale) -> dict[str, Any]:
    """Do one run, or finish it, and return its ledger row."""
    stored = {k: v for k, v in settings.items() if k not in ("experiment", "kernel", "scale")}
    stored["dims"] = tuple(stored["dims"])
    config = Config(**stored)
    folder = runs / f"{config.model}-{config.network_seed}-{run_id(settings)}"
    run = Run(folder, config)
    summary = run.train()
    kernel = (
        evaluate("kernel", folder, repetitions=100 if scale == "paper" else 5).values
        if settings["kernel"]
        else {}
    )
    train, validation, test = (summary["samples"][k] for k in (0, 1, 2))
    row = standard_row(
        settings,
        package="nalsm",
        claim=str(settings["experiment"]),
        dataset=summary["dataset"],
        # a subset of a data set is no published run, whatever was asked for
        scale="reduced" if scale == "paper" and (train, validation, test) != PAPER_SAMPLES else scale,
        seed=config.network_seed,
        seconds=summary["seconds"],
        threads=1,
        packages=("nalsm", "torch", "numpy"),
    )
    return row | {
        "experiment": settings["experiment"],
        "model": config.model,
        "profile": config.profile,
        "neurons": run.network.liquid,
        "weight": config.start_weight,
        "astrocyte_weight": config.astrocyte_weight if config.model == "nalsm" else None,
        "readout": config.readout,
        "soft_labels": config.soft_labels,
        "train_samples": train,
        "validation_samples": validation,
        "test_samples": test,
        "initial_samples": run.liquid.presentations(train),
        "separation": kernel.get("separation SP"),
        "approximation": kernel.get("approximation AP"),
        **{k: summary.get(k) for k in ("test_accuracy", "validation_accuracy", "train_accuracy", "rate_hz",
                                       "branching_test", "branching_train")},
    }  # fmt: skip
