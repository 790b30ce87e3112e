"""What the values of own data look like, and values that are refused because the network would misinterpret them."""

from __future__ import annotations

import numpy as np
import torch
from reprokit import UserError
from torch import Tensor

FEW_LEVELS = 16  # whole numbers up to this are not taken for grey levels from 0 to 255
MANY_COUNTS = 20  # values above this in most cells of frames are grey levels, not counts


class Inspection:
    """Statistics of the values of one part, collected batch by batch.

    Args:
        where: Names the part in messages.
        events: Whether the samples are frames.

    Attributes:
        constant: Number of samples whose values are all the same.
        alike: Whether all samples are the same.
        active: Number of non-empty cells in each time-step, int64 (time,); empty for images.
    """

    def __init__(self, where: str, events: bool) -> None:
        self.where, self.events = where, events
        self.low, self.high, self.filled, self.cells, self.constant = 0.0, 0.0, 0, 0, 0
        self.active = np.zeros(0, np.int64)
        self.first: Tensor | None = None
        self.alike, self.floating = True, False

    def at(self, batch: Tensor) -> None:
        """Look at some samples (sample, ...)."""
        flat = batch.flatten(1)
        low, high = (float(value) for value in torch.aminmax(flat))
        if not (low > -float("inf") and high < float("inf")):
            raise UserError(f"{self.where}: inputs hold NaN or infinite values; clean the data first.")
        first = batch[0] if self.first is None else self.first
        self.first = first
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.floating |= batch.is_floating_point()
        self.constant += int((flat == flat[:, :1]).all(1).sum())
        self.alike = self.alike and first.shape == batch.shape[1:] and bool((batch == first).all())
        if self.events:
            active = torch.count_nonzero(batch.transpose(0, 1).flatten(1), 1).numpy()
            longest = max(len(active), len(self.active))
            self.active = np.pad(self.active, (0, longest - len(self.active)))
            self.active[: len(active)] += active
            self.filled, self.cells = self.filled + int(active.sum()), self.cells + flat.numel()

    def judge(self) -> None:
        """Refuse values that the network would misinterpret."""
        low, high = self.low, self.high
        if self.events:
            if low < 0:
                raise UserError(
                    f"{self.where}: frames hold {low:g}; counts cannot be negative: give the two polarities as "
                    "channels."
                )
            if high > MANY_COUNTS and self.filled > self.cells / 2:
                raise UserError(
                    f"{self.where}: more than half of the cells hold something, up to {high:g}, which are grey levels "
                    "rather than event counts; scale them to [0, 1], for example divide by 255."
                )
            return
        allowed = 1 if self.floating else 255
        if low < 0 or high > allowed:
            raise UserError(
                f"{self.where}: images lie in [{low:g}, {high:g}]; give uint8 from 0 to 255 or floats in [0, 1], for "
                "example divide by the largest value, and do not subtract a mean."
            )
        if 0 < high <= (FEW_LEVELS if not self.floating else FEW_LEVELS / 255):
            raise UserError(
                f"{self.where}: the largest value of the images is {high:g}, nearly black on a scale to {allowed}; "
                f"scale them to [0, 1], for example divide by {high:g}."
            )
