from . import data
from .config import TrainConfig
from .data.encoding import EncoderParameters, encode
from .engines.choice import choose_engine, kernel_available
from .formats.dumps import read_dump, write_dump
from .formats.nir import clip_at_zero, to_nir, write_nir
from .formats.nir_import import from_nir, read_nir
from .formats.original import OriginalCheckpoint, read_original, write_original
from .model.architectures import ARCHITECTURES, Architecture, ConvSpec, LayerSpec, architecture
from .model.initialisation import draw_weight
from .model.memory import bytes_per_sample
from .model.network import NetworkState, SpikingCNN
from .model.neuron import (
    IntegrateAndFire,
    NeuronParameters,
    NeuronState,
    current_gradient,
    run,
    spike,
    surrogate_derivative,
)
from .names import ALIASES, LOSSES, METHODS, SETTINGS
from .randomness import stream
from .rules.protocol import LearningRule
from .training.evaluation import evaluate, evaluate_run, load_run
from .training.loop import TrainResult, train
from .training.prediction import Predictor, load
from .training.pretrained import pretrained
from .training.step import StepResult, classes, observe, predict, train_step, trainable

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
    "LearningRule",
    "NetworkState",
    "NeuronParameters",
    "NeuronState",
    "OriginalCheckpoint",
    "Predictor",
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
    "from_nir",
    "kernel_available",
    "load",
    "load_run",
    "observe",
    "predict",
    "pretrained",
    "read_dump",
    "read_nir",
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
__version__: str
