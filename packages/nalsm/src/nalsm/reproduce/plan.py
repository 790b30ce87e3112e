"""The published experiments as runs in one ledger: four models, the w_a sweep, 8000 neurons.

Run only if ``--only`` names them: ``recurrence`` (liquids without a synapse inside, and the readout on the input),
``ap-stdp`` (thresholds chosen for each network on the validation part), N-MNIST, a part of it, and Fashion-MNIST.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import Ledger, run_id, standard_row
from reprokit.config import rebuild
from reprokit.run.stored import stored_identity
from reprokit.run.study import ReproduceOptions, Scale, Task
from reprokit.run.study import chosen as chosen_tasks
from reprokit.run.study import reproduce as run_study
from reprokit.terminal import say

from nalsm.config import Config
from nalsm.names import SPLITS
from nalsm.reproduce.criticality import add_branching
from nalsm.reproduce.figures import draw, table
from nalsm.reproduce.paired import Subject, compare
from nalsm.reproduce.raw_input import RAW, train_on_input
from nalsm.training.evaluation import evaluate
from nalsm.training.pipeline import Run
from nalsm.training.runs import stored_settings

SWEEP = (0.002, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.2)
THRESHOLDS, RANGES = (34.0, 37.0, 40.0), (19.0, 23.0)  # Hz, of AP-STDP: published were 37 and 19 to 25
OTHER_DATA = ("n-mnist", "n-mnist-astrocyte-weight", "fashion-mnist")  # parts that need another data set
PART_OF_N_MNIST = "n-mnist-part"
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
    """One run.

    Attributes:
        name: of the experiment in the ledger.
        config: its configuration.
        kernel: whether kernel quality is measured too.
        extra: whether it must be named.
        part: group for ``--only``; none: the model.
        raw: whether the readout is trained on the input events, not on a liquid.
    """

    name: str
    config: Config
    kernel: bool = False
    extra: bool = False
    part: str = ""
    raw: bool = False


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
        runs += _part_of_n_mnist(data, first)
    runs += _recurrence(models, seeds)
    return runs + _thresholds(scale, models["lsm-apstdp"], seeds)


def _recurrence(models: Mapping[str, Config], seeds: Sequence[int]) -> list[Experiment]:
    """Return liquids of the same input wiring without synapses inside, and the readout on their input."""
    named = {"extra": True, "part": "recurrence"}
    runs = [
        Experiment("recurrence", replace(models[model], network_seed=seed, recurrence=False), **named)
        for model in ("nalsm", "lsm")
        for seed in seeds
    ]
    return [*runs, Experiment("raw-input", models["lsm"], raw=True, **named)]


def _thresholds(scale: Scale, base: Config, seeds: Sequence[int]) -> list[Experiment]:
    """Return the candidates that AP-STDP's thresholds are chosen from, on few samples."""
    few = (
        {} if scale == "smoke" else {"train_samples": 5000, "validation_samples": 2000, "test_samples": 1000}
    )
    return [
        Experiment(
            "ap-stdp-threshold",
            replace(base, network_seed=seed, ap_theta=theta, ap_range=width, record=0, **few),
            extra=True, part="ap-stdp",
        )
        for seed in seeds
        for theta in THRESHOLDS
        for width in RANGES
    ]  # fmt: skip


def chosen_thresholds(
    candidates: Sequence[Experiment], rows: Sequence[Mapping[str, Any]], scale: Scale, base: Config
) -> list[Experiment]:
    """Return a run of each network with the thresholds of highest validation accuracy, once all candidates are there.

    Args:
        candidates: the runs that are chosen from.
        rows: of the ledger.
        scale: of the study.
        base: samples of the run; its thresholds are replaced.
    """
    accuracy = {row["run_id"]: row["validation_accuracy"] for row in rows}
    runs = []
    for seed in dict.fromkeys(e.config.network_seed for e in candidates):
        own = [e for e in candidates if e.config.network_seed == seed]
        ids = [run_id(_identity(e, scale)) for e in own]
        if all(name in accuracy for name in ids):
            best = own[int(np.argmax([accuracy[name] for name in ids]))].config
            config = replace(base, network_seed=seed, ap_theta=best.ap_theta, ap_range=best.ap_range)
            runs.append(Experiment("ap-stdp-chosen", config, extra=True, part="ap-stdp"))
    return runs


def _part_of_n_mnist(data: str, seeds: Sequence[int]) -> list[Experiment]:
    """Return all of N-MNIST's runs on a part of it: the data named by ``--data``, or the first of the whole set."""
    few = {"train_samples": 10_000, "validation_samples": 2000, "test_samples": 2000}
    return [
        replace(
            experiment, part=PART_OF_N_MNIST,
            config=replace(experiment.config, **(few if data == "mnist" else {"data": data})),
        )
        for experiment in _on_other_data(seeds)
        if experiment.name.startswith("n-mnist")
    ]  # fmt: skip


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
        Experiment(name, replace(config, network_seed=seed), extra=True, part=name)
        for name, configs in plan.items()
        for seed in seeds
        for config in configs
    ]


def reproduce(options: ReproduceOptions) -> int:
    """Do the runs that the ledger lacks, print a table and draw the figures.

    Args:
        options: scale, groups (models, astrocyte-weight, 8000, recurrence, ap-stdp, ...) or models to run, data, seeds
            of the networks, and the folder of results.csv, figures and runs.

    Returns:
        Exit code: 1 if a run failed, else 0.

    Raises:
        UserError: for unknown names, bad numbers, or a folder that cannot be used.
    """
    scale, out = options.scale, options.folder("nalsm")
    chosen = experiments(scale, options.data or ("digits" if scale == "smoke" else "mnist"), options.seeds)
    work = partial(run_one, runs=out / "runs", scale=scale, threads=options.threads)

    def study(wanted: Sequence[Experiment], options: ReproduceOptions) -> int:
        return run_study(
            [_task(e, scale) for e in wanted], work, package="nalsm", options=options, columns=COLUMNS,
            draw=partial(_report, chosen=wanted, scale=scale), identified=True, data=[options.data],
        )  # fmt: skip

    code = study(chosen, options)
    asked = chosen_tasks([_task(e, scale) for e in chosen], options.only, skip=options.skip)
    candidates = [e for e in chosen if e.name == "ap-stdp-threshold"]
    if options.dry_run or not any(task.claim == "ap-stdp-threshold" for task in asked):
        return code
    base = next(e.config for e in chosen if e.config.model == "lsm-apstdp" and e.name == "models")
    rows = Ledger.for_results(out / "results.csv", COLUMNS).rows()
    finals = chosen_thresholds(candidates, rows, scale, base)
    named = replace(options, only=("ap-stdp-chosen",), skip=(), again=())
    return max(code, study(finals, named) if finals else 0)


def _task(experiment: Experiment, scale: Scale) -> Task:
    part, label = experiment.part or experiment.config.model, _label(experiment)
    if part in OTHER_DATA:
        label += f", {experiment.config.data}"
    name = part if part == PART_OF_N_MNIST else experiment.name  # --only n-mnist means the whole set
    return Task(_identity(experiment, scale), name, part, label, extra=experiment.extra)


def _report(
    rows: Sequence[Mapping[str, Any]], out: Path, *, chosen: Sequence[Experiment], scale: Scale
) -> list[Path]:
    for line in table(rows):
        say(line)
    here = [(_identity(e, scale), _folder(out / "runs", e, scale)) for e in chosen if not e.raw]
    ids = {row["run_id"] for row in rows}
    add_branching(
        [(settings, folder) for settings, folder in here if run_id(settings) in ids], out, scale=scale
    )
    if any(row["experiment"] == "recurrence" for row in rows):
        _compare(chosen, out, scale)
    return draw(rows, out)


def _compare(chosen: Sequence[Experiment], out: Path, scale: Scale) -> None:
    """Test each liquid with recurrence against the same without, and both against the readout on their input."""

    def subject(name: str, experiment: Experiment) -> Subject:
        return Subject(name, _identity(experiment, scale), _folder(out / "runs", experiment, scale))

    raw = subject("raw input", next(e for e in chosen if e.raw))
    for bare in (e for e in chosen if e.name == "recurrence"):
        config = replace(bare.config, recurrence=True)
        whole = next(e for e in chosen if e.name == "models" and e.config == config)
        with_it, without = (
            subject(config.model, whole),
            subject(f"{config.model} without recurrence", bare),
        )
        pairs = [(with_it, without), (with_it, raw), (without, raw)]
        compare(pairs, out, scale=scale, seed=config.network_seed)


def _identity(experiment: Experiment, scale: Scale) -> dict[str, Any]:
    about = {"experiment": experiment.name, "kernel": experiment.kernel, "scale": scale}
    return about | ({"features": RAW} if experiment.raw else {}) | experiment.config.content()


def _folder(runs: Path, experiment: Experiment, scale: Scale) -> Path:
    name = "input" if experiment.raw else experiment.config.model
    return runs / f"{name}-{experiment.config.network_seed}-{run_id(_identity(experiment, scale))}"


def _label(experiment: Experiment) -> str:
    config = experiment.config
    if experiment.raw:
        return f"readout on the input, {config.data}"
    detail = (
        f", w_a {config.astrocyte_weight:g}" if config.model == "nalsm" else f", |w| {config.start_weight:g}"
    )
    detail += "" if config.recurrence else ", no recurrence"
    if experiment.part == "ap-stdp":
        detail += f", threshold {config.ap_theta:g}, range {config.ap_range:g}"
    if experiment.part == PART_OF_N_MNIST:
        detail += ", part of N-MNIST"
    size = config.dims[0] * config.dims[1] * config.dims[2]
    return f"{config.model} {size}{detail}, network {config.network_seed}"


def run_one(settings: Mapping[str, Any], *, runs: Path, scale: Scale, threads: int = 1) -> dict[str, Any]:
    """Do one run, or finish it, and return its ledger row."""
    about = ("experiment", "kernel", "scale", "features")
    config = rebuild(Config, stored_settings(settings), "the settings of a run", ignore=about)
    raw = "features" in settings
    folder = runs / f"{'input' if raw else config.model}-{config.network_seed}-{run_id(settings)}"
    if raw:
        return _raw_row(settings, train_on_input(folder, config, threads=threads), folder, scale, threads)
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
    row = _row(settings, config, summary, folder, scale, threads)
    return row | {
        "model": config.model,
        "neurons": run.network.liquid,
        "weight": config.start_weight,
        "astrocyte_weight": config.astrocyte_weight if config.model == "nalsm" else None,
        "initial_samples": run.liquid.presentations(row["train_samples"]),
        "separation": kernel.get("separation SP"),
        "approximation": kernel.get("approximation AP"),
        **{k: summary.get(k) for k in ("test_accuracy", "validation_accuracy", "train_accuracy", "rate_hz",
                                       "branching_test", "branching_train")},
    }  # fmt: skip


def _raw_row(
    settings: Mapping[str, Any], summary: Mapping[str, Any], folder: Path, scale: Scale, threads: int
) -> dict[str, Any]:
    """Return the row of a readout on the input: its channels are the neurons, all that is of a liquid is empty."""
    config = rebuild(
        Config,
        stored_settings(settings),
        "the settings of a run",
        ignore=("experiment", "kernel", "scale", "features"),
    )
    liquid = ("weight", "astrocyte_weight", "initial_samples", "rate_hz", "branching_test", "branching_train",
              "separation", "approximation")  # fmt: skip
    accuracy = {f"{split}_accuracy": summary[f"{split}_accuracy"] for split in SPLITS}
    return (
        _row(settings, config, summary, folder, scale, threads)
        | dict.fromkeys(liquid)
        | {"model": "raw input", "neurons": summary["inputs"], **accuracy}
    )


def _row(
    settings: Mapping[str, Any],
    config: Config,
    summary: Mapping[str, Any],
    folder: Path,
    scale: Scale,
    threads: int,
) -> dict[str, Any]:
    """Return what rows of liquids and of their input have in common."""
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
        "profile": config.profile,
        "readout": config.readout,
        "soft_labels": config.soft_labels,
        "train_samples": train,
        "validation_samples": validation,
        "test_samples": test,
    }
