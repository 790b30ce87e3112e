"""Losses of class outputs against labels, and their gradients.

    mse: mean over batch and classes of (P - Y)^2, Y one-hot        ce: mean over batch of -log softmax(P)[label]

A sequence's loss is the mean over its time-steps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dalton.checks import widest
from dalton.names import Loss


def class_loss(loss: Loss, outputs: Tensor, labels: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Return the loss per time-step (time,), float64, and its gradient dLoss/dP (time, batch, class).

    Args:
        loss: "mse" or "ce".
        outputs: P (time, batch, class).
        labels: int64 (batch,).
        samples: Batch size to average over; larger than `batch` if these samples are a part of it.
    """
    classes = outputs.shape[2]
    target = F.one_hot(labels, classes).to(outputs.dtype)
    if loss == "mse":
        error = outputs - target
        value = error.square().sum((1, 2), dtype=widest(error.device)) / (samples * classes)
        return value, error.mul_(2 / (samples * classes))
    logs = torch.log_softmax(outputs, 2)
    value = -(logs * target).sum((1, 2), dtype=widest(logs.device)) / samples
    return value, logs.exp_().sub_(target).div_(samples)
