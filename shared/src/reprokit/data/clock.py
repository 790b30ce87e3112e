"""The start of event recordings' clocks, and how much of them a window keeps.

Time in an `EventSet` counts from the start of a recording. Cameras and ROS write clocks that started earlier: a
recording that starts at 150 ms loses its last events in every window, and one in microseconds since 1970
appears to be 50 years long.
"""

from dataclasses import replace
from typing import Literal

import numpy as np

from reprokit.data.loss import MOST_LOST, kept_line
from reprokit.errors import UserError, refuse
from reprokit.types import EventSet, EventSplits

Start = Literal["zero", "first-event"]
STARTS = ("zero", "first-event")
LONGEST_US = 3_600_000_000  # an hour: longer recordings have clocks that started earlier
_PARTS = ("train", "test")


def with_clock(splits: EventSplits, start: Start = "zero") -> EventSplits:
    """Set the start of time in own recordings as the user says, and refuse absurd durations.

        splits = with_clock(load_events(path), config.start)
        for line in window_lines(splits, duration_us=250_000, start=config.start, allow_loss=config.allow_loss):
            say(line)

    Args:
        splits: The recordings.
        start: ``zero``: the clock as it is; ``first-event``: each recording's first event is at 0.

    Raises:
        UserError: Another word, or a recording that then lasts more than an hour.
    """
    if start not in STARTS:
        raise UserError(f"start is {start!r}; it must be one of {', '.join(STARTS)}")
    train, test = (_begun(getattr(splits, part), start, f"{splits.name} {part}") for part in _PARTS)
    return replace(splits, train=train, test=test)


def window_lines(
    splits: EventSplits, duration_us: int, *, start: Start = "zero", allow_loss: bool = False
) -> list[str]:
    """Report for each part how many events come before `duration_us`, and refuse a loss above 5 %.

    Args:
        splits: The recordings, as `with_clock` returns them.
        duration_us: Length of the window from 0, in microseconds.
        start: As given to `with_clock`; determines the advice.
        allow_loss: Warn of a large loss instead of refusing it.

    Returns:
        One line per part, for the caller to print.

    Raises:
        UserError: More than 5 % of the events of a part are outside and that is not allowed.
    """
    lines = []
    for part in _PARTS:
        events: EventSet = getattr(splits, part)
        inside = int(np.count_nonzero(events.t < duration_us))
        late = (
            start == "zero" and inside < (1 - MOST_LOST) * len(events.t) and _begin_late(events, duration_us)
        )
        lines.append(
            kept_line(
                f"{splits.name} {part}",
                "events",
                inside,
                len(events.t),
                cause=f"come after the first {duration_us / 1000:g} ms"
                + (f" (half of the recordings begin after {late / 1000:g} ms)" if late else ""),
                remedy="give --start first-event" if late else "give a longer --duration",
                allow_loss=allow_loss,
            )
        )
    return lines


def first_times(events: EventSet) -> np.ndarray:
    """Return int64 (recording,): the time of each recording's first event in us, 0 if there is none."""
    return _at(events, events.offsets[:-1])


def _at(events: EventSet, places: np.ndarray) -> np.ndarray:
    """Return one time per recording, 0 for recordings without events."""
    empty = np.diff(events.offsets) == 0
    if not len(events.t):
        return np.zeros(len(empty), np.int64)
    return np.where(empty, 0, events.t[np.clip(places, 0, len(events.t) - 1)])


def _begun(events: EventSet, start: Start, where: str) -> EventSet:
    first = first_times(events) if start == "first-event" else np.zeros(len(events), np.int64)
    span = _at(events, events.offsets[1:] - 1) - first
    remedy = (
        "give start first-event (--start first-event) if its clock did not begin at 0"
        if start == "zero"
        else "check that times are in microseconds, or cut it into shorter recordings"
    )
    refuse(
        span > LONGEST_US,
        lambda k: (
            f"{where}: recording {k} lasts {span[k] / 1e6:g} s, at most {LONGEST_US / 1e6:g} s are "
            f"allowed; {remedy}"
        ),
    )
    if not first.any():
        return events
    return replace(events, t=events.t - np.repeat(first, np.diff(events.offsets)))


def _begin_late(events: EventSet, duration_us: int) -> float:
    """Return the time in us by which half of the recordings have begun, if it is late in the window, otherwise 0."""
    middle = float(np.median(first_times(events)[np.diff(events.offsets) > 0]))
    return middle if middle > MOST_LOST * duration_us else 0.0
