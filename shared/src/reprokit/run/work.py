"""One run of a sweep, wherever it is done: what is called, what it returns, and what it reports."""

import traceback
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from reprokit.errors import UserError
from reprokit.run.directory import DirectoryInUse, measured_again
from reprokit.run.provenance import run_id
from reprokit.run.watch import Position, Stopped, Watcher, watched

Row = Mapping[str, Any]
Function = Callable[[Any], Row | Sequence[Row] | None]


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        config: Its full configuration, the argument of the sweep's function.
        label: Its name in reports.
        rows: Run ids of its rows; none: one row with the id of `config`.
        gpu: Whether it needs a GPU; on a cluster it then waits for a worker that offers one.
    """

    config: Mapping[str, Any]
    label: str
    rows: tuple[str, ...] = ()
    gpu: bool = False

    @property
    def run_id(self) -> str:
        """The run id of the configuration."""
        return run_id(self.config)

    @property
    def row_ids(self) -> tuple[str, ...]:
        """Run ids of the rows without which it is not finished."""
        return self.rows or (self.run_id,)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one attempt; exceptions are sent as text, because not every exception can be pickled.

    Attributes:
        rows: The rows; None if the function returned none or failed.
        reason: Why it failed; empty if it did not.
        trace: The traceback of the failure.
        stopped: It was asked to stop and did, at a checkpoint.
        busy: Another process is working in its run directory.
        refused: The worker must not take part; the reason is a sentence for the user.
    """

    rows: tuple[dict[str, Any], ...] | None
    reason: str = ""
    trace: str = ""
    stopped: bool = False
    busy: bool = False
    refused: bool = False


@dataclass(frozen=True)
class Work:
    """The function to call for a job, and the jobs to repeat although they are finished."""

    function: Function
    again: Container[str] = ()

    def of(self, job: Job) -> tuple[Function, dict[str, Any], bool]:
        """Return the arguments of `attempt`."""
        return self.function, dict(job.config), job.run_id in self.again


@dataclass(frozen=True)
class News:
    """A worker's news of a run: that it started it, its progress, or that it stopped it.

    Attributes:
        run: The run id of the job.
        state: started, at, stopped or waits (for another process that has the run directory).
        position: Its progress.
    """

    run: str
    state: str
    position: Position | None = None

    def plain(self) -> list[Any]:
        """Return it as a list of plain values, for transport."""
        at = self.position
        return [self.run, self.state, *([at.unit, at.done, at.total] if at else [])]

    @classmethod
    def read(cls, values: Sequence[Any]) -> "News":
        """Rebuild it from the list that `plain` returned."""
        return cls(values[0], values[1], Position(*values[2:]) if len(values) > 2 else None)


def attempt(
    function: Function, config: Mapping[str, Any], again: bool, watcher: Watcher | None = None
) -> Outcome:
    """Do one run and catch failures; called in the worker.

    Raises:
        KeyboardInterrupt: Ctrl-C; an interrupt is not a failure.
    """
    try:
        with (
            measured_again() if again else nullcontext(),
            nullcontext() if watcher is None else watched(watcher),
        ):
            rows = function(config)
        rows = [rows] if isinstance(rows, Mapping) else rows
        return Outcome(None if rows is None else tuple(dict(row) for row in rows))
    except Stopped:
        return Outcome(None, "stopped at a checkpoint", stopped=True)
    except Exception as error:
        name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        return Outcome(
            None,
            f"{name}{error}" or "failed without a message",
            traceback.format_exc(),
            busy=isinstance(error, DirectoryInUse),
        )
