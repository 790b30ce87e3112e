"""Do learned delays beat fixed ones, and two layers one? Our own study, on SHD or a substitute for it.

One small network, fixed delays and learned ones, with equal synapses and with equal numbers of trained
parameters (a learned delay is one, so fixed delays get twice the synapses); then a hidden layer of threshold neurons
before it, with fixed delays, with learned ones, and recurrent. Seeds, epochs, rates and the choice of the epoch are the
same for all. These rows judge no published number.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from reprokit import run_id, standard_row
from reprokit.config import rebuild
from reprokit.plots import colour, new_figure, save_figure, style
from reprokit.run import study
from reprokit.run.stored import read_run, stored_identity
from reprokit.run.study import ReproduceOptions, Scale, Task
from reprokit.terminal import say

from denram.config import TrainConfig
from denram.data.loading import absolute, load_data, open_data, save_data
from denram.training.loop import identity, train
from denram.training.runs import NOT_FIELDS

PACKAGE, CLAIM, FIGURE = "denram/delays", "delays", "delays"
NETWORKS: dict[str, dict[str, Any]] = {
    "fixed": {},
    "fixed-twice": {"n_delays": 8},
    "learned": {"train_delays": True},
    "two-fixed": {"layers": 2, "hidden": 32},
    "two-learned": {"layers": 2, "hidden": 32, "train_delays": True},
    "two-recurrent": {"layers": 2, "hidden": 32, "train_delays": True, "recurrent": True},
}
TITLES = {
    "fixed": "1 layer, fixed",
    "fixed-twice": "1 layer, fixed,\ntwice the synapses",
    "learned": "1 layer, learned",
    "two-fixed": "2 layers, fixed",
    "two-learned": "2 layers, learned",
    "two-recurrent": "2 layers, learned,\nrecurrent",
}
# 10 ms steps; 60 of them, and a delay line of 40, cover the substitute's recordings (0.4 s)
SIZES: dict[str, Any] = {
    **{"n_in": 70, "n_delays": 4, "dt": 0.01, "steps": 60, "max_delay": 40, "r_mu": 200e9},
    **{"noise_std": 0.0, "lr": 1e-3, "nb_epochs": 20},
}
SMOKE = {"n_in": 16, "n_delays": 2, "nb_epochs": 2}
SEEDS: dict[str, tuple[int, ...]] = {"paper": (42, 50, 9), "reduced": (42,), "smoke": (42,)}
COLUMNS: dict[str, type] = {
    **{"network": str, "n_in": int, "n_delays": int, "layers": int, "hidden": int, "recurrent": bool},
    **{"train_delays": bool, "n_parameters": int, "noise_std": float, "max_delay": int, "tau_mem": float},
    **{
        "test_acc": float,
        "val_acc": float,
        "train_acc": float,
        "best_epoch": int,
        "epochs": int,
        "engine": str,
    },
    **{
        "val_acc_unrounded": str,
        "val_acc_rounded": str,
    },  # of the last epoch with a Gaussian; empty if there is none
}


def grid(scale: Scale, seeds: Sequence[int] = ()) -> list[tuple[str, TrainConfig]]:
    """The runs of a scale, each with the name of its network."""
    sizes = SIZES | (SMOKE if scale == "smoke" else {})
    return [
        (name, TrainConfig(seed=seed, **{**sizes, **changed, **_smaller(scale, changed)}))
        for seed in seeds or SEEDS[scale]
        for name, changed in NETWORKS.items()
    ]


def _smaller(scale: Scale, changed: Mapping[str, Any]) -> dict[str, Any]:
    return {"hidden": 8} if scale == "smoke" and "hidden" in changed else {}


def reproduce(options: ReproduceOptions) -> int:
    """Do the runs that the ledger lacks, print the table and draw the figure.

    Args:
        options: Scale, data (None: shd, at scale smoke spoken-toy), parts (delays-fixed, ...), seeds, workers, folder.

    Returns:
        Exit code: 1 if a run failed, else 0.

    Raises:
        UserError: If options, data or folder cannot be used.
    """
    options.check()
    scale, out = options.scale, options.folder(PACKAGE)
    source = absolute(options.data or ("spoken-toy" if scale == "smoke" else "shd"))
    planned = grid(scale, options.seeds)
    loaded = load_data(source, planned[0][1].binning, allow_loss=True)
    folder = save_data(loaded, out / "runs" / "events")
    data = open_data(folder)
    tasks = [
        Task(identity(config, data), CLAIM, f"{CLAIM}-{name}", f"{CLAIM}-{name}, seed {config.seed}")
        for name, config in planned
    ]
    say(f"{data.name}: {len(data.train)} training and {len(data.test)} test recordings, {len(tasks)} runs")

    def report(rows: list[dict[str, Any]], place: Path) -> Iterable[Path]:
        for line in ["", *table(rows)]:
            say(line)
        return draw(rows, place)

    work = partial(
        run_one, folder=folder, source=source, runs=out / "runs", scale=scale, threads=options.threads
    )
    return study.reproduce(
        tasks,
        work,
        package=PACKAGE,
        options=options,
        columns=COLUMNS,
        draw=report,
        identified=True,
        data=[source],
    )


def run_one(
    settings: Mapping[str, Any], *, folder: Path, source: str, runs: Path, scale: Scale, threads: int
) -> dict[str, Any]:
    """Do one run, or finish it, and return its ledger row.

    Args:
        settings: Full configuration, from `identity`.
        folder: Binned data.
        source: Origin of the data, recorded in the run directory.
        runs: Parent of the run directories.
        scale: Scale named in the row.
        threads: Threads of the event engine.
    """
    config = rebuild(TrainConfig, settings, "the study", ignore=NOT_FIELDS, data=source, threads=threads)
    data = open_data(folder)
    place = runs / f"{config.name}-{run_id(settings)}"
    result = train(replace(config, out=place), data)
    row = standard_row(
        result.config,
        package="denram",
        claim=CLAIM,
        dataset=data.name,
        scale=scale,
        seed=config.seed,
        seconds=result.seconds,
        threads=threads,
        packages=("denram", "jax", "jaxlib", "optax"),
        data=stored_identity(place),
    )
    log = [record for record in read_run(place, package="denram").records if "val_acc_unrounded" in record]
    unrounded = {"val_acc_unrounded": f"{log[-1]['val_acc_unrounded']:.4f}"} if log else {}
    unrounded |= {"val_acc_rounded": f"{log[-1]['val_acc']:.4f}"} if log else {}
    plain = {name: getattr(config, name) for name in ("layers", "recurrent", "train_delays")}
    known = plain | {"hidden": config.hidden if config.layers > 1 else 0, "network": name_of(config)}
    known |= {**result.config, **result.summary, **known, "val_acc_unrounded": "", "val_acc_rounded": ""}
    return row | {name: (known | unrounded)[name] for name in COLUMNS}


def name_of(config: TrainConfig) -> str:
    """The study's network for a configuration, identified by what `NETWORKS` changes."""
    kind = (config.layers > 1, config.train_delays, config.recurrent)
    for name, changed in NETWORKS.items():
        same = ("layers" in changed, "train_delays" in changed, "recurrent" in changed) == kind
        if same and (name == "fixed-twice") == (config.n_delays == NETWORKS["fixed-twice"]["n_delays"]):
            return name
    raise ValueError(f"{config} is not a run of this study")


def points(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Test accuracies of the seeds in percent, by network."""
    return {
        name: found
        for name in NETWORKS
        if (found := [100 * float(row["test_acc"]) for row in rows if row["network"] == name])
    }


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per network."""
    lines = [
        "network       | trained numbers | test accuracy [%], mean ± sd | seeds | rounding, validation [points]"
    ]
    for name, found in points(rows).items():
        mine = [row for row in rows if row["network"] == name]
        spread = f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else ""
        costs = [
            100 * (float(row["val_acc_rounded"]) - float(row["val_acc_unrounded"]))
            for row in mine
            if row["val_acc_rounded"]
        ]
        cost = f"{statistics.mean(costs):+.2f}" if costs else "-"
        shown = f"{statistics.mean(found):.2f}{spread}"
        lines.append(f"{name:<13} | {mine[0]['n_parameters']:<15} | {shown:<28} | {len(found):<5} | {cost}")
    return lines


@style()
def draw(rows: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    """Draw the seeds of each network and their mean.

    Returns:
        The files, ``out/delays.png``, ``.svg`` and, with the points, ``.csv``.
    """
    found = points(rows)
    figure, (axes,) = new_figure(width="page", height=2.8)
    for place, (name, values) in enumerate(found.items()):
        hue = colour("denram") if "learned" in TITLES[name] else "0.5"
        axes.bar(place, statistics.mean(values), color=hue, alpha=0.5)
        axes.plot([place] * len(values), values, "o", color=hue, markersize=4)
    axes.set_xticks(range(len(found)), [TITLES[name] for name in found], fontsize=7)
    lowest = min(value for values in found.values() for value in values)
    axes.set(ylabel="test accuracy (%)", ylim=(max(0.0, lowest - 10), None))
    axes.set_title(
        f"{rows[0]['dataset']}, scale {rows[0]['scale']}: points are seeds, bars their mean", fontsize=8
    )
    numbers = [{"network": name, "test_acc": value} for name, values in found.items() for value in values]
    png = save_figure(figure, out / f"{FIGURE}.png")
    return png + save_figure(figure, out / f"{FIGURE}.svg", table=numbers)
