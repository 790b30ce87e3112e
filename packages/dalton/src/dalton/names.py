"""The words that users may write, the meaning of the original's names, and its constants for each of its data sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Method = Literal["surrgd", "tfr", "dalton"]
Setting = Literal["bptt", "online", "rtrl"]
Loss = Literal["mse", "ce"]
EngineName = Literal["auto", "native", "torch"]
Reader = Literal["reprokit", "tonic"]
Convolution = Literal["full", "tf32", "bf16"]
METHODS: tuple[Method, ...] = ("surrgd", "tfr", "dalton")
SETTINGS: tuple[Setting, ...] = ("bptt", "online", "rtrl")
LOSSES: tuple[Loss, ...] = ("mse", "ce")
CONVOLUTIONS: tuple[Convolution, ...] = ("full", "tf32", "bf16")
# DEV-1: the original's "RTRL" models use the gradient of the current step alone; here that is called online,
# and rtrl is the rule with eligibility traces.
ALIASES: dict[str, tuple[Method, Setting]] = {
    "SRGT_GD_SCNN": ("surrgd", "bptt"),
    "TFR_SCNN": ("tfr", "bptt"),
    "DALTON_SCNN": ("dalton", "bptt"),
    "TFR_RTRL_SCNN": ("tfr", "online"),
    "DALTON_RTRL_SCNN": ("dalton", "online"),
}

STATIC_NAMES = {"MNIST": "mnist", "FMNIST": "fashion-mnist", "CIFAR10": "cifar10"}
EVENT_NAMES = {"DVS_GESTURE": "dvs-gesture", "DVS_MNIST": "n-mnist", "DVS_CIFAR10": "cifar10-dvs"}
DATASET_NAMES = {**STATIC_NAMES, **EVENT_NAMES}
BURN_IN = 50  # steps, the original's BURN_IN_NTS


@dataclass(frozen=True)
class Duration:
    """Time-steps (1 ms) for which a data set is presented.

    Attributes:
        train: Steps in training.
        test: Steps in validation and test.
    """

    train: int
    test: int


DURATIONS = {
    "mnist": Duration(40, 40),
    "fashion-mnist": Duration(50, 50),
    "cifar10": Duration(60, 60),
    "digits": Duration(20, 20),
    "dvs-gesture": Duration(500, 1790),
    "cifar10-dvs": Duration(500, 1141),
    "n-mnist": Duration(300, 300),
    "digits-events": Duration(50, 50),
}
STATIC_DURATION, EVENT_DURATION = Duration(60, 60), Duration(300, 300)


def duration(name: str, events: bool) -> Duration:
    """Steps of a data set: the original's constants (its presentation_ts and frame counts).

    Args:
        name: Catalogue name; any other name gets 60 steps for images and 300 for events.
        events: Whether its samples are event recordings.
    """
    return DURATIONS.get(name, EVENT_DURATION if events else STATIC_DURATION)


def dataset_name(name: str) -> str:
    """Translate the original's data-set names, e.g. ``DVS_MNIST`` to ``n-mnist``; others stay as they are."""
    return DATASET_NAMES.get(name.upper(), name)
