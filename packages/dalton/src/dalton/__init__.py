"""Spiking CNNs trained by surrogate gradients, a three-factor rule or DALTON, by sequence or online.

Reference: R. Gaurav, D. Do, T. Doan, Y. Yi, DALTON - Deep Local Learning in SNNs via local Weights and
Surrogate-Derivative Transfer (2024), and its program.
"""

from __future__ import annotations

from dalton import data
from dalton.architectures import ARCHITECTURES, Architecture, ConvSpec, LayerSpec, architecture
from dalton.config import TrainConfig
from dalton.dumps import read_dump, write_dump
from dalton.encoder import EncoderParameters, encode
from dalton.engine import choose_engine, kernel_available
from dalton.evaluation import evaluate, evaluate_run, load_run
from dalton.initialisation import draw_weight, stream
from dalton.losses import LOSSES
from dalton.memory import bytes_per_sample
from dalton.names import ALIASES, METHODS, SETTINGS
from dalton.network import NetworkState, SpikingCNN
from dalton.neuron import IntegrateAndFire, NeuronParameters, NeuronState, current_gradient, run
from dalton.nir_export import clip_at_zero, to_nir, write_nir
from dalton.original_checkpoint import OriginalCheckpoint, read_original, write_original
from dalton.step import StepResult, classes, observe, predict, train_step, trainable
from dalton.surrogate import spike, surrogate_derivative
from dalton.training import TrainResult, train

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
