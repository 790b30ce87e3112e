"""The published results by one command that may be interrupted at any time: ``make reproduce-bdfa SCALE=...``.

Five experiments: ``study`` (three epochs of MNIST with RMSprop, five rules), ``beyond`` (a small convolutional and
a residual network against back-propagation), ``table`` (the paper's MNIST table: plain SGD, 300 epochs, batch 128,
50,000 training images) and, only on request, ``readings`` (what that table leaves open, read in several ways) and
``table-cifar10`` (the paper's CIFAR-10 table).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from reprokit.run import study
from reprokit.run.study import ReproduceOptions
from reprokit.terminal import say

from bdfa.config import DATASETS, TrainConfig
from bdfa.data.loading import data_folder_of
from bdfa.presets import preset
from bdfa.reproduce.figures import plot_results
from bdfa.reproduce.groups import Group, grid, say_table, tasks, train_group, with_gap
from bdfa.reproduce.readings import PART, plot_readings, reading_groups, readings_table
from bdfa.reproduce.results import METRICS, open_ledger

PAPER_RULES = ("bp", "fa", "dfa", "bfa", "bdfa")
# Epochs of the networks beyond the perceptron. After 5 epochs the residual network has far to go (BP 4.6 % test
# error, training error as high), and the gap measures speed rather than what the rules can reach; the
# convolutional one has nearly converged (1.4 %) and costs ten times as much per epoch.
BEYOND = {"bdfa.example_networks:residual": 20, "bdfa.example_networks:small_conv": 5}
REDUCED_EPOCHS = 60  # of the table's 300
SEEDS = (1, 2, 3)
SMOKE_NET = "2x32"
READINGS_NET = "2x400"
CIFAR10_NETS = ("1x400", "1x800", "2x400", "2x800")


def wanted(
    scale: str,
    dataset: str | None = None,
    *,
    nets: Sequence[str] = (),
    seeds: Sequence[int] = (),
    epochs: int | None = None,
) -> list[Group]:
    """Groups of a reproduction, most important first.

    On data other than MNIST, all training images are used and the rows are labelled ``reduced``, or ``own`` for own
    data.

    Args:
        scale: ``smoke`` (bundled digits, under a minute), ``reduced`` (MNIST, 60 of the table's 300 epochs) or
            ``paper``.
        dataset: Name or path of the data; none: MNIST, at scale smoke the bundled digits.
        nets: Networks of the table, default 2x400 (three seeds) then 2x800 (one), and of the readings, default 2x400.
        seeds: Seeds instead of the study's own: one, and three of the table's 2x400.
        epochs: Epochs of the table and the readings, default 300, reduced 60. Other numbers make the rows ``reduced``.

    Raises:
        UserError: For a net that cannot be understood.
    """
    smoke = scale == "smoke"
    dataset = dataset or ("digits" if smoke else "mnist")
    study_base = replace(
        preset("smoke" if smoke else "study-mnist-2x800"),
        profile="faithful", epochs=4, angles_every=100, dataset=dataset,
    )  # fmt: skip
    size = "smoke" if smoke and dataset in DATASETS else _judged(dataset)
    return [
        *grid(study_base, PAPER_RULES, ["2x64" if smoke else "2x800"], seeds or [1], "study", size),
        *_beyond(scale, dataset, seeds or [1]),
        *_table(scale, dataset, nets, seeds, epochs),
        *_readings(scale, dataset, nets, seeds, epochs),
        *(_cifar10(nets, seeds, epochs) if scale == "paper" and dataset == "mnist" else []),
    ]


def _judged(dataset: str) -> str:
    """Scale of rows with the published protocol: data other than the paper's judge nothing."""
    return "paper" if dataset == "mnist" else "own" if dataset.lower() not in DATASETS else "reduced"


def _beyond(scale: str, dataset: str, seeds: Sequence[int]) -> list[Group]:
    smoke = scale == "smoke"
    base = TrainConfig(dataset=dataset, hidden=(256,), lr=1e-3 if smoke else 1e-4)
    size = "smoke" if smoke and dataset in DATASETS else _judged(dataset)
    return [
        Group(
            (replace(base, model=model, epochs=2 if smoke else epochs, rule=rule, seed=seed),), "beyond", size
        )  # type: ignore[arg-type]
        for model, epochs in BEYOND.items()
        for rule in ("bp", "dfa", "bdfa")
        for seed in seeds
        if not (smoke and model.endswith("small_conv"))
    ]


def _table(
    scale: str, dataset: str, nets: Sequence[str], seeds: Sequence[int], epochs: int | None
) -> list[Group]:
    base, size = _table_base(scale, dataset, epochs)
    if scale == "smoke":
        return grid(base, PAPER_RULES, nets or [SMOKE_NET], seeds or SEEDS, "table", size)
    if nets or seeds:
        return grid(base, PAPER_RULES, nets or ["2x400", "2x800"], seeds or SEEDS, "table", size)
    return [
        *grid(base, PAPER_RULES, ["2x400"], SEEDS, "table", size),
        *grid(base, PAPER_RULES, ["2x800"], [1], "table", size),
    ]


def _table_base(scale: str, dataset: str, epochs: int | None) -> tuple[TrainConfig, str]:
    """Options of the table, and the scale of its rows."""
    if scale == "smoke":
        base = replace(preset("smoke"), optim="sgd", epochs=epochs or 3, dataset=dataset)
        return base, "smoke" if dataset in DATASETS else _judged(dataset)
    paper = preset("paper-mnist-2x400")
    count = epochs or (paper.epochs if scale == "paper" else REDUCED_EPOCHS)
    base = replace(paper, dataset=dataset, epochs=count)
    size = _judged(dataset)
    if size == "paper" and count != paper.epochs:
        size = "reduced"
    if dataset != "mnist":  # the protocol's 50,000 images are MNIST's; other data are used in full
        base = replace(base, train_size=None)
    return base, size


def _readings(
    scale: str, dataset: str, nets: Sequence[str], seeds: Sequence[int], epochs: int | None
) -> list[Group]:
    base, size = _table_base(scale, dataset, epochs)
    return reading_groups(base, _readings_nets(scale, nets), seeds or [1], size)


def _readings_nets(scale: str, nets: Sequence[str]) -> Sequence[str]:
    return nets or [_readings_net(scale)]


def _readings_net(scale: str) -> str:
    return SMOKE_NET if scale == "smoke" else READINGS_NET


def _readings_figure(net: str, scale: str) -> str:
    """Name of a network's figure: the usual network's has none of its own."""
    named = "" if net == _readings_net(scale) else f"-{net}"
    return f"{PART}{named}{'' if scale == 'paper' else '-' + scale}"


def _cifar10(nets: Sequence[str], seeds: Sequence[int], epochs: int | None) -> list[Group]:
    """The paper's CIFAR-10 table; the feedback learns the target y + 0.25 ŷ there."""
    paper = preset("paper-mnist-2x400")
    base = replace(
        paper, dataset="cifar10", train_size=None, epochs=epochs or paper.epochs, fb_target="paper"
    )
    size = "paper" if base.epochs == paper.epochs else "reduced"
    groups = grid(base, PAPER_RULES, nets or CIFAR10_NETS, seeds or [1], "table-cifar10", size)
    return [replace(group, extra=True) for group in groups]


def reproduce(
    options: ReproduceOptions,
    *,
    nets: Sequence[str] = (),
    epochs: int | None = None,
    runs: Path | None = None,
) -> int:
    """Run what the ledger lacks, draw the figures and print the tables.

    Args:
        options: The same as in every package; ``data`` is a data set, or a folder of downloaded ones with ``mnist`` in
            it.
        nets: As in :func:`wanted`.
        epochs: As in :func:`wanted`.
        runs: Folder of the run directories; none: ``runs`` in the folder of the results.

    Returns:
        Exit code: 1 if a run failed, else 0.

    Raises:
        UserError: For options that cannot be used.
    """
    options.check()
    folder, dataset = data_folder_of(options.data, "mnist")
    if folder is not None:
        dataset, folder = "mnist", folder.absolute()
    elif dataset is not None and Path(dataset).exists():
        dataset = str(Path(dataset).absolute())
    groups = wanted(options.scale, dataset, nets=nets, seeds=options.seeds, epochs=epochs)
    out = options.folder("bdfa")
    runs = (runs or out / "runs").absolute()
    ledger = open_ledger(out / "results.csv")
    work = partial(train_group, runs=runs, threads=options.threads, data_dir=folder)
    todo = tasks(groups, ledger)
    asked = study.chosen(todo, options.only, skip=options.skip)
    asked += study.chosen(todo, options.again, "--again") if options.again else []
    readings_nets = _readings_nets(options.scale, nets)
    code = study.reproduce(
        todo, work, package="bdfa", options=options, columns=METRICS, complete=with_gap(ledger, asked), identified=True,
        data=[folder, dataset],
        draw=lambda rows, place: [
            *plot_results(groups, runs, place, options.scale),
            *(
                file
                for net in readings_nets
                for file in plot_readings(rows, net, place / _readings_figure(net, options.scale))
            ),
        ],
    )  # fmt: skip
    if options.dry_run:
        return code
    for claim in dict.fromkeys(task.claim for task in asked if task.part != PART):
        say(f"\n{claim}: test error, %")
        say_table(ledger.path, claim)
    if any(task.part == PART for task in asked):
        for net in readings_nets:
            say(f"\n{PART}, {net}: test error, %")
            say(readings_table(study.current(ledger.rows()), net))
    return code
