"""The cost of one inference, counted by the program that does it; in `summary.json` under ``inference``."""

from dataclasses import asdict, dataclass
from typing import Any

INFERENCE = "inference"  # key of the summary


@dataclass(frozen=True)
class InferenceCost:
    """The cost of classifying one sample.

    Attributes:
        parameters: Numbers that the network needs at inference.
        multiply_adds: Multiplications with an addition in dense arithmetic: every connection at every
            time-step, with or without a spike; for spike-by-spike inference, those of the updates that the spikes
            cause.
        synaptic_events: Connections that spikes pass through, averaged over some test samples; None if nothing
            spikes or the spikes were not counted.
    """

    parameters: int
    multiply_adds: int
    synaptic_events: float | None = None

    def summary(self) -> dict[str, Any]:
        """Return what a run adds to its summary."""
        return {INFERENCE: asdict(self)}
