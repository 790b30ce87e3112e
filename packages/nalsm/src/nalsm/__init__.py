"""Liquid state machines with fixed weights, STDP, AP-STDP and astrocyte-modulated STDP.

Reference: Ivanov & Michmizos, Increasing Liquid State Machine Performance with Edge-of-Chaos Dynamics
Organized by Astrocyte-modulated Plasticity, NeurIPS 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nalsm.config import Config, Quirks
from nalsm.data.encoding import event_list, rate_probabilities, recordings_to_events
from nalsm.data.recordings import load_event_arrays, save_event_arrays
from nalsm.data.sources import Events, Rates
from nalsm.engines.reference import Presentation, ReferenceLiquid
from nalsm.engines.simulator import Simulator, kernel_available
from nalsm.model.network import LiquidNetwork, NetworkSpec, generate
from nalsm.model.readout import LinearReadout
from nalsm.parameters import NeuronParameters, PlasticityParameters
from nalsm.rules.readout import train_adadelta, train_lbfgs, train_ridge
from nalsm.training.liquid import Liquid, LiquidState
from nalsm.training.measures import branching_factor, divergence, kernel_quality, kernel_rank
from nalsm.training.pipeline import Run

if TYPE_CHECKING:
    from nalsm.estimator import LiquidStateMachine

__all__ = [
    "Config",
    "Events",
    "LinearReadout",
    "Liquid",
    "LiquidNetwork",
    "LiquidState",
    "LiquidStateMachine",
    "NetworkSpec",
    "NeuronParameters",
    "PlasticityParameters",
    "Presentation",
    "Quirks",
    "Rates",
    "ReferenceLiquid",
    "Run",
    "Simulator",
    "branching_factor",
    "divergence",
    "event_list",
    "generate",
    "kernel_available",
    "kernel_quality",
    "kernel_rank",
    "load_event_arrays",
    "rate_probabilities",
    "recordings_to_events",
    "save_event_arrays",
    "train_adadelta",
    "train_lbfgs",
    "train_ridge",
]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """Load the scikit-learn estimator only when asked for; scikit-learn is an extra."""
    if name == "LiquidStateMachine":
        from nalsm.estimator import LiquidStateMachine

        return LiquidStateMachine
    raise AttributeError(f"module 'nalsm' has no attribute {name!r}")
