"""`open_run` under its name in the README of version 0.1; it is defined in `denram.training.runs`."""

from denram.training.runs import Run, open_run

__all__ = ["Run", "open_run"]
