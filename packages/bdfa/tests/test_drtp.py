"""Direct random target projection: the sign of its signal `y B_k`, which the authors' program uses too.

`B_k` is drawn symmetrically about 0, so before training the sign means nothing; then the output weights align with
whichever was chosen, and from then on only that one descends.
"""

from __future__ import annotations

import bdfa
import pytest
import torch
from bdfa.rules.initialisation import generator

SEEDS = (0, 1, 2, 3)


def problem(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """256 samples of 20 numbers; the class is the largest of the first four."""
    inputs = torch.randn(256, 20, generator=generator(seed))
    return inputs, inputs[:, :4].argmax(1)


def train(model: bdfa.FeedbackModel, seed: int, steps: int, lr: float) -> None:
    inputs, labels = problem(seed)
    trained = [parameter for parameter in model.forward_parameters() if parameter.requires_grad]
    optimiser = bdfa.make_optimiser("sgd", trained, lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        bdfa.Criterion()(model(inputs, labels=labels), labels).backward()
        optimiser.step()


def trained_model(seed: int, sign: float) -> bdfa.FeedbackModel:
    net = bdfa.initialise(bdfa.mlp(20, (32, 24), 4), "drtp", seed=seed, zero="uniform")
    model = bdfa.FeedbackModel(net, "drtp", seed=seed + 1, target_scale=sign)
    train(model, seed, 200, 1e-3)
    return model


def hidden_angles(model: bdfa.FeedbackModel, seed: int) -> list[float]:
    return [entry.gradient_angle for entry in bdfa.measure_alignment(model, *problem(seed))[:-1]]


@torch.no_grad()
def loss_and_error(model: bdfa.FeedbackModel, seed: int) -> tuple[float, float]:
    inputs, labels = problem(seed)
    scores = model(inputs)
    return float(bdfa.Criterion()(scores, labels)), float((scores.argmax(1) != labels).double().mean())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_training_learns_and_aligns_with_the_true_gradient(seed, sign):
    model = trained_model(seed, sign)
    assert loss_and_error(model, seed)[1] < 0.15  # chance: 0.75
    assert max(hidden_angles(model, seed)) < 90


@pytest.mark.parametrize("seed", SEEDS)
def test_after_training_only_the_sign_it_was_trained_with_descends(seed):
    losses = {}
    for sign in (1.0, -1.0):
        model = trained_model(seed, 1.0)
        model.target_scale = sign
        assert all((angle < 90) == (sign > 0) for angle in hidden_angles(model, seed))
        model.model.output.requires_grad_(False)
        before, _ = loss_and_error(model, seed)
        train(model, seed, 20, 1e-4)
        losses[sign] = loss_and_error(model, seed)[0] - before
    assert losses[1.0] < 0 < losses[-1.0]
