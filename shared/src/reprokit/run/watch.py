"""What a run tells those who started it: how far it is, and where it may be stopped without losing anything.

A run calls nothing of this by itself: `RunDirectory.log` and `Checkpoints.save` do. Outside `watched` both do nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

_UNITS = ("epoch", "update")  # keys of a log's records that count how far they are
_LENGTHS = ("epochs", "nb_epochs", "updates")  # fields of configurations that say how far a run goes


class Stopped(KeyboardInterrupt):
    """A run was asked to stop and has just written a checkpoint."""


@dataclass(frozen=True)
class Position:
    """How far a run is.

    Attributes:
        unit: What is counted, for example "epoch", or the name of the phase that ended.
        done: How many of them are done; 0 for a phase.
        total: How many there will be, None where that is not known.
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
    """Somebody who started a run."""

    def at(self, position: Position) -> None:
        """Take note of how far the run is."""
        ...

    def wanted(self) -> bool:
        """Tell whether the run shall keep running; asked after each checkpoint."""
        ...


_watcher: ContextVar[Watcher | None] = ContextVar("_watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Let `watcher` hear of the runs that are done inside."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def logged(record: Mapping[str, Any], config: Mapping[str, Any], first: int) -> None:
    """Tell the watcher what a record says of the run's position.

    Args:
        record: A record of the run's log.
        config: The run's configuration, which says how long it is.
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
    """Stop the run here if nobody wants it any more; called when a checkpoint is on the disk.

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
