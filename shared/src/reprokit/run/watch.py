"""What a run reports to whoever started it: its progress, and when it can stop without losing anything.

Runs need not call this module: `RunDirectory.log` and `Checkpoints.save` do. Outside `watched` it does nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

_UNITS = ("epoch", "update")  # keys of a log's records that count progress
_LENGTHS = ("epochs", "nb_epochs", "updates")  # fields of configurations that give a run's length


class Stopped(KeyboardInterrupt):
    """A run was asked to stop and has just written a checkpoint."""


@dataclass(frozen=True)
class Position:
    """The progress of a run.

    Attributes:
        unit: The unit counted, for example "epoch", or the name of the phase that ended.
        done: How many are done; 0 for a phase.
        total: How many there will be, None if unknown.
    """

    unit: str
    done: int = 0
    total: int | None = None

    def __str__(self) -> str:
        return (
            self.unit
            if not self.done
            else f"{self.unit} {self.done}" + (f" of {self.total}" if self.total else "")
        )


class Watcher(Protocol):
    """Whoever started a run."""

    def at(self, position: Position) -> None:
        """Receive the run's progress."""
        ...

    def wanted(self) -> bool:
        """Tell whether the run should keep running; asked after each checkpoint."""
        ...


_watcher: ContextVar[Watcher | None] = ContextVar("_watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Report the runs done inside to `watcher`."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def logged(record: Mapping[str, Any], config: Mapping[str, Any], first: int) -> None:
    """Report the run's position from a record to the watcher.

    Args:
        record: A record of the run's log.
        config: The run's configuration, which gives its length.
        first: The position of the first record.
    """
    watcher = _watcher.get()
    if watcher is None:
        return
    unit = next((name for name in _UNITS if isinstance(record.get(name), int)), None)
    if unit is not None:
        watcher.at(Position(unit, record[unit] - first + 1, _length(config)))
    elif "phase" in record:
        watcher.at(Position(f"{record['phase']} done"))


def saved() -> None:
    """Stop the run here if it is no longer wanted; called when a checkpoint is on the disk.

    Raises:
        Stopped: The run was asked to stop.
    """
    watcher = _watcher.get()
    if watcher is not None and not watcher.wanted():
        raise Stopped("stopped at a checkpoint")


def _length(values: Any) -> int | None:
    """Return the first length of a run found in nested values."""
    inner = values.values() if isinstance(values, Mapping) else values if isinstance(values, list) else ()
    if isinstance(values, Mapping):
        for name in _LENGTHS:
            if isinstance(values.get(name), int):
                return values[name]
    return next((found for value in inner if (found := _length(value)) is not None), None)
