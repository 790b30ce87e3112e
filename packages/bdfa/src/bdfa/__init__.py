"""The feedback-alignment family (BP, FA, DFA, BFA, BDFA) on any PyTorch network."""

from bdfa.adversarial import adversarial_backward
from bdfa.alignment import AlignmentMonitor, LayerAlignment, measure_alignment
from bdfa.bfa import GenerativeFeedback
from bdfa.config import TrainConfig
from bdfa.conversion import convert
from bdfa.criteria import Criterion
from bdfa.fa_layers import FAConv2d, FALinear
from bdfa.fast_mlp import FastMLP
from bdfa.initialisation import feedback_matrix, initialise
from bdfa.model import FeedbackModel
from bdfa.networks import Network, conv, mlp
from bdfa.optim import Torch7Optimizer, make_optimiser
from bdfa.renorm import renorm
from bdfa.rules import RULES, Rule, get_rule
from bdfa.targets import TARGETS, feedback_target
from bdfa.training import train

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
