"""How far a phase of a run is: a bar on a terminal, and lines for everybody else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from reprokit import progress

Report = Callable[[str], object]
"""Takes a line."""
PAUSE = 10.0  # seconds between two lines


def unsaid(_line: str) -> None:
    """Say nothing."""


class Phase:
    """A phase with a number of equal steps; lines go to `report`.

    The first line comes before the first step, the last one after the last. Between them a line comes every ten
    seconds where there is no bar, because stderr is not a terminal.

    Args:
        name: the phase.
        total: its number of steps.
        unit: their name, in the plural.
        report: takes each line.
        done: steps that an earlier process has done.
    """

    def __init__(self, name: str, total: int, unit: str, report: Report, *, done: int = 0) -> None:
        self.name, self.total, self.unit, self.report, self.done = name, total, unit, report, done
        self._began = self._said = time.perf_counter()
        self._bar = progress(total=total, description=name)

    def __enter__(self) -> Self:
        if self.total:
            self.report(f"{self.name}: {self.done} of {self.total} {self.unit}")
        self._bar.update(self.done)
        return self

    def update(self, steps: int) -> None:
        """Say that more steps are done."""
        self.done += steps
        self._bar.update(steps)
        if self._bar.disable and self.done < self.total and time.perf_counter() - self._said > PAUSE:
            self._say()

    def _say(self) -> None:
        self._said = time.perf_counter()
        self.report(f"{self.name}: {self.done} of {self.total} {self.unit}, {self._said - self._began:.1f} s")

    def __exit__(self, kind: object, *_: object) -> None:
        self._bar.close()
        if self.total and kind is None:
            self._say()
