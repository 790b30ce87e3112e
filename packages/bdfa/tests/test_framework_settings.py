"""Ordinary settings of the framework: the same gradients as with the default settings, or one sentence."""

from __future__ import annotations

import bdfa
import pytest
import torch
from torch import Tensor

INPUTS, WIDTHS, CLASSES = 10, (12, 9), 4


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(16, INPUTS, generator=random), torch.randint(0, CLASSES, (16,), generator=random)


def model_of(rule: str, **options) -> bdfa.FeedbackModel:
    net = bdfa.initialise(bdfa.mlp(INPUTS, WIDTHS, CLASSES), rule, zero="uniform", seed=3)
    return bdfa.FeedbackModel(net, rule, seed=5, **{"feedback_lr": 0.0, **options})


def backward(model, batch, scaler=None, criterion="bce") -> list[Tensor]:
    """Gradients of one batch; brsf draws the same magnitudes each time."""
    inputs, labels = batch
    torch.manual_seed(0)
    model.zero_grad()
    loss = bdfa.Criterion(criterion)(model(inputs, labels=labels), labels)
    (loss if scaler is None else scaler.scale(loss)).backward()
    return [p.grad.clone() for p in model.model.parameters() if p.requires_grad]


@pytest.mark.parametrize("rule", bdfa.RULES)
def test_a_scaled_loss_gives_the_unscaled_gradients(rule, batch):
    model = model_of(rule)
    wanted = backward(model, batch)
    scaler = torch.amp.GradScaler("cpu")
    optimiser = torch.optim.SGD(model.forward_parameters(), lr=0.1)
    backward(model, batch, scaler)
    scaler.unscale_(optimiser)
    for parameter, gradient in zip(model.forward_parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    found = backward(model, batch)  # and a later loss without the scaler is not scaled
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)
