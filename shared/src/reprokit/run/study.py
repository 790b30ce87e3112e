"""A study: the runs behind published numbers, each done once, with their rows in one ledger and figures at the end.

Only the parent process writes the ledger; a worker gets absolute paths and returns its rows. Repeating the
command skips finished runs and continues interrupted ones. A row of a modified working tree, or one without
identified data, does not count as finished if a better one is possible: the run is measured again from the
beginning, and the ledger keeps both rows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reprokit.errors import UserError
from reprokit.files.atomic import make_folder
from reprokit.run.ledger import Ledger, Row, Schema
from reprokit.run.places import Submits
from reprokit.run.provenance import MODIFIED, git_commit
from reprokit.run.work import Function, Job
from reprokit.run.workers import WorkerOptions, hand_out, select
from reprokit.terminal import say

Scale = Literal["smoke", "reduced", "paper"]


@dataclass(frozen=True)
class Task:
    """One training of a study.

    Attributes:
        config: Plain values, the argument of the study's work; its digest is the run id of the row.
        claim: Experiment the row belongs to.
        part: Group of the study, for ``--only``.
        label: Its name in reports.
        rows: Run ids of its rows, if there are several or they differ from that of `config`.
        extra: Whether it runs only if ``--only`` names it, because it needs more data or days of computing.
        gpu: Whether it needs a GPU.
    """

    config: Mapping[str, Any]
    claim: str
    part: str
    label: str
    rows: tuple[str, ...] = ()
    extra: bool = False
    gpu: bool = False

    @property
    def job(self) -> Job:
        """The task as a job of a sweep."""
        return Job(self.config, self.label, self.rows, self.gpu)


@dataclass(frozen=True)
class ReproduceOptions(WorkerOptions):
    """Options of ``reproduce``, the same in every package."""

    scale: Scale = "smoke"
    """smoke: embedded data, about a minute; reduced: part of the data or training; paper: the published protocol."""
    again: tuple[str, ...] = ()
    """Parts, claims or labels to measure again although they have rows; both rows are kept."""
    data: str | None = None
    """Data set or folder; none: the study's own."""
    threads: int = 1
    """CPU threads of each run."""
    seeds: tuple[int, ...] = ()
    """Seeds; none: the study's own."""
    out: Path | None = None
    """Folder of results.csv, figures and runs; none: runs/reproduce/<package>/<scale>."""

    def folder(self, package: str) -> Path:
        """The absolute folder of the results of `package`."""
        return (self.out or Path("runs/reproduce") / package / self.scale).absolute()

    def check(self) -> None:
        """Raise a UserError for numbers out of range, options that do not fit, and a seed given twice."""
        super().check()
        if self.threads < 1:
            raise UserError(f"--threads is {self.threads}; it must be at least 1")
        if len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"--seeds are {' '.join(map(str, self.seeds))}; give each once")


def chosen(
    tasks: Sequence[Task], only: Sequence[str], option: str = "--only", skip: Sequence[str] = ()
) -> list[Task]:
    """Return the tasks whose part, claim or label is named; if none is named, all but `extra` ones.

    Raises:
        UserError: A name is unknown.
    """
    return select(
        tasks, lambda t: (t.part, t.claim, t.label), only, skip, usual=lambda t: not t.extra, option=option
    )


def current(rows: Iterable[Row]) -> list[Row]:
    """Return one row of each run: the newest of a clean working tree, or the newest if none is clean."""
    found: dict[str, Row] = {}
    for row in rows:
        before = found.get(row["run_id"])
        if before is None or _clean(row) or not _clean(before):
            found[row["run_id"]] = row
    return list(found.values())


def _to_be_better(jobs: Iterable[Job], rows: Iterable[Row], identified: bool) -> set[str]:
    """Return the run ids of jobs whose row the same program could now improve on."""
    clean_now = not git_commit().endswith(MODIFIED)
    poor = {
        row["run_id"]
        for row in current(rows)
        if (clean_now and not _clean(row)) or (identified and not row["data_digest"])
    }
    return {job.run_id for job in jobs if poor & set(job.row_ids)}


def _clean(row: Row) -> bool:
    return not row["git_commit"].endswith(MODIFIED)


def reproduce(
    tasks: Sequence[Task],
    work: Function,
    *,
    package: str,
    options: ReproduceOptions,
    columns: Schema,
    draw: Callable[[list[Row], Path], Iterable[Path]] | None = None,
    complete: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
    executor: Submits | None = None,
    identified: bool = False,
    data: Sequence[str | Path | None] = (),
    small: Sequence[Path] = (),
) -> int:
    """Do the runs that the ledger lacks, append their rows, draw the figures.

    Args:
        tasks: The runs of `options.scale`, most informative first.
        work: Does one run from a task's `config` and returns its rows; importable by name, paths in it absolute.
        package: The package, for the default folder.
        options: Scale, selection, workers, folder.
        columns: The study's own ledger columns.
        draw: Called with the study's rows and the folder; draws and returns the files.
        complete: As for `run_jobs`.
        executor: Runs the work elsewhere; None: `options.jobs` processes here.
        identified: Whether the rows of `work` have the digest of their data, so that older rows without one are
            measured again.
        data: The data that the user named; paths must be visible to all workers of a cluster.
        small: Small files in the folder that the runs read.

    Returns:
        Exit code: 1 if a run failed, else 0.

    Raises:
        UserError: Unknown names in ``--only`` or ``--again``, bad numbers, a folder or ledger that cannot be used.
    """
    options.check()
    wanted = chosen(tasks, options.only, skip=options.skip)
    asked = chosen(tasks, options.again, "--again") if options.again else []
    wanted += [task for task in asked if task not in wanted]
    out = options.folder(package)
    if not options.dry_run:
        make_folder(out, "folder of the results")
    ledger = Ledger.for_results(out / "results.csv", columns)
    jobs = [task.job for task in wanted]
    again = _to_be_better(jobs, ledger.rows(), identified)
    again |= {task.job.run_id for task in asked}
    report = hand_out(
        jobs,
        work,
        ledger=ledger,
        options=options,
        package=package,
        threads=options.threads,
        data=data,
        small=small,
        complete=complete,
        again=again,
        executor=executor,
    )
    if options.dry_run:
        return 0
    ids = {row for task in tasks for row in task.job.row_ids}
    rows = [row for row in current(ledger.rows()) if row["run_id"] in ids]
    for file in draw(rows, out) if draw and rows else ():
        say(f"figure: {file}")
    say(f"results: {ledger.path}")
    return 0 if report.ok else 1
