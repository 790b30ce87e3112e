"""`open_run` under the name the README of version 0.1 gave it; `denram.training.runs` holds it."""

from denram.training.runs import Run, open_run

__all__ = ["Run", "open_run"]
