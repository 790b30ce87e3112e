"""`evaluate` under its name in the README of version 0.1; it is defined in `denram.training.evaluation`."""

from denram.training.evaluation import DeviceAccuracy, evaluate, noise_matrix, report, write_table

__all__ = ["DeviceAccuracy", "evaluate", "noise_matrix", "report", "write_table"]
