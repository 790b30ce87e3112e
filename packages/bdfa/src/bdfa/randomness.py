"""Random streams named after their purpose, so that a run has no generator state to save.

Epoch 7's sample order depends on the seed and the number 7 alone: a run resumed at any step draws what the
uninterrupted run would have drawn.
"""

import torch
from reprokit.config import derived_seed


def stream(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a CPU generator for a purpose, e.g. ``stream(1, "order", 7)``; see `reprokit.config.derived_seed`."""
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))
