"""The compiled core, if it was built, and its form of networks and events."""

from __future__ import annotations

from typing import Any

import numpy as np
from reprokit.errors import ask_core

from nalsm.data.sources import Events, Rates
from nalsm.model.network import LiquidNetwork

try:
    from nalsm import _kernel
except ImportError:
    _kernel: Any = None


def kernel_available() -> bool:
    """Return whether the compiled engine was built and can be loaded."""
    return _kernel is not None


def instructions() -> str:
    """Return the compiled engine's vector instructions: the best of this processor, or those in `REPROKIT_ISA`.

    Raises:
        UserError: The variable names instructions that this processor or build does not have.
    """
    return ask_core(_kernel.isa)


def compiled(network: LiquidNetwork) -> Any:
    """Return a network with the indices that the core uses.

    Raises:
        UserError: As `instructions`.
    """
    active = network.active
    post, pre = network.post[active], network.pre[active]
    return _kernel.Core(network.excitatory, network.inhibitory, network.inputs, post, pre, instructions())


def kernel_source(source: Rates | Events, duration: int) -> Any:
    """Return `duration` milliseconds of events in the core's form."""
    if isinstance(source, Rates):
        probability = np.ascontiguousarray(source.probability, np.float64)
        sample = np.ascontiguousarray(source.sample, np.int64)
        return _kernel.Source(probability, None, None, sample, source.seed)
    events = source.events(duration)
    first = np.ascontiguousarray(events.first, np.int64)
    channels = np.ascontiguousarray(events.channels, np.int32)
    return _kernel.Source(None, first, channels, np.arange(len(events), dtype=np.int64), 0)


def kernel_stream(
    core: Any, options: dict[str, float], weights: np.ndarray, trace: np.ndarray, calcium: np.ndarray
) -> Any:
    """Return a liquid in its initial state that can be run from call to call."""
    return _kernel.Stream(core, options, weights, trace, calcium)
