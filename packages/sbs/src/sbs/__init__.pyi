from .config import (
    Augmentation,
    DataConfig,
    LayerConfig,
    LearningConfig,
    NetworkConfig,
    TrainConfig,
    read_toml,
)
from .data.augmentation import augment
from .data.encoding import Presentation, on_off_split
from .data.images import Dataset
from .data.loading import load_dataset
from .engines import kernel, reference
from .engines.kernel import kernel_available, kernel_instructions
from .formats.original_config import read_original
from .formats.translate import from_original
from .formats.weights import load_npz, load_overload, load_step, save_original
from .model.layer import SbS, SbSLayer
from .model.networks import build_network, sbs_pooling
from .model.time_course import TimeCourse
from .model.weights import constrained, normalise, pooling_weights
from .presets import preset
from .rules.losses import cross_entropy, mixed
from .training.evaluation import Evaluation, accuracy_against_spikes, evaluate
from .training.loop import train
from .training.optimizers import MultiplicativeAdam, SbSLRScheduler, adam, plateau
from .training.prediction import Predictor, load
from .training.pretrained import pretrained
from .training.runs import Model, load_model

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
    "Predictor",
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
    "kernel",
    "kernel_available",
    "kernel_instructions",
    "load",
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
    "pretrained",
    "read_original",
    "read_toml",
    "reference",
    "save_original",
    "sbs_pooling",
    "train",
]
