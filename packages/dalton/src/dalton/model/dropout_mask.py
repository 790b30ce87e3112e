"""Which spikes dropout keeps, and by what the kept ones are multiplied."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class DropoutMask:
    """Multipliers of emitted spikes, (time, batch, ...): one value for kept spikes, or any values.

    Args:
        keep: bool, or multipliers of any value.
        scale: Multiplier of kept spikes; None where `keep` holds multipliers.
    """

    def __init__(self, keep: Tensor, scale: float | None) -> None:
        self.keep, self.scale = keep, scale
        self.prepared: Any = None  # an engine's own form of it

    @staticmethod
    def from_multipliers(values: Tensor) -> DropoutMask:
        """Return the mask of given multipliers; `scale` stays None where kept spikes have several."""
        keep = values != 0
        kept = values[keep]
        if len(kept) == 0:
            return DropoutMask(keep, 1.0)
        low, high = (float(v) for v in torch.aminmax(kept))
        return DropoutMask(keep, high) if low == high else DropoutMask(values, None)

    def part(self, index: tuple[slice, ...]) -> DropoutMask:
        """Return the mask of some time-steps and samples."""
        return DropoutMask(self.keep[index], self.scale)

    def multipliers(self, dtype: torch.dtype) -> Tensor:
        """Return the multipliers as numbers."""
        values = self.keep.to(dtype)
        return values if self.scale is None else values.mul_(self.scale)
