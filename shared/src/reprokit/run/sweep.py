"""Run many configurations, each once: finished ones are skipped, a failing one does not stop the others."""

import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any, Protocol

from reprokit.errors import UserError
from reprokit.run.directory import measured_again
from reprokit.run.ledger import Ledger
from reprokit.run.provenance import run_id
from reprokit.terminal import say as print_line

Row = Mapping[str, Any]
Function = Callable[[Any], Row | Sequence[Row] | None]
_POLL_SECONDS = 0.5  # between looks at futures that cannot be waited for


class Promise(Protocol):
    """What an executor gives for a job: a `concurrent.futures.Future`, or as much of one as this."""

    def done(self) -> bool:
        """Tell whether the job has ended."""
        ...

    def result(self) -> Any:
        """Return what the job returned, or raise what stopped it."""
        ...


class Submits(Protocol):
    """Any `concurrent.futures` executor (loky, dask's, mpi4py's), or one like submitit's."""

    def submit(self, fn: Callable[..., Any], /, *arguments: Any) -> Promise:
        """Start `fn(*arguments)` somewhere."""
        ...


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        config: Its full configuration, the argument of the sweep's function.
        label: What the report calls it.
        rows: Run ids of the rows it gives; none: one row with the id of `config`.
    """

    config: Mapping[str, Any]
    label: str
    rows: tuple[str, ...] = ()

    @property
    def run_id(self) -> str:
        """The run id of the configuration."""
        return run_id(self.config)

    @property
    def row_ids(self) -> tuple[str, ...]:
        """Run ids of the rows that make it finished."""
        return self.rows or (self.run_id,)


@dataclass
class SweepReport:
    """What became of the jobs of a sweep: labels, and for failures the reason and the traceback."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    tracebacks: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every job is finished."""
        return not self.failed


@dataclass(frozen=True)
class _Outcome:
    """What a worker sends back; exceptions travel as text, since not every exception can be pickled."""

    rows: tuple[dict[str, Any], ...] | None
    reason: str = ""
    trace: str = ""


def run_jobs(
    jobs: Sequence[Job],
    function: Function,
    *,
    ledger: Ledger | None = None,
    workers: int = 1,
    executor: Submits | None = None,
    complete: Callable[[dict[str, Any]], Row] | None = None,
    again: Container[str] = (),
    say: Callable[[str], object] = print_line,
) -> SweepReport:
    """Call `function(job.config)` for every job whose run id the ledger lacks.

    Args:
        jobs: The runs, in order of preference; no two with the same configuration.
        function: Does one run and returns its ledger row or rows, or None where there is no ledger. With worker
            processes it must be importable by name.
        ledger: Says which runs are finished and takes the returned rows; this process alone writes it.
        workers: 1 runs in this process; more start that many fresh processes.
        executor: Used instead of own processes and left open: any executor whose `submit(function, argument)`
            returns a future, or an object with `done()` and `result()`. Rows come back to this process, so workers
            need not see the ledger.
        complete: Fills in, just before a row is appended, what only the whole ledger can tell.
        again: Run ids of jobs to run although the ledger has their rows; finished run directories that they open
            are begun anew, and the ledger keeps both rows.
        say: Takes the progress lines.

    Returns:
        Which jobs are done, skipped, failed; it has been said too.

    Raises:
        UserError: `workers` below 1, or two jobs with one configuration.
    """
    if workers < 1:
        raise UserError(f"workers is {workers}; at least 1 is needed")
    if len({job.run_id for job in jobs}) < len(jobs):
        raise UserError("two jobs of the sweep have the same configuration; remove one")
    report = SweepReport()
    waiting = [
        job for job in jobs if ledger is None or job.run_id in again or not all(map(ledger.has, job.row_ids))
    ]
    report.skipped = [job.label for job in jobs if job not in waiting]
    if report.skipped:
        say(f"{len(report.skipped)} of {len(jobs)} runs are finished already and skipped")
    settle = _Books(report, ledger, complete, again, len(waiting), say).settle
    work = _Work(function, again)
    if executor is not None:
        for job in _run_on(executor, waiting, work, settle):
            settle(job, _Outcome(None, "the executor broke before it was finished"))
    elif workers == 1:
        for job in waiting:
            settle(job, _attempt(*work.of(job)))
    else:
        _run_in_processes(workers, waiting, work, settle)
    say(
        f"sweep finished: {len(report.done)} done, {len(report.skipped)} skipped, {len(report.failed)} failed"
    )
    for label, reason in report.failed.items():
        say(f"  {label}: {reason}")
    return report


@dataclass(frozen=True)
class _Work:
    """What is done for a job, and for which jobs it is done again."""

    function: Function
    again: Container[str]

    def of(self, job: Job) -> tuple[Function, dict[str, Any], bool]:
        """Return the arguments of `_attempt`."""
        return self.function, dict(job.config), job.run_id in self.again


@dataclass
class _Books:
    """Records what became of each run, and says after it how many are left and about how long they take."""

    report: SweepReport
    ledger: Ledger | None
    complete: Callable[[dict[str, Any]], Row] | None
    again: Container[str]
    total: int
    say: Callable[[str], object]
    finished: int = 0
    start: float = field(default_factory=time.monotonic)

    def settle(self, job: Job, outcome: _Outcome) -> None:
        """Record one outcome: rows into the ledger, label into the report, a line of progress."""
        if not outcome.reason and self.ledger is not None and outcome.rows is not None:
            try:
                if {row.get("run_id") for row in outcome.rows} != set(job.row_ids):
                    raise UserError(
                        "the row it returned has another run id, so it would never count as finished"
                    )
                for row in outcome.rows:
                    done = self.complete(row) if self.complete else row
                    self.ledger.append(done, again=job.run_id in self.again)
            except (UserError, OSError) as error:
                outcome = _Outcome(None, str(error), traceback.format_exc())
        if outcome.reason:
            self.report.failed[job.label] = outcome.reason
            self.report.tracebacks[job.label] = outcome.trace
        else:
            self.report.done.append(job.label)
        self.finished += 1
        elapsed = time.monotonic() - self.start
        left = elapsed / self.finished * (self.total - self.finished)
        end = f", about {_duration(left)} left" if self.finished < self.total else ""
        verdict = f"failed ({outcome.reason})" if outcome.reason else "done"
        self.say(f"[{self.finished}/{self.total}] {job.label}: {verdict} after {_duration(elapsed)}{end}")


def _duration(seconds: float) -> str:
    """Write a time span with one unit or two, for example "45 s", "12 min", "3 h 20 min"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _attempt(function: Function, config: Mapping[str, Any], again: bool) -> _Outcome:
    """Do one run and catch what goes wrong; runs in the worker."""
    try:
        with measured_again() if again else nullcontext():
            rows = function(config)
        rows = [rows] if isinstance(rows, Mapping) else rows
        return _Outcome(None if rows is None else tuple(dict(row) for row in rows))
    except Exception as error:
        name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        return _Outcome(None, f"{name}{error}" or "failed without a message", traceback.format_exc())


def _run_on(
    executor: Submits, jobs: Sequence[Job], work: _Work, settle: Callable[[Job, _Outcome], None]
) -> list[Job]:
    """Run jobs on an executor; returns those lost because the executor itself broke."""
    promises: dict[Promise, Job] = {}
    lost: list[Job] = []
    for job in jobs:
        try:
            promises[executor.submit(_attempt, *work.of(job))] = job
        except BrokenExecutor:
            lost.append(job)
    try:
        for promise in _as_they_end(list(promises)):
            try:
                settle(promises[promise], promise.result())
            except BrokenExecutor:
                lost.append(promises[promise])
            except Exception as error:  # the function or its result cannot travel, or the cluster gave up
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                settle(promises[promise], _Outcome(None, reason, traceback.format_exc()))
    except BaseException:
        for promise in promises:
            if callable(cancel := getattr(promise, "cancel", None)):
                cancel()
        raise
    return lost


def _as_they_end(promises: Sequence[Promise]) -> Iterator[Promise]:
    """Give promises as they end; those that are no `concurrent.futures.Future` are looked at again and again."""
    futures = [promise for promise in promises if isinstance(promise, Future)]
    if len(futures) == len(promises):
        yield from as_completed(futures)
        return
    waiting = list(promises)
    while waiting:
        ended = [promise for promise in waiting if promise.done()]
        waiting = [promise for promise in waiting if promise not in ended]
        yield from ended
        if not ended:
            time.sleep(_POLL_SECONDS)


def _run_in_processes(
    workers: int, jobs: Sequence[Job], work: _Work, settle: Callable[[Job, _Outcome], None]
) -> None:
    """Run jobs in fresh processes; when one of them dies, the jobs it took along run again one by one."""
    with _pool(workers) as pool:
        lost = _run_on(pool, jobs, work, settle)
    for job in lost:
        with _pool(1) as pool:
            if _run_on(pool, [job], work, settle):
                settle(job, _Outcome(None, "its process died (killed, or out of memory)"))


def _pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of fresh processes that end when this one does."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_follow_parent)


def _follow_parent() -> None:
    """End this worker when its parent is gone, so that a killed sweep leaves nothing running."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
