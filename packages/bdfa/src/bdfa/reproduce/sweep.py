"""The runs of a grid file: any field of the configuration, each network as a separate run."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from reprokit import UserError
from reprokit.run.grid import Grid
from reprokit.run.grid_sweep import SweepOptions
from reprokit.run.grid_sweep import sweep as run_sweep
from reprokit.run.workers import on_gpu

from bdfa.config import TrainConfig
from bdfa.effects import check_effects
from bdfa.reproduce.groups import Group, task_of, train_group, with_gap
from bdfa.reproduce.results import METRICS, open_ledger

_PLACES = ("threads", "data_dir", "cache_dir", "device")  # one value for all runs: not part of their identity


def sweep(grid: Grid, base: TrainConfig, options: SweepOptions, folder: Path) -> int:
    """Train the networks of a grid that the ledger lacks.

    Args:
        grid: The values that vary.
        base: The configuration they replace values in.
        options: Which runs, where, and threads; `base` has the data already.
        folder: Folder of results.csv and of the runs, absolute.

    Returns:
        Exit code: 1 if a run failed, else 0.

    Raises:
        UserError: A configuration or the folder cannot be used.
    """
    if options.threads is not None:
        base = replace(base, threads=options.threads)
    tasks = []
    first: TrainConfig | None = None
    for label, config in grid.configs(base):
        check_effects(config)
        first = first or config
        other = [name for name in _PLACES if getattr(config, name) != getattr(first, name)]
        if other:
            raise UserError(f"{grid.source}: {other[0]} does not change a run's numbers; put it under [base]")
        if Path(config.dataset).exists():
            config = replace(config, dataset=str(Path(config.dataset).absolute()))
        group = Group((config,), "sweep", "own" if config.own_data else "reduced")
        tasks.append(replace(task_of(group), label=label, gpu=on_gpu(config.device)))
    assert first is not None  # a grid without runs is refused
    places = {
        name: path and path.absolute()
        for name, path in (("data_dir", first.data_dir), ("cache_dir", first.cache_dir))
    }
    return run_sweep(
        tasks,
        partial(train_group, runs=folder / "runs", threads=first.threads, device=first.device, **places),
        package="bdfa",
        folder=folder,
        options=options,
        columns=METRICS,
        measures=("test_error", "best_test_error"),
        threads=first.threads,
        data=[first.dataset, first.data_dir],
        complete=with_gap(open_ledger(folder / "results.csv"), tasks),
    )
