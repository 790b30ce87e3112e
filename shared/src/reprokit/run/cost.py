"""What one inference costs, counted by the program that does it: in `summary.json` under ``inference``."""

from dataclasses import asdict, dataclass
from typing import Any

INFERENCE = "inference"  # key of the summary


@dataclass(frozen=True)
class InferenceCost:
    """What it takes to classify one sample.

    Attributes:
        parameters: Numbers that the network needs at inference.
        multiply_adds: Multiplications with an addition in dense arithmetic: every connection at every time-step,
            whatever it carries; of spike-by-spike inference, those of the updates that the spikes cause.
        synaptic_events: Connections that a spike passes through, the mean of some test samples; None where nothing
            spikes or the spikes were not counted.
    """

    parameters: int
    multiply_adds: int
    synaptic_events: float | None = None

    def summary(self) -> dict[str, Any]:
        """Return what a run adds to its summary."""
        return {INFERENCE: asdict(self)}
