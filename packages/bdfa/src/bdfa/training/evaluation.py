"""Loss and error of networks trained together, on a batch of scores or a whole portion of the data."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bdfa.config import TrainConfig
from bdfa.data.loading import EVALUATION_BATCH, Portion, augment
from bdfa.engines.engine import Engine
from bdfa.randomness import stream


def scores_loss(scores: Tensor, labels: Tensor, loss: str, log_probabilities: bool = False) -> Tensor:
    """Mean loss of each network as the original prints it: bce over samples and classes, ce over samples.

    Args:
        scores: (network, sample, class).
        labels: (sample,).
        loss: ``"bce"`` or ``"ce"``.
        log_probabilities: Whether the scores are log-probabilities already.

    Returns:
        (network,), float64.
    """
    scores = scores.double()
    if loss == "bce":
        target = F.one_hot(labels, scores.shape[-1]).to(scores).expand_as(scores)
        return F.binary_cross_entropy_with_logits(scores, target, reduction="none").mean((-1, -2))
    rows = scores if log_probabilities else torch.log_softmax(scores, -1)
    return -rows.gather(-1, labels[None, :, None].expand(len(scores), -1, 1)).mean((-1, -2))


def evaluate(
    engine: Engine, portion: Portion, config: TrainConfig, role: str = "test", epoch: int = 0
) -> list[tuple[float, float]]:
    """Error (fraction) and loss of each network on a portion of the data.

    With ``augment`` and profile ``faithful`` the test images are augmented too, as in the original (DEV-26).
    """
    wrong = torch.zeros(len(engine.models), dtype=torch.float64, device=portion.labels.device)
    total = wrong.clone()
    for number, (images, labels) in enumerate(portion.batches(EVALUATION_BATCH)):
        if config.augment and config.faithful and role == "test":
            images = augment(images, stream(config.seed, "augment test", epoch, number))
        scores = engine.scores(images)
        wrong += (scores.argmax(-1) != labels).sum(-1)
        total += scores_loss(scores, labels, config.loss, engine.models[0].log_probabilities) * len(labels)
    count = len(portion)
    return [(error / count, loss / count) for error, loss in zip(wrong.tolist(), total.tolist(), strict=True)]
