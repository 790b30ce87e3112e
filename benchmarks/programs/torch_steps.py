"""What both sides of PyTorch's benchmarks use: batches in turn, and steps whose time can be taken on every device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Step = Callable[[], object]
Batches = Callable[[], tuple[Tensor, Tensor]]


def waiting(step: Step, device: torch.device) -> Step:
    """Return the step itself on the CPU; on an accelerator one that ends when its kernels have ended."""
    if device.type == "cpu":
        return step

    def finished() -> None:
        step()
        torch.accelerator.synchronize(device)

    return finished


def in_turn(images: np.ndarray, labels: np.ndarray, device: torch.device, batch: int) -> Batches:
    """Return a function that gives one batch after the other, so that no step repeats the one before."""
    x, y = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
    turn = iter(range(10**9))

    def batches() -> tuple[Tensor, Tensor]:
        first = next(turn) * batch % (len(x) - batch + 1)
        return x[first : first + batch], y[first : first + batch]

    return batches
