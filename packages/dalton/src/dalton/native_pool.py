"""Max-pooling in the compiled engine: a switch is the number of the winner within its window, row by row."""

from __future__ import annotations

import torch
from reprokit import UserError
from torch import Tensor

from dalton.architectures import LayerSpec
from dalton.native_layout import Layout

LARGEST = 16  # side of a window whose elements a byte can count


def checked_pool(spec: LayerSpec) -> int:
    """Return the side of a max-pool's windows, 1 without one.

    Raises:
        UserError: If a window has more elements than a switch can count.
    """
    if not spec.max_pooled:
        return 1
    if spec.pool > LARGEST:
        raise UserError(
            f"{spec.name} takes the maximum over {spec.pool} x {spec.pool}; the compiled engine goes up to "
            f"{LARGEST} x {LARGEST}; choose --engine torch."
        )
    return spec.pool


def plain_switches(switches: Tensor, pool: int, maps: Layout, layout: Layout) -> Tensor:
    """Return int64 (image, channel, height, width): places in a map of (height x width), as max_pool2d gives them."""
    number = switches[..., : layout.channels].long().movedim(-1, 2).flatten(0, 1)
    rows = torch.arange(layout.height).view(-1, 1) * pool + number // pool
    columns = torch.arange(layout.width) * pool + number % pool
    return rows * maps.width + columns
