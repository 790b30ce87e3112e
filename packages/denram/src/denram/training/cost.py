"""What one inference of a network costs."""

from __future__ import annotations

import math

from reprokit.run.cost import InferenceCost

from denram.config import TrainConfig
from denram.data.loading import DataSet


def inference_cost(config: TrainConfig, data: DataSet, parameters: int) -> InferenceCost:
    """Count connections at every step of a pass, and for one layer the test spikes that pass through them.

    A spike of the input passes through a delayed synapse to every output for each of the delays of its channel. Spikes
    of hidden layers are not counted.

    Args:
        config: Settings of the run.
        data: Its data.
        parameters: Trained numbers.
    """
    stack = config.stack(data.classes)
    connections = sum(
        math.prod(shape) for name, shape in stack.shapes().items() if not name.startswith("delays")
    )
    events = data.test.events
    spikes = len(events.steps) / max(len(events), 1)
    passed = spikes * config.n_delays * stack.whole.n_out if config.layers == 1 else None
    return InferenceCost(parameters, connections * stack.steps, passed)
