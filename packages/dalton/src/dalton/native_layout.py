"""Order of values in the compiled engine, and mean pooling folded into the convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dalton.architectures import LayerSpec


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


def fold_kernel(spec: LayerSpec, weight: Tensor, *, back: bool = False) -> Tensor:
    """Return the kernel of convolution and mean pooling in one (spec 9.3), or a gradient of it on the way back.

    W'[j] = 1/p^2 sum over 0 <= a < p of W[j - stride a] on both axes: kernel k + stride (p-1), stride times p.

    Args:
        spec: The layer.
        weight: (out, in, kernel, kernel) or (out, in); `back`: of the folded kernel's size.
        back: Return the adjoint: dW[j] = 1/p^2 sum_a dW'[j + stride a].
    """
    if spec.kind == "dense" or spec.pool == 1 or spec.pool_type == "max":
        return weight
    kernel, pool, stride = spec.weight_shape[2], spec.pool, spec.stride
    size = kernel + stride * (pool - 1)
    result = weight.new_zeros(spec.weight_shape if back else (*weight.shape[:2], size, size))
    for a in range(pool):
        for b in range(pool):
            window = (..., slice(a * stride, a * stride + kernel), slice(b * stride, b * stride + kernel))
            if back:
                result += weight[window]
            else:
                result[window] += weight
    return result.div_(pool**2)


def channels_last(value: Tensor, layout: Layout) -> Tensor:
    """Return plain values (time, batch, channel, height, width) in the engine's order."""
    result = value.new_zeros((*value.shape[:2], *layout.shape))
    result[..., : layout.channels] = value.reshape(
        *value.shape[:2], layout.channels, layout.height, layout.width
    ).movedim(2, -1)
    return result
