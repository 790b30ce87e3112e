"""Spike-By-Spike layers for PyTorch: non-negative stochastic inference with a custom gradient and a C++ core."""

from . import reference
from .augmentation import Augmentation, augment
from .config import DataConfig, LayerConfig, LearningConfig, NetworkConfig, TrainConfig
from .config_from_original import from_original
from .config_original import read_original
from .config_reading import read_toml
from .data import Dataset, Presentation, load_dataset, on_off_split
from .evaluation import Evaluation, accuracy_against_spikes, evaluate
from .kernel import available as kernel_available
from .kernel import instructions as kernel_instructions
from .layer import SbS, SbSLayer
from .loss import cross_entropy, mixed
from .networks import build_network
from .optimizer import MultiplicativeAdam, adam
from .original_weights import load_npz, load_overload, load_step, save_original
from .pooling import sbs_pooling
from .presets import preset
from .runs import Model, load_model
from .schedules import SbSLRScheduler, plateau
from .time_course import TimeCourse
from .training import train
from .weights import constrained, normalise, pooling_weights

__all__ = [
    "Augmentation",
    "DataConfig",
    "Dataset",
    "Evaluation",
    "LayerConfig",
    "LearningConfig",
    "Model",
    "MultiplicativeAdam",
    "NetworkConfig",
    "Presentation",
    "SbS",
    "SbSLRScheduler",
    "SbSLayer",
    "TimeCourse",
    "TrainConfig",
    "accuracy_against_spikes",
    "adam",
    "augment",
    "build_network",
    "constrained",
    "cross_entropy",
    "evaluate",
    "from_original",
    "kernel_available",
    "kernel_instructions",
    "load_dataset",
    "load_model",
    "load_npz",
    "load_overload",
    "load_step",
    "mixed",
    "normalise",
    "on_off_split",
    "plateau",
    "pooling_weights",
    "preset",
    "read_original",
    "read_toml",
    "reference",
    "save_original",
    "sbs_pooling",
    "train",
]
