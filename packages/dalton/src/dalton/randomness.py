"""Random streams named after their purpose, so that a run has no generator state to save.

Epoch 7's sample order depends on the seed and the number 7 alone: a run resumed at any batch draws what the
uninterrupted run would have drawn, and each run of a sweep draws what it would draw alone (DEV-24).
"""

from __future__ import annotations

import torch
from reprokit import UserError
from reprokit.config import derived_seed

from dalton.checks import whole


def stream(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a CPU generator for a purpose, e.g. ``stream(1, "order", 7)``.

    Raises:
        UserError: The seed is not a whole number.
    """
    if whole(seed) is None:
        raise UserError(f"seed is {seed!r}; it must be a whole number.")
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))
