"""Max-pooling in the compiled engine's order; a switch is the number of the winner within its window, row by row."""

from __future__ import annotations

import torch
from torch import Tensor

from dalton.native_layout import Layout


def _window(maps: Tensor, number: int, pool: int, layout: Layout) -> Tensor:
    """Return the view of every window's element `number`."""
    row, column = divmod(number, pool)
    height, width = layout.height * pool, layout.width * pool
    return maps[:, :, row:height:pool, column:width:pool]


def max_pool(maps: Tensor, pool: int, layout: Layout) -> tuple[Tensor, Tensor]:
    """Return maxima (time, batch, row, column, channel) and switches uint8; the first of equal values wins.

    Args:
        maps: Currents before pooling.
        pool: Side of a window.
        layout: Of the result.
    """
    best = _window(maps, 0, pool, layout).clone(memory_format=torch.contiguous_format)
    switches = torch.zeros(best.shape, dtype=torch.uint8)
    for number in range(1, pool**2):
        candidate = _window(maps, number, pool, layout)
        better = candidate > best
        best = torch.where(better, candidate, best)
        switches.masked_fill_(better, number)
    return best.contiguous(), switches


def max_unpool(error: Tensor, switches: Tensor, pool: int, maps: Layout) -> Tensor:
    """Return errors at the winners, 0 elsewhere, (time, batch, row, column, channel) before pooling."""
    result = torch.zeros((*error.shape[:2], *maps.shape), dtype=error.dtype)
    pooled = Layout(error.shape[2], error.shape[3], maps.channels, maps.padded)
    for number in range(pool**2):
        _window(result, number, pool, pooled).copy_(error.masked_fill(switches != number, 0))
    return result


def plain_switches(switches: Tensor, pool: int, maps: Layout, layout: Layout) -> Tensor:
    """Return int64 (image, channel, height, width): places in a map of (height x width), as max_pool2d gives them."""
    number = switches[..., : layout.channels].long().movedim(-1, 2).flatten(0, 1)
    rows = torch.arange(layout.height).view(-1, 1) * pool + number // pool
    columns = torch.arange(layout.width) * pool + number % pool
    return rows * maps.width + columns
