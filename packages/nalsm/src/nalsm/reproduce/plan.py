"""The published experiments as runs in one ledger: four models, the w_a sweep, 8000 neurons.

N-MNIST and Fashion-MNIST run only if ``--only`` names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from reprokit import run_id, standard_row
from reprokit.config import rebuild
from reprokit.run.stored import stored_identity
from reprokit.run.study import ReproduceOptions, Scale, Task
from reprokit.run.study import reproduce as run_study
from reprokit.terminal import say

from nalsm.config import Config
from nalsm.reproduce.figures import draw, table
from nalsm.training.evaluation import evaluate
from nalsm.training.pipeline import Run
from nalsm.training.runs import stored_settings

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
    """One run: a configuration, its group, whether to measure kernel quality, and whether it runs only if named."""

    name: str
    config: Config
    kernel: bool = False
    extra: bool = False


def experiments(scale: Scale, data: str, networks: Sequence[int] = ()) -> list[Experiment]:
    """Return the runs of a scale, most informative first.

    Args:
        scale: smoke (seconds), reduced (fewer samples) or paper.
        data: data set.
        networks: seeds of the networks; None: 1, 2 and 3 at the paper's scale, otherwise 1.
    """
    base = Config(data=data)
    seeds = tuple(networks) or ((1, 2, 3) if scale == "paper" else (1,))
    first = tuple(networks) or (1,)
    if scale == "smoke":
        base = replace(base, dims=(6, 6, 6), duration=100, initial_samples=200, train_samples=400,
                       validation_samples=100, test_samples=200, readout_epochs=60)  # fmt: skip
    elif scale == "reduced":
        base = replace(base, train_samples=5000, validation_samples=1000, test_samples=2000)
    models = {
        "nalsm": replace(base, model="nalsm"),
        "lsm": replace(base, model="lsm"),
        "lsm-apstdp": replace(base, model="lsm-apstdp"),
        # the published runs froze all but one sample of a batch (DEV-1); plastic samples take ten times as long
        "lsm-stdp": replace(base, model="lsm-stdp", profile="faithful"),
    }
    runs = [
        Experiment("models", replace(config, network_seed=seed), kernel=seed == 1)
        for seed in seeds
        for config in models.values()
    ]
    if scale != "smoke":
        runs += [
            Experiment("astrocyte-weight", replace(models["nalsm"], network_seed=seed, astrocyte_weight=w))
            for seed in first
            for w in SWEEP
        ]
    if scale == "paper":
        large = replace(models["nalsm"], dims=(20, 20, 20), astrocyte_weight=0.0075)
        runs += [Experiment("8000", replace(large, network_seed=seed)) for seed in first]
        runs += _on_other_data(first) if data == "mnist" else []
    return runs


def _on_other_data(seeds: Sequence[int]) -> list[Experiment]:
    """Return the published settings for N-MNIST and Fashion-MNIST, with the AP-STDP thresholds of most networks."""
    events, fashion = Config(data="n-mnist"), Config(data="fashion-mnist")
    large = {"dims": (20, 20, 20), "astrocyte_weight": 0.0075}
    plan = {
        "n-mnist": (
            replace(events, model="nalsm"),
            replace(events, model="lsm", weight=1.0),
            replace(events, model="lsm-apstdp", ap_theta=10.0, ap_range=2.5),
            replace(events, model="lsm-stdp", profile="faithful"),
            replace(events, model="nalsm", **large),
        ),
        "n-mnist-astrocyte-weight": tuple(replace(events, model="nalsm", astrocyte_weight=w) for w in SWEEP),
        "fashion-mnist": (replace(fashion, model="nalsm"), replace(fashion, model="nalsm", **large)),
    }
    return [
        Experiment(name, replace(config, network_seed=seed), extra=True)
        for name, configs in plan.items()
        for seed in seeds
        for config in configs
    ]


def reproduce(options: ReproduceOptions) -> int:
    """Do the runs that the ledger lacks, print a table and draw the figures.

    Args:
        options: scale, groups (models, astrocyte-weight, 8000) or models to run, data, seeds of the networks, and the
            folder of results.csv, figures and runs.

    Returns:
        Exit code: 1 if a run failed, else 0.

    Raises:
        UserError: for unknown names, bad numbers, or a folder that cannot be used.
    """
    scale, out = options.scale, options.folder("nalsm")
    chosen = experiments(scale, options.data or ("digits" if scale == "smoke" else "mnist"), options.seeds)
    tasks = [Task(_identity(e, scale), e.name, e.config.model, _label(e), extra=e.extra) for e in chosen]
    work = partial(run_one, runs=out / "runs", scale=scale, threads=options.threads)
    return run_study(
        tasks,
        work,
        package="nalsm",
        options=options,
        columns=COLUMNS,
        draw=_report,
        identified=True,
        data=[options.data],
    )


def _report(rows: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    for line in table(rows):
        say(line)
    return draw(rows, out)


def _identity(experiment: Experiment, scale: Scale) -> dict[str, Any]:
    about = {"experiment": experiment.name, "kernel": experiment.kernel, "scale": scale}
    return about | experiment.config.content()


def _label(experiment: Experiment) -> str:
    config = experiment.config
    detail = (
        f", w_a {config.astrocyte_weight:g}" if config.model == "nalsm" else f", |w| {config.start_weight:g}"
    )
    size = config.dims[0] * config.dims[1] * config.dims[2]
    return f"{config.model} {size}{detail}, network {config.network_seed}"


def run_one(settings: Mapping[str, Any], *, runs: Path, scale: Scale, threads: int = 1) -> dict[str, Any]:
    """Do one run, or finish it, and return its ledger row."""
    about = ("experiment", "kernel", "scale")
    config = rebuild(Config, stored_settings(settings), "the settings of a run", ignore=about)
    folder = runs / f"{config.model}-{config.network_seed}-{run_id(settings)}"
    run = Run(folder, config, threads=threads)
    summary = run.train()
    kernel = (
        # in single precision, like the published ranks, so that the ledger's columns mean the same in all rows (DEV-10)
        evaluate(
            "kernel", folder, repetitions=100 if scale == "paper" else 5, threads=threads, exact=False
        ).values
        if settings["kernel"]
        else {}
    )
    train, validation, test = (summary["samples"][k] for k in (0, 1, 2))
    row = standard_row(
        settings,
        package="nalsm",
        claim=str(settings["experiment"]),
        dataset=summary["dataset"],
        # a subset of a data set is never a published run
        scale="reduced" if scale == "paper" and (train, validation, test) != PAPER_SAMPLES else scale,
        seed=config.network_seed,
        seconds=summary["seconds"],
        threads=threads,
        packages=("nalsm", "torch", "numpy"),
        data=stored_identity(folder),
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
