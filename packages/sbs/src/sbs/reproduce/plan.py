"""The published results, repeated: ``sbs reproduce --scale smoke|reduced|paper``.

| claim | paper | reduced | smoke |
| --- | --- | --- | --- |
| sbs-mnist-v2 | 375 updates (3 epochs), 1600 spikes | 125 updates, 400 spikes | - |
| sbs-mnist-v1 | 1000 updates, 1200 spikes | 100 updates, 400 spikes | - |
| sbs-digits | - | - | 120 updates, 200 spikes on 8x8 digits |
| sbs-mnist-v2-20, -200 | 2500, 25000 updates (20, 200 epochs) | - | - |
| sbs-fashion-v2, sbs-cifar10-v2, and -ce | 200 epochs, mixed loss and cross-entropy | - | - |
| sbs-fashion-v1 | 1000 updates, 1200 spikes | - | - |
| sbs-mnist-v1-faithful | sbs-mnist-v1 with the original's quirks | - | - |

The last four lines run only if ``--only`` names them, because they need days on a CPU or other data. So do the parts
``spike-curve`` (V2 with one setting of the training changed, and the original's weights, tested with fewer spikes) and
``robustness`` (the first network of the plan and a plain one of the same size: noise and lost spikes).

Each training gives one row of ``results.csv``; each point of the curve "accuracy against number of spikes" gives
one more. A training with all its rows is not repeated; an interrupted one continues.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprokit import DataIdentity, UserError, read_run, run_id, standard_row
from reprokit.run.directory import begins_anew
from reprokit.run.stored import stored_identity
from reprokit.run.study import ReproduceOptions, Scale, Task
from reprokit.run.study import reproduce as run_study
from reprokit.terminal import say

from sbs.config import TrainConfig, from_mapping, with_profile
from sbs.presets import preset
from sbs.reproduce.figures import draw
from sbs.reproduce.spike_curves import PART, RECORDED, STEPS, recorded_identity, variants

if TYPE_CHECKING:
    from sbs.data.images import Dataset
    from sbs.training.runs import Model

COLUMNS: dict[str, type] = {
    "network": str,
    "profile": str,
    "loss": str,
    "updates": int,
    "number_of_spikes": int,
    "test_images": int,
    "test_accuracy": float,
}
SPIKE_COUNTS: dict[Scale, tuple[int, ...]] = {
    "smoke": (10, 25, 50, 100, 200),
    "reduced": (50, 100, 200, 400),
    "paper": (50, 100, 200, 400, 800, 1600),
}


@dataclass(frozen=True)
class Training:
    """One training of the plan.

    Attributes:
        claim: Name of the claim the row supports.
        config: The run.
        curve: Whether to measure accuracy against the number of spikes afterwards.
        extra: Whether it runs only if named.
        part: Part of the plan, for ``--only``; none: the name of the network.
    """

    claim: str
    config: TrainConfig
    curve: bool
    extra: bool = False
    part: str = ""

    def label(self) -> str:
        """Return its name in reports: that of the network, or of its own part."""
        return self.config.name if self.part in ("", PART) else self.part


def plan(scale: Scale) -> list[Training]:
    """Return the trainings of one scale."""
    if scale == "smoke":
        base = preset("digits-smoke")
        return [Training("sbs-digits", base, curve=True), *_variants("sbs-digits", base)]
    second, first = preset("mnist-v2"), preset("mnist-v1")
    if scale == "reduced":
        second, first = _shorter(second, 125, 400), _shorter(first, 100, 400)
    found = [Training("sbs-mnist-v2", second, curve=True), Training("sbs-mnist-v1", first, curve=False)]
    return found + (_others() if scale == "paper" else []) + _variants("sbs-mnist-v2", second)


def _variants(claim: str, base: TrainConfig) -> list[Training]:
    return [
        Training(f"{claim}-{name}", config, curve=True, extra=True, part=PART)
        for name, config in variants(base).items()
    ]


def _others() -> list[Training]:
    """Return the published runs of 20 and 200 epochs and of other data, and V1 with the original's quirks.

    The long ones have the original's rate and schedule. Each is a part of its own, named as its claim.
    """

    def epochs(config: TrainConfig, count: int, size: int = 125) -> TrainConfig:
        learning = replace(
            config.learning, updates=count * size, weight_rate=0.01, schedule="plateau", schedule_every=size
        )
        return replace(config, learning=learning, test_every=size)

    def on(config: TrainConfig, source: str) -> TrainConfig:
        data, name = replace(config.data, source=source), config.name.replace("mnist", source)
        return replace(config, name=name, data=data, augmentation=cifar10.augmentation)

    second, cifar10 = preset("mnist-v2"), preset("cifar10-v2")
    configs = {
        "sbs-mnist-v2-20": epochs(second, 20),
        "sbs-mnist-v2-200": epochs(second, 200),
        "sbs-fashion-v2": epochs(on(second, "fashion-mnist"), 200),
        "sbs-cifar10-v2": epochs(cifar10, 200, 104),
        "sbs-fashion-v1": on(preset("mnist-v1"), "fashion-mnist"),
        "sbs-mnist-v1-faithful": with_profile(replace(preset("mnist-v1"), profile="faithful")),
    }
    for name in ("sbs-mnist-v2-200", "sbs-fashion-v2", "sbs-cifar10-v2"):
        config = configs[name]
        configs[f"{name}-ce"] = replace(config, learning=replace(config.learning, loss="cross-entropy"))
    return [
        Training(claim, config, "-mnist-v2-" in claim, extra=True, part=claim.removeprefix("sbs-"))
        for claim, config in configs.items()
    ]


def reproduce(options: ReproduceOptions, weights: Path | None = None) -> int:
    """Do the missing runs of one scale, draw the curves, and return the exit code.

    ``options.data`` is a folder whose subfolder ``mnist`` has the four official files, or your own data set,
    whose rows count as "reduced" and are never judged.

    Args:
        options: As in every package.
        weights: File or folder of the original's weights of the study's network, for the part ``spike-curve``.

    Raises:
        UserError: Options that cannot be used.
    """
    if weights is not None and not options.only:
        raise UserError(
            f"--weights {weights} is for the part {PART}, which is done only when named; add --only {PART}"
        )
    mirror = options.data is not None and (Path(options.data) / "mnist").is_dir()
    own = None if mirror else options.data
    work = partial(
        train_and_measure,
        runs=str(options.folder("sbs") / "runs"),
        scale="reduced" if own and options.scale == "paper" else options.scale,
        mirror=str(Path(options.data).absolute()) if mirror and options.data else "",
    )
    return run_study(
        tasks(options, own, weights),
        work,
        package="sbs",
        options=options,
        columns=COLUMNS,
        draw=draw,
        identified=True,
        data=[options.data, weights],
    )


def tasks(options: ReproduceOptions, own: str | None = None, weights: Path | None = None) -> list[Task]:
    """Return the plan as tasks of a study, for every seed.

    Args:
        options: Scale, seeds and threads.
        own: Data set that replaces the plan's.
        weights: The original's weights, tested as the study's network is.
    """
    found = []
    for number, training in enumerate(plan(options.scale)):
        for seed in options.seeds or (training.config.seed,):
            config = with_profile(replace(training.config, seed=seed, threads=options.threads))
            if own:
                source = str(Path(own).absolute()) if Path(own).exists() else own
                config = replace(config, data=replace(config.data, source=source))
            counts = {
                config.network.number_of_spikes,
                *(SPIKE_COUNTS[options.scale] if training.curve else ()),
            }
            ordered = sorted(counts, reverse=True)
            found.append(
                Task(
                    {"config": config.content(), "claim": training.claim, "counts": ordered},
                    training.claim,
                    part=training.part or config.name,
                    label=f"{training.label()}, seed {seed}",
                    rows=tuple(run_id(identity(config, count)) for count in ordered),
                    extra=training.extra,
                )
            )
            if number == 0:
                found.append(_robust(config))
                found += [_stepped(training, config, factor, ordered) for factor in STEPS]
            if weights is not None and number == 0:  # the network that has a curve
                found.append(_recorded(training, config, weights, ordered))
    return found


def _robust(config: TrainConfig) -> Task:
    """Return the task of measuring the robustness of a network and a plain one."""
    from sbs.reproduce.robustness import LEVELS, NETWORKS, ROBUSTNESS, identity

    cases = [
        (network, kind, level) for network in NETWORKS for kind, found in LEVELS.items() for level in found
    ]
    settings = {"config": config.content(), "claim": ROBUSTNESS, "cases": [list(case) for case in cases]}
    rows = tuple(run_id(identity(config, *case)) for case in cases)
    label = f"{config.name} and a plain network, seed {config.seed}"
    return Task(settings, ROBUSTNESS, "robustness", label, rows, extra=True)


def _stepped(training: Training, config: TrainConfig, factor: float, counts: list[int]) -> Task:
    """Return the task of testing a study's network with larger steps."""
    name = f"step-{factor:g}"
    settings = {
        "config": config.content(),
        "claim": f"{training.claim}-{name}",
        "counts": counts,
        "factor": factor,
    }
    rows = tuple(run_id(identity(config, count, factor)) for count in counts)
    label = f"{config.name}, epsilon_0 times {factor:g}, seed {config.seed}"
    return Task(settings, f"{training.claim}-{name}", PART, label, rows, extra=True)


def _recorded(training: Training, config: TrainConfig, weights: Path, counts: list[int]) -> Task:
    """Return the task of testing recorded weights."""
    name = f"{training.claim}-{RECORDED}"
    settings = {
        "config": config.content(),
        "claim": name,
        "counts": counts,
        "weights": str(weights.absolute()),
    }
    rows = tuple(run_id(recorded_identity(config, weights, count)) for count in counts)
    return Task(settings, name, PART, f"{config.name}, weights of {weights.name}", rows, extra=True)


def identity(config: TrainConfig, count: int, factor: float = 1.0) -> dict[str, Any]:
    """Return what identifies a row: the training, the number of spikes of the test, and its factor of epsilon_0."""
    steps = {} if factor == 1 else {"tested_with_epsilon_0_times": factor}
    return {**config.content(), "tested_with_spikes": count, **steps}


def train_and_measure(
    task: Mapping[str, Any], *, runs: str, scale: Scale, mirror: str
) -> list[dict[str, Any]]:
    """Train one network, or continue, and test it with each number of spikes; returns the rows.

    Args:
        task: Plain values: the configuration, the claim, and the numbers of spikes.
        runs: Absolute folder of the run directories.
        scale: Scale to state in the rows.
        mirror: Folder whose subfolder ``mnist`` has the official files; "" uses the data cache.
    """
    from sbs.data.loading import load_dataset
    from sbs.training.loop import train

    if mirror:
        os.environ["REPROKIT_MIRROR"] = mirror
    config = from_mapping(task["config"])
    if "weights" in task:
        return _measure_recorded(task, config, scale)
    folder = Path(runs) / f"{config.name}-{run_id(config.content())}"
    say(f"{task['claim']}: training {config.name} in {folder}")
    model = train(config, folder, report=say, force=_owns(task) and begins_anew(folder))
    summary = read_run(folder, package="sbs").summary or {}
    dataset = load_dataset(config.data.source, limit_test=config.data.limit_test, seed=config.seed)
    data = stored_identity(folder)
    if "cases" in task:
        return _measure_robustness(task, model, dataset, Path(runs), scale, data)
    if "factor" in task:
        return _measure_stepped(task, model, dataset, scale, data)
    rows = []
    for count in task["counts"]:
        own = count == config.network.number_of_spikes
        row = _measured(task["claim"], model, dataset, identity(config, count), count, scale, data)
        rows.append(row | ({"claim": task["claim"], "seconds": summary["seconds"]} if own else {}))
    return rows


def _owns(task: Mapping[str, Any]) -> bool:
    """Whether the training is the task's, so that measuring the task again means training again."""
    return "cases" not in task and "factor" not in task


def _measure_stepped(
    task: Mapping[str, Any], model: "Model", dataset: "Dataset", scale: Scale, data: DataIdentity | None
) -> list[dict[str, Any]]:
    """Test a trained network with larger steps and each number of spikes."""
    from sbs.reproduce.spike_curves import larger_steps

    factor, rows = task["factor"], []
    with larger_steps(model.network, factor):
        for count in task["counts"]:
            settings = identity(model.config, count, factor)
            row = _measured(task["claim"], model, dataset, settings, count, scale, data)
            rows.append(row | {"network": f"{model.config.name}-step-{factor:g}"})
    return rows


def _measure_robustness(
    task: Mapping[str, Any],
    model: "Model",
    dataset: "Dataset",
    runs: Path,
    scale: Scale,
    data: DataIdentity | None,
) -> list[dict[str, Any]]:
    """Train the plain network and an SbS network and measure both under noise."""
    from sbs.reproduce.robustness import TEST_IMAGES, identity, measure, metrics, train_plain

    config = model.config
    plain = train_plain(config, dataset, runs / f"{config.name}-plain-{run_id(config.content())}.npz")
    images = dataset.test.first(TEST_IMAGES)
    rows = []
    for network, kind, level in task["cases"]:
        result = measure(model, plain, images, network, kind, level)
        say(f"{network}, {kind} {level:g}: {result.accuracy:.2f} % of {result.total} test images")
        row = standard_row(
            identity(config, network, kind, level), package="sbs", claim=task["claim"], dataset=dataset.name,
            scale=scale, seed=config.seed, seconds=result.seconds, threads=config.threads,
            packages=("torch", "numpy", "sbs"), data=data, reduced=scale == "paper",
        )  # fmt: skip
        rows.append(row | metrics(config, network, kind, level, result))
    return rows


def _measure_recorded(task: Mapping[str, Any], config: TrainConfig, scale: Scale) -> list[dict[str, Any]]:
    """Test recorded weights with each number of spikes; the file stays where it is."""
    from sbs.data.loading import load_dataset
    from sbs.reproduce.spike_curves import recorded_model

    dataset = load_dataset(config.data.source, limit_test=config.data.limit_test, seed=config.seed)
    weights = Path(task["weights"])
    model = recorded_model(config, weights, dataset)
    rows = []
    for count in task["counts"]:
        settings = recorded_identity(config, weights, count)
        row = _measured(task["claim"], model, dataset, settings, count, scale, dataset.identity())
        rows.append(row | {"network": f"{config.name}-{RECORDED}", "loss": None, "updates": None})
    return rows


def _measured(
    claim: str, model: "Model", dataset: "Dataset", settings: Mapping[str, Any], count: int, scale: Scale,
    data: DataIdentity | None,
) -> dict[str, Any]:  # fmt: skip
    """Test a network with a number of spikes and return the row of a point of its curve."""
    from sbs.training.evaluation import evaluate

    config = model.config
    result = evaluate(
        model.network, model.presentation, dataset.test, seed=config.seed, number_of_spikes=count
    )
    say(f"{claim}, {count} spikes: {result.accuracy:.2f} % of {result.total} test images")
    row = standard_row(
        settings,
        package="sbs",
        claim=f"{claim}-spikes",
        dataset=dataset.name,
        scale=scale,
        seed=config.seed,
        seconds=result.seconds,
        threads=config.threads,
        packages=("torch", "numpy", "sbs"),
        data=data,
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


def _shorter(config: TrainConfig, updates: int, spikes: int) -> TrainConfig:
    cooldown = min(config.network.cooldown_after, spikes * 5 // 6)
    return replace(
        config,
        network=replace(config.network, number_of_spikes=spikes, cooldown_after=cooldown),
        learning=replace(config.learning, updates=updates),
    )
