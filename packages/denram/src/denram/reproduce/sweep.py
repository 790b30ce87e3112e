"""The runs of a grid file: any field of the configuration, data sets included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from reprokit import run_id
from reprokit.config import rebuild
from reprokit.run.grid import Grid
from reprokit.run.grid_sweep import SweepOptions
from reprokit.run.grid_sweep import sweep as run_sweep
from reprokit.run.study import Task
from reprokit.run.workers import on_gpu

from denram.config import TrainConfig
from denram.data.loading import absolute, load_data, open_data, save_data
from denram.reproduce.plan import COLUMNS, done
from denram.training.loop import identity, train


def sweep(grid: Grid, base: TrainConfig, options: SweepOptions, folder: Path) -> int:
    """Do the runs of a grid that the ledger lacks.

    Each data set is read and binned once; the runs share the binned events as files.

    Args:
        grid: The values that vary.
        base: The configuration they replace values in.
        options: Which runs, where, data and threads.
        folder: Folder of results.csv and of the runs, absolute.

    Returns:
        Exit code: 1 if a run failed, else 0.

    Raises:
        UserError: If a configuration, the data or the folder cannot be used.
    """
    given = {"data": options.data, "threads": options.threads}
    base = replace(base, **{name: value for name, value in given.items() if value is not None})
    sets: dict[tuple[Any, ...], Path] = {}
    tasks, places = [], {}
    for label, config in grid.configs(base):
        config.check_used()
        config = replace(config, data=absolute(config.data), out=None)
        key = (
            config.data,
            config.binning,
            config.channels,
            config.time_unit,
            config.start,
            config.allow_loss,
        )
        if key not in sets:
            sets[key] = save_data(_load(config), folder / "runs" / "events")
        settings = identity(config, open_data(sets[key]))
        places[run_id(settings)] = {"events": sets[key], "config": {**asdict(config), "out": None}}
        tasks.append(Task(settings, "sweep", "sweep", label, gpu=on_gpu(config.device)))
    return run_sweep(
        tasks,
        partial(run_one, places=places, runs=folder / "runs"),
        package="denram",
        folder=folder,
        options=options,
        columns=COLUMNS,
        measures=("test_acc", "val_acc"),
        threads=base.threads,
        data=[key[0] for key in sets],
    )


def _load(config: TrainConfig) -> Any:
    return load_data(
        config.data,
        config.binning,
        channels=config.channels,
        time_unit=config.time_unit,
        start=config.start,
        allow_loss=config.allow_loss,
    )


def run_one(settings: Mapping[str, Any], *, places: Mapping[str, Any], runs: Path) -> dict[str, Any]:
    """Do one run, or finish it, and return its ledger row.

    Args:
        settings: Full configuration, from `identity`.
        places: For each run id: the folder of its binned data, and all options.
        runs: Parent of the run directories.
    """
    place = places[run_id(settings)]
    config = rebuild(TrainConfig, place["config"], "the sweep")
    events = place["events"]
    if not events.exists():  # for a cluster worker that does not see the folder of the sweep
        save_data(_load(config), events.parent)
    data = open_data(events)
    folder = runs / f"{config.name}-{run_id(settings)}"
    return done(train(replace(config, out=folder), data), data, config, claim="sweep", scale="reduced")
