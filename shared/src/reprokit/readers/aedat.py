"""AEDAT event files, decoded by tonic (the extra ``[events]``): DVS128 Gesture and CIFAR10-DVS."""

from reprokit.errors import UserError
from reprokit.events import EventSplits


def load_dvs_gesture() -> EventSplits:
    raise UserError("being written")


def load_cifar10_dvs() -> EventSplits:
    raise UserError("being written")
