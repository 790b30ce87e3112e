"""Run many configurations, each once: finished ones are skipped, and a failure does not stop the others."""

import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from reprokit.errors import UserError
from reprokit.run.ledger import Ledger
from reprokit.run.places import OnExecutor, Place, Processes, Promise, Submits
from reprokit.run.watch import Position
from reprokit.run.work import Function, Job, News, Outcome, Row, Work, attempt
from reprokit.terminal import progress
from reprokit.terminal import say as print_line

SAY_SECONDS = 60.0  # between progress lines, if there is no terminal
STOPPING = "stopping at the next checkpoint of each run; Ctrl-C again stops at once"

__all__ = ["Function", "Job", "NotYet", "SweepReport", "run_jobs"]


class NotYet(Exception):
    """Raised when completing a row that depends on another row that is still missing.

    Args:
        row: The row to write if that other row never appears.
    """

    def __init__(self, row: Row) -> None:
        super().__init__("the row waits for another one")
        self.row = row


@dataclass
class SweepReport:
    """The outcome of a sweep's jobs: labels, and for failures the reason and the traceback."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    tracebacks: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every job is finished."""
        return not self.failed


def run_jobs(
    jobs: Sequence[Job],
    function: Function,
    *,
    ledger: Ledger | None = None,
    workers: int = 1,
    threads: int | None = None,
    executor: Submits | Place | None = None,
    complete: Callable[[dict[str, Any]], Row] | None = None,
    again: Container[str] = (),
    retries: int = 0,
    gentle: bool = False,
    say: Callable[[str], object] = print_line,
) -> SweepReport:
    """Call `function(job.config)` for every job whose run id the ledger lacks.

    Args:
        jobs: The runs, in order of preference; no two with the same configuration.
        function: Does one run and returns its ledger row or rows, or None if there is no ledger. With worker
            processes it must be importable by name.
        ledger: Determines which runs are finished and receives the returned rows; only this process writes it.
        workers: 1 runs in this process; more start that many fresh processes.
        threads: CPU threads of each of those processes; None: as set in the environment.
        executor: Used instead of worker processes, and left open: any executor whose `submit(function, argument)`
            returns a future, or an object with `done()` and `result()`. Rows come back to this process, so workers
            need not see the ledger.
        complete: Fills in values that depend on the whole ledger, just before a row is appended; raises
            `NotYet` while a row of this sweep that it needs is missing, in whatever order the runs end.
        again: Run ids of jobs to run although the ledger has their rows; their finished run directories start
            again, and the ledger keeps both rows.
        retries: How often a failed run is tried again, from its checkpoint.
        gentle: Whether the first Ctrl-C lets a run in this process reach its next checkpoint. Runs in worker
            processes always do.
        say: Called with the progress lines.

    Returns:
        Which jobs are done, skipped and failed; this has also been printed.

    Raises:
        UserError: `workers` below 1, two jobs with one configuration, or a worker that must not take part.
        KeyboardInterrupt: Ctrl-C.
    """
    if workers < 1:
        raise UserError(f"workers is {workers}; at least 1 is needed")
    if len({job.run_id for job in jobs}) < len(jobs):
        raise UserError("two jobs of the sweep have the same configuration; remove one")
    report = SweepReport()
    waiting = to_do(jobs, ledger, again)
    report.skipped = [job.label for job in jobs if job not in waiting]
    if report.skipped:
        say(f"{len(report.skipped)} of {len(jobs)} runs are finished already and skipped")
    books = _Books(report, ledger, complete, again, waiting, say, retries)
    work = Work(function, again)
    if executor is not None:
        place = executor if isinstance(executor, Place) else OnExecutor(executor)
        for job in _drive(place, waiting, work, books):
            books.settle(job, Outcome(None, "the executor broke before it was finished"), final=True)
    elif workers == 1:
        _run_here(waiting, work, books, gentle)
    else:
        _run_in_processes(workers, threads, waiting, work, books)
    books.write_held()
    say(
        f"sweep finished: {len(report.done)} done, {len(report.skipped)} skipped, {len(report.failed)} failed"
    )
    for label, reason in report.failed.items():
        say(f"  {label}: {reason}")
    return report


def to_do(jobs: Sequence[Job], ledger: Ledger | None, again: Container[str] = ()) -> list[Job]:
    """Return the jobs that are not finished, and those to do again."""
    return [
        job for job in jobs if ledger is None or job.run_id in again or not all(map(ledger.has, job.row_ids))
    ]


@dataclass
class _Running:
    """A run that a worker has started."""

    label: str
    begun: float = field(default_factory=time.monotonic)
    first: int | None = None  # position in the first report of this start
    since: float = 0.0
    at: Position | None = None

    def move(self, position: Position) -> None:
        if self.first is None:
            self.first, self.since = position.done, time.monotonic()
        self.at = position

    def __str__(self) -> str:
        if self.at is None:
            return f"{self.label} (begun)"
        moved = self.at.done - (self.first or 0)
        if not self.at.total or moved <= 0:
            return f"{self.label} ({self.at})"
        left = (time.monotonic() - self.since) / moved * (self.at.total - self.at.done)
        return f"{self.label} ({self.at}, about {duration(left)} left)"


class _Books:
    """Records the outcome of each run; reports how many are left, roughly how long they take, and what is running."""

    def __init__(
        self,
        report: SweepReport,
        ledger: Ledger | None,
        complete: Callable[[dict[str, Any]], Row] | None,
        again: Container[str],
        jobs: Sequence[Job],
        say: Callable[[str], object],
        retries: int,
    ) -> None:
        self.report, self.ledger, self.complete, self.again = report, ledger, complete, again
        self.total, self.retries, self._say = len(jobs), retries, say
        self.labels = {job.run_id: job.label for job in jobs}
        self.attempts: dict[str, int] = {}
        self.running: dict[str, _Running] = {}
        self.finished = 0
        self.held: list[
            tuple[dict[str, Any], bool]
        ] = []  # rows that wait for another one, and whether they are repeated
        self.start = self.said = time.monotonic()
        self.bar: Any = None

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show on a terminal how many runs are done and what is running."""
        with progress(total=self.total, description="runs") as self.bar:
            self.bar.update(self.finished)
            try:
                yield
            finally:
                self.bar.close()
                self.bar = None

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        if self.bar is not None:
            self.bar.clear()
        self._say(line)

    def hear(self, news: Sequence[News]) -> None:
        """Process news from workers."""
        for item in news:
            if item.run not in self.labels:
                continue
            label = self.labels[item.run]
            if item.state == "stopped":
                self.running.pop(item.run, None)
                continue
            run = self.running.setdefault(item.run, _Running(label))
            if item.state == "started":
                self.running[item.run] = _Running(label)
            elif item.state == "waits":
                self.say(f"{label} waits: its folder is in use by another process")
            elif item.position is not None:
                run.move(item.position)
        now = time.monotonic()
        if self.bar is not None and not self.bar.disable:
            self.bar.set_postfix_str("; ".join(map(str, self.running.values())))
        elif self.running and now - self.said >= SAY_SECONDS:
            self.said = now
            self._say(self.state())

    def state(self) -> str:
        """Return one line on what is done, running and failed."""
        running = "; ".join(map(str, self.running.values()))
        return (
            f"{len(self.report.done)} done, {len(self.running)} running: {running}, "
            f"{len(self.report.failed)} failed"
        )

    def settle(self, job: Job, outcome: Outcome, *, final: bool = False) -> bool:
        """Record one outcome: rows into the ledger, label into the report, a line of progress.

        Returns:
            Whether the run failed and should be tried again.
        """
        self.running.pop(job.run_id, None)
        if not outcome.reason and self.ledger is not None and outcome.rows is not None:
            try:
                if {row.get("run_id") for row in outcome.rows} != set(job.row_ids):
                    raise UserError(
                        "the row it returned has another run id, so it would never count as finished"
                    )
                for row in outcome.rows:
                    self._append(row, job.run_id in self.again)
                held, self.held = self.held, []
                for waiting in held:
                    self._append(*waiting)
            except (UserError, OSError) as error:
                outcome = Outcome(None, str(error), traceback.format_exc())
        attempts = self.attempts[job.run_id] = self.attempts.get(job.run_id, 0) + 1
        if outcome.reason and attempts <= self.retries and not final:
            self.say(f"{job.label}: failed ({outcome.reason}) and is tried again")
            return True
        if outcome.reason:
            self.report.failed[job.label] = outcome.reason
            self.report.tracebacks[job.label] = outcome.trace
        else:
            self.report.done.append(job.label)
        self.finished += 1
        if self.bar is not None:
            self.bar.update(1)
        elapsed = time.monotonic() - self.start
        left = elapsed / self.finished * (self.total - self.finished)
        end = f", about {duration(left)} left" if self.finished < self.total else ""
        verdict = f"failed ({outcome.reason})" if outcome.reason else "done"
        self.say(f"[{self.finished}/{self.total}] {job.label}: {verdict} after {duration(elapsed)}{end}")
        return False

    def _append(self, row: dict[str, Any], again: bool) -> None:
        assert self.ledger is not None
        try:
            self.ledger.append(self.complete(row) if self.complete else row, again=again)
        except NotYet:
            self.held.append((row, again))

    def write_held(self) -> None:
        """Write the rows that waited for one that never came. Not called after an interrupt, when it may still come."""
        for row, again in self.held:
            assert self.ledger is not None
            assert self.complete is not None
            try:
                done = self.complete(row)
            except NotYet as wait:
                done = wait.row
            self.ledger.append(done, again=again)
        self.held.clear()


def duration(seconds: float) -> str:
    """Format a time span with one or two units, for example "45 s", "12 min", "3 h 20 min"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


class _Here:
    """Watches the runs in this process: after Ctrl-C they stop at their next checkpoint."""

    def __init__(self, books: _Books) -> None:
        self.books, self.run, self.stopping = books, "", False

    def begin(self, job: Job) -> None:
        """Report the start of a run."""
        self.run = job.run_id
        self._tell("started")

    def at(self, position: Position) -> None:
        """Report the progress of the run."""
        self._tell("at", position)

    def _tell(self, state: str, position: Position | None = None) -> None:
        if not sys.stderr.isatty():  # on a terminal the run shows its own progress
            self.books.hear([News(self.run, state, position)])

    def wanted(self) -> bool:
        return not self.stopping

    @contextmanager
    def interruptible(self, gentle: bool) -> Iterator[None]:
        """Let the first Ctrl-C request a stop, unless somebody else handles Ctrl-C."""
        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if not (gentle and usual and threading.current_thread() is threading.main_thread()):
            yield
            return

        def ask(*_: object) -> None:
            self.stopping = True
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _tell_stopping()

        signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _run_here(jobs: Sequence[Job], work: Work, books: _Books, gentle: bool) -> None:
    """Run jobs one after the other in this process."""
    here = _Here(books)
    with here.interruptible(gentle):
        for job in jobs:
            while True:
                here.begin(job)
                outcome = attempt(*work.of(job), here)
                if outcome.stopped:
                    raise KeyboardInterrupt
                if not books.settle(job, outcome):
                    break
            if here.stopping:
                raise KeyboardInterrupt


def _run_in_processes(
    workers: int, threads: int | None, jobs: Sequence[Job], work: Work, books: _Books
) -> None:
    """Run jobs in fresh processes. If one of them dies, the jobs that were running continue one by one."""
    waiting, suspects = list(jobs), list[Job]()
    while waiting:
        with Processes(workers, threads) as pool:
            lost = _drive(pool, waiting, work, books)
            books.hear(pool.heard())
            waiting = [job for job in lost if job.run_id not in pool.started]
        if len(waiting) == len(lost):  # it broke before anything started
            waiting = []
        suspects += [job for job in lost if job not in waiting]
    for job in suspects:
        with Processes(1, threads) as pool:
            if _drive(pool, [job], work, books):
                died = Outcome(None, "its process died (killed, or out of memory)")
                books.settle(job, died, final=True)


def _drive(place: Place, jobs: Sequence[Job], work: Work, books: _Books) -> list[Job]:
    """Run jobs at a place and record them as they end; returns those lost because the place itself broke.

    After Ctrl-C nothing new starts, and running jobs may reach their next checkpoint; after a second one they are
    abandoned.
    """
    promises: dict[Promise, Job] = {}
    lost: list[Job] = []
    stopping = False

    def turn() -> None:
        ended = place.ended(list(promises))
        books.hear(place.heard())
        for promise, outcome in ended:
            job = promises.pop(promise)
            if outcome is None:
                lost.append(job)
            elif outcome.refused:
                raise UserError(outcome.reason)
            elif stopping and outcome.reason:
                books.running.pop(job.run_id, None)
            elif books.settle(job, outcome):
                promises[place.submit(job, work)] = job

    with books.showing():
        try:
            for job in jobs:
                promises[place.submit(job, work)] = job
            while promises:
                turn()
        except BaseException as error:
            gently = place.stop(list(promises)) and isinstance(error, KeyboardInterrupt)
            if gently and books.running:
                stopping = True
                _tell_stopping()
                while promises and books.running:
                    turn()
            raise
    return lost


def _tell_stopping() -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{STOPPING}\n")
        sys.stderr.flush()
