"""Order of values in the compiled engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


def words(units: int) -> int:
    """Return the 64-bit words of an image's spikes; one more than filled, for reading across the end."""
    return -(-units // 64) + 1


@dataclass(frozen=True)
class Layout:
    """(row, column, padded channel) of one image.

    Attributes:
        height: Rows.
        width: Columns.
        channels: Channels.
        padded: Channels with padding.
    """

    height: int
    width: int
    channels: int
    padded: int

    @staticmethod
    def of(shape: tuple[int, ...], multiple: int) -> Layout:
        """Return the layout of a plain shape (channel, height, width) or (unit,), channels padded to a multiple."""
        channels, height, width = shape if len(shape) == 3 else (shape[0], 1, 1)
        return Layout(height, width, channels, -(-channels // multiple) * multiple)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image's values."""
        return self.height, self.width, self.padded

    @property
    def units(self) -> int:
        """Values of one image, padding included."""
        return math.prod(self.shape)

    @property
    def words(self) -> int:
        """Words of one image's spikes."""
        return words(self.units)

    def maps(self, module: Any) -> Any:
        """Return it for the packing functions."""
        return module.Maps(self.height, self.width, self.channels, self.padded)
