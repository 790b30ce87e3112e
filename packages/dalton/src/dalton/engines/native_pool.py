"""Max-pooling in the compiled engine: a switch is the number of the winner within its window, row by row."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from dalton.engines.native_layout import Layout
from dalton.model.architectures import LayerSpec

LARGEST = 16  # side of a window whose elements a byte can count


def too_wide(specs: Iterable[LayerSpec]) -> str | None:
    """Return, as a clause, which layer's max-pool has more elements in a window than a switch can count."""
    for spec in specs:
        if spec.max_pooled and spec.pool > LARGEST:
            return (
                f"{spec.name} takes the maximum over {spec.pool} x {spec.pool}, and the compiled engine goes up to "
                f"{LARGEST} x {LARGEST}"
            )
    return None


def plain_switches(switches: Tensor, pool: int, maps: Layout, layout: Layout) -> Tensor:
    """Return int64 (image, channel, height, width): places in a map of (height x width), as max_pool2d gives them."""
    number = switches[..., : layout.channels].long().movedim(-1, 2).flatten(0, 1)
    rows = torch.arange(layout.height).view(-1, 1) * pool + number // pool
    columns = torch.arange(layout.width) * pool + number % pool
    return rows * maps.width + columns
