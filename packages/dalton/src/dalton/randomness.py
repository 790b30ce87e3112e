"""Random streams named by what they are for, so that no generator state has to be carried through a run.

Epoch 7's sample order depends on the seed and the number 7 alone: a run resumed at any batch draws what the
uninterrupted run would have drawn, and each run of a sweep draws what it would draw alone (DEV-24).
"""

from __future__ import annotations

import torch
from reprokit.config import derived_seed


def stream(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a CPU generator for a purpose, e.g. ``stream(1, "order", 7)``."""
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))
