"""The options of every command that does several runs, and how the runs are distributed."""

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from reprokit.errors import UserError
from reprokit.files.atomic import make_folder
from reprokit.files.locking import acquire
from reprokit.run.forecast import recorded, table
from reprokit.run.ledger import Ledger
from reprokit.run.places import check_cores
from reprokit.run.sweep import SweepReport, run_jobs, to_do
from reprokit.run.work import Function, Job, Row
from reprokit.terminal import say

DRIVER = ".driver.lock"
T = TypeVar("T")


@dataclass(frozen=True)
class WorkerOptions:
    """Which runs are done, where, and how many at a time; the same for every command that does several."""

    only: tuple[str, ...] = ()
    """Runs to do, by label, or by part or claim of a study; * and ? match any letters."""
    skip: tuple[str, ...] = ()
    """Runs to leave out, named in the same way."""
    jobs: int = 1
    """Runs at a time, each in its own process; with --scheduler dask or slurm the number of workers."""
    scheduler: str | None = None
    """Where the runs are done: tcp://HOST:PORT or the scheduler file of a running Dask cluster, dask (a cluster of this
    machine with a dashboard) or slurm; none: processes of this machine."""
    scheduler_config: Path | None = None
    """YAML file of options for --scheduler dask or slurm, in the form of Dask's own configuration files."""
    retries: int = 1
    """How often a failed run is tried again, from its checkpoint."""
    dry_run: bool = False
    """Print the runs with their expected minutes, without doing any."""

    def check(self) -> None:
        """Raise a UserError for numbers out of range and options that do not fit."""
        if self.jobs < 1:
            raise UserError(f"--jobs is {self.jobs}; it must be at least 1")
        if self.retries < 0:
            raise UserError(f"--retries is {self.retries}; it must be 0 or more")
        if self.scheduler_config is not None and self.scheduler is None:
            raise UserError(
                f"--scheduler-config {self.scheduler_config} needs --scheduler; give dask or slurm"
            )


def select(
    items: Sequence[T],
    names_of: Callable[[T], Sequence[str]],
    only: Sequence[str],
    skip: Sequence[str] = (),
    usual: Callable[[T], bool] = lambda _: True,
    option: str = "--only",
) -> list[T]:
    """Return the named items.

    Args:
        items: All items.
        names_of: The names of an item, the last one its label.
        only: Names or patterns of the wanted items; none: all that are `usual`.
        skip: Names or patterns of unwanted items.
        usual: Whether an item is wanted without being named.
        option: Name of the option `only`.

    Raises:
        UserError: An unknown name, or a pattern that matches nothing.
    """
    for flag, words in ((option, only), ("--skip", skip)):
        unknown = [word for word in words if not any(_named(names_of(item), [word]) for item in items)]
        if unknown:
            short = dict.fromkeys(name for item in items for name in names_of(item)[:-1])
            labels = [names_of(item)[-1] for item in items]
            shown = list(short) or [*labels[:8], *(["..."] if len(labels) > 8 else [])]
            raise UserError(f"{flag} {' '.join(unknown)} is unknown; choose from {', '.join(shown)}")
    wanted = [item for item in items if _named(names_of(item), only) or not (only or not usual(item))]
    return [item for item in wanted if not _named(names_of(item), skip)]


def _named(names: Sequence[str], words: Sequence[str]) -> bool:
    return any(word == name or fnmatchcase(name, word) for word in words for name in names)


def hand_out(
    jobs: Sequence[Job],
    work: Function,
    *,
    ledger: Ledger,
    options: WorkerOptions,
    package: str,
    threads: int | None = 1,
    data: Sequence[str | Path | None] = (),
    small: Sequence[Path] = (),
    complete: Callable[[dict[str, Any]], Row] | None = None,
    again: Container[str] = (),
    executor: Any = None,
) -> SweepReport:
    """Do the runs that the ledger lacks, where the options say, or print them for ``--dry-run``.

    Args:
        jobs: The runs, most informative first.
        work: As for `run_jobs`; paths in it are absolute.
        ledger: The ledger; the folder of its file has all results, and only one program at a time works in it.
        options: Where, and how many at a time.
        package: The package.
        threads: CPU threads of each run; None: the cores divided among the runs.
        data: The data that the user named; paths must be visible to all workers.
        small: Small files below the folder of the results that runs read.
        complete: As for `run_jobs`.
        again: As for `run_jobs`.
        executor: As for `run_jobs`; overrides the options.

    Returns:
        What was done; an empty report for ``--dry-run``.

    Raises:
        UserError: Options that cannot be used, another program that works in the folder, a worker that must not take
            part.
    """
    options.check()
    if options.dry_run:
        known = recorded(package, ledger.path)
        for line in table(jobs, to_do(jobs, ledger, again), known, options.jobs):
            say(line)
        return SweepReport()
    root = ledger.path.parent.absolute()
    with sole_driver(root):
        shared = {
            "ledger": ledger,
            "complete": complete,
            "again": again,
            "retries": options.retries,
            "gentle": True,
        }
        if executor is not None or options.scheduler is None:
            if executor is None:
                check_cores(options.jobs, threads or 1)
            return run_jobs(jobs, work, workers=options.jobs, threads=threads, executor=executor, **shared)
        if not to_do(jobs, ledger, again):
            return run_jobs(jobs, work, **shared)
        from reprokit.run.cluster import on_cluster
        from reprokit.run.site import Site

        if options.scheduler == "dask":
            check_cores(options.jobs, threads or 1)
        seen = [Path(path).absolute() for path in data if path is not None and Path(path).exists()]
        site = Site.of(root, package, seen, small, threads or 1)
        with on_cluster(
            options.scheduler, site, jobs=options.jobs, config=options.scheduler_config, say=say
        ) as place:
            return run_jobs(jobs, work, executor=place, **shared)


@contextmanager
def sole_driver(folder: Path) -> Iterator[None]:
    """Lock the folder of results, so that no other program distributes runs into it.

    Raises:
        UserError: Another program has locked it.
    """
    make_folder(folder, "folder of the results")
    busy = (
        f"another program does runs into {folder}; wait for it, or give another folder with --out "
        "(more workers join the running one through its scheduler)"
    )
    lock = acquire(folder / DRIVER, patience=0, busy=busy, wait_for_self=False)
    try:
        yield
    finally:
        lock.release()


def on_gpu(device: str | None) -> bool:
    """Tell whether a run with this ``--device`` needs a GPU: cuda, cuda:K or a number."""
    return bool(device) and (str(device).startswith("cuda") or str(device).isdecimal())
