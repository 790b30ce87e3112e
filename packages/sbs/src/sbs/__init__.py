"""Spike-By-Spike layers for PyTorch: non-negative stochastic inference with a custom gradient and a C++ core."""

from . import reference
from .kernel import available as kernel_available
from .kernel import instructions as kernel_instructions
from .layer import SbS, SbSLayer
from .loss import cross_entropy, mixed
from .optimizer import MultiplicativeAdam, adam
from .pooling import sbs_pooling
from .schedules import SbSLRScheduler, plateau
from .time_course import TimeCourse
from .weights import constrained, normalise, pooling_weights

__all__ = [
    "MultiplicativeAdam",
    "SbS",
    "SbSLRScheduler",
    "SbSLayer",
    "TimeCourse",
    "adam",
    "constrained",
    "cross_entropy",
    "kernel_available",
    "kernel_instructions",
    "mixed",
    "normalise",
    "plateau",
    "pooling_weights",
    "reference",
    "sbs_pooling",
]
