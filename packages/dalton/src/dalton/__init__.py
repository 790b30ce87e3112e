"""Spiking CNNs trained by surrogate gradients, a three-factor rule or DALTON, by sequence or online.

Reference: R. Gaurav, D. Do, T. Doan, Y. Yi, DALTON - Deep Local Learning in SNNs via local Weights and
Surrogate-Derivative Transfer (2024), and its program.
"""

from __future__ import annotations

from dalton import data
from dalton.config import TrainConfig
from dalton.data.encoding import EncoderParameters, encode
from dalton.engines.choice import choose_engine, kernel_available
from dalton.formats.dumps import read_dump, write_dump
from dalton.formats.nir import clip_at_zero, to_nir, write_nir
from dalton.formats.original import OriginalCheckpoint, read_original, write_original
from dalton.model.architectures import ARCHITECTURES, Architecture, ConvSpec, LayerSpec, architecture
from dalton.model.initialisation import draw_weight, stream
from dalton.model.memory import bytes_per_sample
from dalton.model.network import NetworkState, SpikingCNN
from dalton.model.neuron import IntegrateAndFire, NeuronParameters, NeuronState, current_gradient, run
from dalton.model.surrogate import spike, surrogate_derivative
from dalton.names import ALIASES, METHODS, SETTINGS
from dalton.rules.losses import LOSSES
from dalton.training.evaluation import evaluate, evaluate_run, load_run
from dalton.training.loop import TrainResult, train
from dalton.training.step import StepResult, classes, observe, predict, train_step, trainable

__all__ = [
    "ALIASES",
    "ARCHITECTURES",
    "LOSSES",
    "METHODS",
    "SETTINGS",
    "Architecture",
    "ConvSpec",
    "EncoderParameters",
    "IntegrateAndFire",
    "LayerSpec",
    "NetworkState",
    "NeuronParameters",
    "NeuronState",
    "OriginalCheckpoint",
    "SpikingCNN",
    "StepResult",
    "TrainConfig",
    "TrainResult",
    "architecture",
    "bytes_per_sample",
    "choose_engine",
    "classes",
    "clip_at_zero",
    "current_gradient",
    "data",
    "draw_weight",
    "encode",
    "evaluate",
    "evaluate_run",
    "kernel_available",
    "load_run",
    "observe",
    "predict",
    "read_dump",
    "read_original",
    "run",
    "spike",
    "stream",
    "surrogate_derivative",
    "to_nir",
    "train",
    "train_step",
    "trainable",
    "write_dump",
    "write_nir",
    "write_original",
]
__version__ = "0.2.0"
