"""A sweep: the runs of a grid in one ledger; finished ones are skipped, and each run gets a line at the end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprokit.run.ledger import Ledger, Row
from reprokit.run.study import Task, current
from reprokit.run.work import Function
from reprokit.run.workers import WorkerOptions, hand_out, select
from reprokit.terminal import say


@dataclass(frozen=True)
class SweepOptions(WorkerOptions):
    """Options of ``sweep GRID``."""

    out: Path | None = None
    """Folder of results.csv and of the run directories; none: runs/<name of the grid file>."""
    data: str | None = None
    """Data set or path; none: as in the grid or the configuration."""
    threads: int | None = None
    """CPU threads of each run; none: as in the grid or the configuration."""

    def folder(self, grid: Path) -> Path:
        """The absolute folder of the results of a grid file."""
        return sweep_folder(self.out, grid)


def sweep_folder(out: Path | None, grid: Path | None) -> Path:
    """Return the absolute folder of a sweep: `out`, or one named after the grid file, or runs/sweep."""
    return (out or Path("runs") / (grid.stem if grid is not None else "sweep")).absolute()


def sweep(
    tasks: Sequence[Task],
    work: Function,
    *,
    package: str,
    folder: Path,
    options: WorkerOptions,
    columns: Mapping[str, type],
    measures: Sequence[str] = (),
    threads: int | None = 1,
    data: Sequence[str | Path | None] = (),
    complete: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
    show: Callable[[list[Row]], object] | None = None,
) -> int:
    """Do the runs that the ledger in `folder` lacks and print the results.

    Args:
        tasks: The runs, labelled by the values that vary.
        work: Does one run from a task's `config` and returns its rows; importable by name, paths in it absolute.
        package: The package.
        folder: Folder of results.csv, absolute.
        options: Which runs, where, and how many at a time.
        columns: The package's own ledger columns.
        measures: Columns to print for each run.
        threads: CPU threads of each run; None: the cores shared among them.
        data: The data that the user named.
        complete: As for `run_jobs`.
        show: Prints the rows differently.

    Returns:
        Exit code: 1 if a run failed, else 0.

    Raises:
        UserError: Unknown labels, bad numbers, a folder or ledger that cannot be used.
    """
    options.check()
    wanted = select(tasks, lambda task: (task.label,), options.only, options.skip)
    ledger = Ledger.for_results(folder / "results.csv", columns)
    report = hand_out(
        [task.job for task in wanted],
        work,
        ledger=ledger,
        options=options,
        package=package,
        threads=threads,
        data=data,
        complete=complete,
    )
    if options.dry_run:
        return 0
    labels = {row: task.label for task in tasks for row in task.job.row_ids}
    rows = [row for row in current(ledger.rows()) if row["run_id"] in labels]
    for row in rows if show is None else ():
        values = ", ".join(f"{name} {row[name]:g}" for name in measures if row[name] is not None)
        say(f"{labels[row['run_id']]}: {values}")
    if show is not None:
        show(rows)
    say(f"results: {ledger.path}")
    return 0 if report.ok else 1
