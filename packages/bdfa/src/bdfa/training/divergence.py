"""Trainings that diverge end with a message that names the network and the rate to lower."""

from __future__ import annotations

import math

from reprokit import UserError
from torch import nn

from bdfa.config import TrainConfig


def check_finite(config: TrainConfig, model: nn.Module, loss: float, epoch: int, rate: float) -> None:
    """Refuse to save or continue with a loss, weights or feedback that are not finite.

    Args:
        config: The network's configuration.
        model: The network.
        loss: Its training loss of the epoch.
        epoch: Epoch, for the message.
        rate: Learning rate of the epoch, for the message.

    Raises:
        UserError: If one of them is not.
    """
    what = None if math.isfinite(loss) else f"the loss is {loss}"
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if what is None and value.is_floating_point() and not bool(value.isfinite().all()):
            what = f"{name.removeprefix('model.')} is not finite"
    if what is None:
        return
    smaller = f"--lr {rate:g}; use a smaller --lr"
    if config.rule == "bfa":  # bdfa.rules.bfa: when its feedback network is stable
        smaller = (
            f"--lr {rate:g} and --fb-lr {config.resolved_fb_lr():g}; use a smaller --fb-lr first, then --lr"
        )
    raise UserError(
        f"training diverged in epoch {epoch} (rule {config.rule}, seed {config.seed}): {what} with {smaller}."
    )
