"""The feedback-alignment family (BP, FA, DFA, BFA, BDFA) on any PyTorch network."""

from bdfa.config import TrainConfig
from bdfa.engines.fast_mlp import FastMLP
from bdfa.model.criteria import Criterion
from bdfa.model.networks import Network, conv, mlp
from bdfa.rules.adversarial import adversarial_backward
from bdfa.rules.alignment import AlignmentMonitor, LayerAlignment, measure_alignment
from bdfa.rules.bdfa import TARGETS, feedback_target
from bdfa.rules.bfa import GenerativeFeedback
from bdfa.rules.conversion import convert
from bdfa.rules.fa import FAConv2d, FALinear
from bdfa.rules.feedback_model import FeedbackModel
from bdfa.rules.initialisation import feedback_matrix, initialise
from bdfa.rules.max_norm import renorm
from bdfa.rules.optimisers import Torch7Optimizer, make_optimiser
from bdfa.rules.table import RULES, Rule, get_rule
from bdfa.training.loop import train

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
    "Network",
    "Rule",
    "Torch7Optimizer",
    "TrainConfig",
    "adversarial_backward",
    "conv",
    "convert",
    "feedback_matrix",
    "feedback_target",
    "get_rule",
    "initialise",
    "make_optimiser",
    "measure_alignment",
    "mlp",
    "renorm",
    "train",
]
