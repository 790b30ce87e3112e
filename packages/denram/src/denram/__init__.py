"""DenRAM: fixed random dendritic delays and trained, noisy weights.

D'Agostino et al., Nature Communications 15:3446, 2024, doi 10.1038/s41467-024-47764-w.

Arrays over time are time-major: (time, sample, channel or output).
"""

from denram.config import TrainConfig
from denram.data.events import EventBatch
from denram.data.loading import load_data
from denram.engines.network import (
    DelayNetwork,
    LossAndGradient,
    Traces,
    loss_and_accuracy,
    loss_and_gradient,
    scores,
)
from denram.model.parameters import PRESETS, Parameters, initialise
from denram.randomness import TorchGenerator, next_normals
from denram.rules.adam import AdamState, initial_state, learning_rate, update
from denram.rules.noise_aware import noisy_weights
from denram.spec import NetworkSpec
from denram.training.evaluation import evaluate
from denram.training.loop import train
from denram.training.runs import open_run

__all__ = [
    "PRESETS",
    "AdamState",
    "DelayNetwork",
    "EventBatch",
    "LossAndGradient",
    "NetworkSpec",
    "Parameters",
    "TorchGenerator",
    "Traces",
    "TrainConfig",
    "evaluate",
    "initial_state",
    "initialise",
    "learning_rate",
    "load_data",
    "loss_and_accuracy",
    "loss_and_gradient",
    "next_normals",
    "noisy_weights",
    "open_run",
    "scores",
    "train",
    "update",
]
