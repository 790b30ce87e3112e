"""Places where the runs of a sweep are done: processes of this machine, or any executor. Dask: `cluster.py`."""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, Self, runtime_checkable

from reprokit.errors import UserError
from reprokit.run.watch import Position
from reprokit.run.work import Job, News, Outcome, Work, attempt

POLL_SECONDS = 0.5  # between polls, if waiting is impossible
TELL_SECONDS = 0.2  # a run reports its progress no more often than this
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class Promise(Protocol):
    """An executor's handle on a job: a `concurrent.futures.Future`, or anything with these methods."""

    def done(self) -> bool:
        """Tell whether the job has ended."""
        ...

    def result(self) -> Any:
        """Return the job's result, or raise the exception that stopped it."""
        ...


class Submits(Protocol):
    """Any `concurrent.futures` executor (loky, dask's, mpi4py's), or one like submitit's."""

    def submit(self, fn: Callable[..., Any], /, *arguments: Any) -> Promise:
        """Start `fn(*arguments)` somewhere."""
        ...


@runtime_checkable
class Place(Protocol):
    """Does runs for `run_jobs`."""

    def submit(self, job: Job, work: Work) -> Promise:
        """Start a run."""
        ...

    def ended(self, promises: Sequence[Promise]) -> list[tuple[Promise, Outcome | None]]:
        """Wait a moment and return the runs that ended, with None for those lost with the place."""
        ...

    def heard(self) -> list[News]:
        """Return the news of the runs since the last call."""
        ...

    def stop(self, promises: Sequence[Promise]) -> bool:
        """Ask runs to stop at their next checkpoint; False if that is impossible."""
        ...


class OnExecutor:
    """The runs on an executor that somebody else created and will close."""

    def __init__(self, executor: Submits) -> None:
        self.executor = executor

    def submit(self, job: Job, work: Work) -> Promise:
        """Start a run; a broken executor gives a promise that says so."""
        try:
            return self.executor.submit(attempt, *work.of(job))
        except BrokenExecutor as error:
            broken: Future[Any] = Future()
            broken.set_exception(error)
            return broken

    def ended(self, promises: Sequence[Promise]) -> list[tuple[Promise, Outcome | None]]:
        """See `Place`."""
        return [(promise, outcome_of(promise)) for promise in first_to_end(promises)]

    def heard(self) -> list[News]:
        """See `Place`; there is no news."""
        return []

    def stop(self, promises: Sequence[Promise]) -> bool:
        """Cancel runs that have not begun."""
        for promise in promises:
            if callable(cancel := getattr(promise, "cancel", None)):
                cancel()
        return False


class Processes:
    """A pool of fresh processes with pinned threads that end when this one does.

    Args:
        workers: Number of processes.
        threads: CPU threads of each; None: as set in the environment.
    """

    def __init__(self, workers: int, threads: int | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        # A message is one write of less than PIPE_BUF bytes, so it is atomic without a lock that a killed worker could
        # keep.
        self._told, self._tells = context.Pipe(duplex=False)
        self._stop, self._stops = context.Pipe(
            duplex=False
        )  # closed on this side: stop at the next checkpoint
        self._end, self._ends = context.Pipe(duplex=False)  # closed on this side: end at once
        self._pool = ProcessPoolExecutor(
            workers, context, initializer=begin_worker, initargs=(self._tells, self._stop, self._end)
        )
        self._pins = pinned(threads)
        self.started: set[str] = set()

    def __enter__(self) -> Self:
        self._pins.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._ends.close()  # running jobs are not waited for
        self._pool.shutdown(cancel_futures=kind is not None)
        self._pins.__exit__(None, None, None)
        for end in (self._told, self._tells, self._stop, self._stops, self._end, self._ends):
            end.close()

    def submit(self, job: Job, work: Work) -> Promise:
        """See `Place`."""
        try:
            return self._pool.submit(attempt_here, job.run_id, *work.of(job))
        except BrokenExecutor as error:
            broken: Future[Any] = Future()
            broken.set_exception(error)
            return broken

    def ended(self, promises: Sequence[Promise]) -> list[tuple[Promise, Outcome | None]]:
        """See `Place`."""
        return [(promise, outcome_of(promise)) for promise in first_to_end(promises)]

    def heard(self) -> list[News]:
        """See `Place`."""
        found = []
        while self._told.poll():
            found.append(News.read(self._told.recv()))
            self.started.add(found[-1].run)
        return found

    def stop(self, promises: Sequence[Promise]) -> bool:
        """See `Place`."""
        self._stops.close()
        for promise in promises:
            if isinstance(promise, Future):
                promise.cancel()
        return True


class TellingOnce:
    """Reports a run's progress, no more often than every `TELL_SECONDS`.

    Args:
        run: The run id of the job.
        tell: Called with the news.
        wanted: Says whether the run should keep running.
    """

    def __init__(self, run: str, tell: Callable[[News], None], wanted: Callable[[], bool]) -> None:
        self.run, self.tell, self.wanted = run, tell, wanted
        self.last = -TELL_SECONDS
        tell(News(run, "started"))

    def at(self, position: Position) -> None:
        """Report it if the last report is old enough."""
        if (now := time.monotonic()) - self.last >= TELL_SECONDS:
            self.last = now
            self.tell(News(self.run, "at", position))


_pipes: list[
    Connection
] = []  # in a worker of `Processes`: the functions that report news and that tell when to stop


def begin_worker(tells: Connection, stop: Connection, end: Connection) -> None:
    """Prepare a worker: it leaves Ctrl-C to its parent, and ends if the parent is gone or closes `end`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _pipes[:] = tells, stop
    follow(end)


def follow(end: Connection) -> None:
    """End this worker once its parent is gone, so that a killed sweep leaves nothing running."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel, end])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def attempt_here(run: str, function: Any, config: dict[str, Any], again: bool) -> Outcome:
    """Do one run in a worker of `Processes`."""
    tells, stop = _pipes
    if stop.poll():  # the pool passed it on before the stop and cannot take it back
        return Outcome(None, "not begun", stopped=True)
    watcher = TellingOnce(run, lambda news: tells.send(news.plain()), lambda: not stop.poll())
    return attempt(function, config, again, watcher)


def outcome_of(promise: Promise) -> Outcome | None:
    """Return the result of a promise, or None if its executor broke."""
    try:
        return promise.result()
    except BrokenExecutor:
        return None
    except Exception as error:  # the function or its result cannot be sent, or the cluster gave up
        return Outcome(None, " ".join(f"{type(error).__name__}: {error}".split()), traceback.format_exc())


def first_to_end(promises: Sequence[Promise]) -> list[Promise]:
    """Wait at most `POLL_SECONDS` for one of the promises; return those that ended."""
    futures = [promise for promise in promises if isinstance(promise, Future)]
    if len(futures) == len(promises):
        return list(wait_for(futures, POLL_SECONDS, FIRST_COMPLETED).done)
    ended = [promise for promise in promises if promise.done()]
    if not ended:
        time.sleep(POLL_SECONDS)
    return ended


def check_cores(jobs: int, threads: int) -> None:
    """Refuse more threads than the cores available to this process.

    Raises:
        UserError: `jobs` processes of `threads` threads each are more than the cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jobs > 1 and jobs * threads > cores:
        raise UserError(
            f"--jobs {jobs} with --threads {threads} makes {jobs * threads} threads, and this machine has {cores} "
            "cores; lower one of them, or use more machines with --scheduler"
        )


@contextmanager
def pinned(threads: int | None) -> Iterator[None]:
    """Inside, started processes compute with `threads` threads and draw no progress bars."""
    values = {"TQDM_DISABLE": "1"} | ({name: str(threads) for name in THREADS} if threads else {})
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
