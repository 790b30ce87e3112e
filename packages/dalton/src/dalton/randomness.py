"""Random streams named by what they are for, so that no generator state has to be carried through a run.

Epoch 7's sample order depends on the seed and the number 7 alone: a run resumed at any batch draws what the
uninterrupted run would have drawn, and each run of a sweep draws what it would draw alone (DEV-24).
"""

from __future__ import annotations

import hashlib

import torch


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return 63 bits that depend on the run's seed and a purpose, e.g. ``derived_seed(1, "order", 7)``."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def stream(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a CPU generator for a purpose, see :func:`derived_seed`."""
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))
