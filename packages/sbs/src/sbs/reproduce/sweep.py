"""The runs of a grid file: any field of the configuration, with dotted names for those of its parts."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from reprokit import UserError, run_id
from reprokit.run.grid import Grid
from reprokit.run.grid_sweep import SweepOptions
from reprokit.run.grid_sweep import sweep as run_sweep
from reprokit.run.study import Task

from sbs.config import TrainConfig, check
from sbs.reproduce.plan import COLUMNS, identity, train_and_measure


def sweep(grid: Grid, base: TrainConfig, options: SweepOptions, folder: Path) -> int:
    """Do the runs of a grid that the ledger lacks, each tested with its own number of spikes.

    Args:
        grid: The values that vary.
        base: The configuration they replace values in.
        options: Which runs, where, data and threads.
        folder: Folder of results.csv and of the runs, absolute.

    Returns:
        Exit code: 1 if a run failed, else 0.

    Raises:
        UserError: A configuration or the folder cannot be used.
    """
    if options.threads is not None:
        base = replace(base, threads=options.threads)
    if options.data is not None:
        base = replace(base, data=replace(base.data, source=options.data))
    tasks, sources = [], dict[str, None]()
    for label, config in grid.configs(base):
        if not config.network.layers:
            raise UserError(
                f'{grid.source} names no network; begin it with config = "digits-smoke", another preset or a file'
            )
        check(config, grid.source)
        source = config.data.source
        source = str(Path(source).absolute()) if Path(source).exists() else source
        config = replace(config, data=replace(config.data, source=source))
        sources[source] = None
        count = config.network.number_of_spikes
        settings = {"config": config.content(), "claim": "sweep", "counts": [count]}
        tasks.append(Task(settings, "sweep", "sweep", label, rows=(run_id(identity(config, count)),)))
    return run_sweep(
        tasks,
        partial(train_and_measure, runs=str(folder / "runs"), scale="reduced", mirror=""),
        package="sbs",
        folder=folder,
        options=options,
        columns=COLUMNS,
        measures=("test_accuracy",),
        threads=base.threads,
        data=list(sources),
    )
