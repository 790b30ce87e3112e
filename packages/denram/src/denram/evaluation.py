"""`evaluate` under the name the README of version 0.1 gave it; `denram.training.evaluation` holds it."""

from denram.training.evaluation import DeviceAccuracy, evaluate, noise_matrix, report, write_table

__all__ = ["DeviceAccuracy", "evaluate", "noise_matrix", "report", "write_table"]
