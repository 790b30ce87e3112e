"""What one inference of a liquid costs."""

from __future__ import annotations

import numpy as np
from reprokit.run.cost import InferenceCost

from nalsm.model.network import LiquidNetwork
from nalsm.model.readout import LinearReadout


def inference_cost(
    network: LiquidNetwork, readout: LinearReadout, duration: int, raster: np.ndarray | None
) -> InferenceCost:
    """Count synapses, and the spikes that pass through them; plasticity during a sample is not counted.

    Args:
        network: The liquid.
        readout: Its readout, computed once per sample.
        duration: Milliseconds of a sample.
        raster: uint8 (sample, millisecond, neuron), spikes of recorded test samples, inputs included; None: not
            recorded.
    """
    synapses = int(network.active.sum())
    events = None
    if raster is not None and len(raster):
        leaving = np.bincount(network.pre[network.active], minlength=network.neurons)
        events = float(raster.sum(axis=(0, 1), dtype=np.int64) @ leaving) / len(raster)
    once = readout.weight.size + readout.bias.size
    return InferenceCost(synapses + once, synapses * duration + readout.weight.size, events)
