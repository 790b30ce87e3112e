"""Spike-By-Spike layers for PyTorch: non-negative stochastic inference with a custom gradient and a C++ core."""

from sbs.config import (
    Augmentation,
    DataConfig,
    LayerConfig,
    LearningConfig,
    NetworkConfig,
    TrainConfig,
    read_toml,
)
from sbs.data.augmentation import augment
from sbs.data.encoding import Presentation, on_off_split
from sbs.data.images import Dataset
from sbs.data.loading import load_dataset
from sbs.engines import reference
from sbs.engines.kernel import available as kernel_available
from sbs.engines.kernel import instructions as kernel_instructions
from sbs.formats.original_config import read_original
from sbs.formats.translate import from_original
from sbs.formats.weights import load_npz, load_overload, load_step, save_original
from sbs.model.layer import SbS, SbSLayer
from sbs.model.networks import build_network, sbs_pooling
from sbs.model.time_course import TimeCourse
from sbs.model.weights import constrained, normalise, pooling_weights
from sbs.presets import preset
from sbs.rules.losses import cross_entropy, mixed
from sbs.training.evaluation import Evaluation, accuracy_against_spikes, evaluate
from sbs.training.loop import train
from sbs.training.optimizers import MultiplicativeAdam, SbSLRScheduler, adam, plateau
from sbs.training.runs import Model, load_model

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
