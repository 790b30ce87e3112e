"""A training step of PyTorch whose time can be taken on every device."""

from __future__ import annotations

from collections.abc import Callable

import torch

Step = Callable[[], object]


def waiting(step: Step, device: torch.device) -> Step:
    """Return the step itself on the CPU; on an accelerator one that ends when its kernels have ended."""
    if device.type == "cpu":
        return step

    def finished() -> None:
        step()
        torch.accelerator.synchronize(device)

    return finished
