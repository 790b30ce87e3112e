from . import config, example_networks, rules
from .config import TrainConfig
from .engines.fast_mlp import FastMLP
from .engines.resident_step import ResidentStep
from .model.criteria import Criterion
from .model.networks import Network, conv, mlp
from .rules.adversarial import adversarial_backward
from .rules.alignment import AlignmentMonitor, LayerAlignment, measure_alignment
from .rules.bdfa import TARGETS, feedback_target
from .rules.bfa import GenerativeFeedback
from .rules.conversion import convert
from .rules.fa import FAConv2d, FALinear
from .rules.feedback_model import FeedbackModel
from .rules.initialisation import feedback_matrix, initialise
from .rules.max_norm import renorm
from .rules.optimisers import Torch7Optimizer, make_optimiser
from .rules.protocol import LearningRule
from .rules.table import RULES, Rule, get_rule
from .training.loop import train
from .training.prediction import Predictor, load
from .training.pretrained import pretrained

__all__ = [
    "RULES",
    "TARGETS",
    "AlignmentMonitor",
    "Criterion",
    "FAConv2d",
    "FALinear",
    "FastMLP",
    "FeedbackModel",
    "GenerativeFeedback",
    "LayerAlignment",
    "LearningRule",
    "Network",
    "Predictor",
    "ResidentStep",
    "Rule",
    "Torch7Optimizer",
    "TrainConfig",
    "adversarial_backward",
    "config",
    "conv",
    "convert",
    "example_networks",
    "feedback_matrix",
    "feedback_target",
    "get_rule",
    "initialise",
    "load",
    "make_optimiser",
    "measure_alignment",
    "mlp",
    "pretrained",
    "renorm",
    "rules",
    "train",
]
