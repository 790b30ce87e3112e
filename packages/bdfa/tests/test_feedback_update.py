"""How the feedback of bdfa and bfa learns over several steps, against formulas written out here."""

from __future__ import annotations

import itertools

import bdfa
import pytest
import torch
import torch.nn.functional as F
from bdfa.rules.bdfa import target_of_all
from torch import Tensor

INPUTS, WIDTHS, CLASSES, RATE, LR = 6, (7, 5), 3, 0.2, 0.3
random = torch.Generator().manual_seed(1)
X, Y = torch.randn(8, INPUTS, generator=random), torch.randint(0, CLASSES, (8,), generator=random)
PARTS = {"whole": [(X, Y)], "halves": list(zip(X.chunk(2), Y.chunk(2), strict=True))}


def model_of(rule: str, **options) -> bdfa.FeedbackModel:
    net = bdfa.initialise(bdfa.mlp(INPUTS, WIDTHS, CLASSES), rule, zero="uniform", seed=3)
    return bdfa.FeedbackModel(net.double(), rule, seed=5, feedback_lr=RATE, **options)


def hidden(weights: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    w1, b1, w2, b2, w3, b3 = weights
    h1 = torch.tanh(x @ w1.T + b1)
    h2 = torch.tanh(h1 @ w2.T + b2)
    return h1, h2, h2 @ w3.T + b3


def train(model: bdfa.FeedbackModel, parts: list[tuple[Tensor, Tensor]], manual: bool) -> list[list[Tensor]]:
    """Weights and feedback after each of four steps of plain gradient descent, one record before them."""
    optimiser = torch.optim.SGD(model.forward_parameters(), lr=LR)
    history = []

    def note() -> None:
        feedback = model.feedback
        found = feedback.matrices if hasattr(feedback, "matrices") else feedback.weights  # type: ignore[union-attr]
        history.append([value.detach().clone() for value in [*model.forward_parameters(), *found]])  # type: ignore[misc]

    note()
    for _ in range(4):
        optimiser.zero_grad()
        for x, y in parts:
            bdfa.Criterion("bce")(model(x, labels=y), y).backward()
        optimiser.step()
        if manual:
            model.feedback_step()
        elif model.rule.name == "bfa":
            model.state_dict()  # applies the phase that is due
        note()
    return history


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("manual", [False, True])
def test_bdfa(parts, manual):
    """`B ← B − lr Σ dB` over the passes of this step only; manual: all of them at the B before the step."""
    history = train(
        model_of("bdfa", feedback_update="manual" if manual else "auto").double(),
        [(x.double(), y) for x, y in PARTS[parts]], manual,
    )  # fmt: skip
    for before, after in itertools.pairwise(history):
        weights, old = before[:6], [matrix.clone() for matrix in before[6:]]
        gradients, matrices = [torch.zeros_like(w) for w in weights], [matrix.clone() for matrix in old]
        pending = [torch.zeros_like(matrix) for matrix in old]
        for x, y in PARTS[parts]:
            h1, h2, o = hidden(weights, x.double())
            hot = F.one_hot(y, CLASSES).double()
            e, target = torch.sigmoid(o) - hot, hot - 1 / CLASSES
            below = [x.double(), h1, h2]
            signals = [(e @ m) * (1 - h * h) for m, h in zip(matrices, (h1, h2), strict=True)] + [e]
            for k, (signal, activity) in enumerate(zip(signals, below, strict=True)):
                gradients[2 * k] += signal.T @ activity
                gradients[2 * k + 1] += signal.sum(0)
            present = old if manual else matrices
            steps = []
            for m, h in zip(present, (h1, h2), strict=True):
                s = ((target @ m) * h).sum(1)
                steps.append(RATE * (target * torch.sigmoid(-s)[:, None]).T @ h)
            if manual:  # seen by this step's errors only after it
                pending = [a + b for a, b in zip(pending, steps, strict=True)]
            else:
                matrices = [m + step for m, step in zip(matrices, steps, strict=True)]
        if manual:
            matrices = [m + step for m, step in zip(old, pending, strict=True)]
        wanted = [w - LR * g for w, g in zip(weights, gradients, strict=True)] + matrices
        for ours, theirs in zip(after, wanted, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("manual", [False, True])
def test_bfa(parts, manual):
    """Both phases of each step, the feedback through the weights after it."""
    history = train(
        model_of("bfa", feedback_update="manual" if manual else "auto").double(),
        [(x.double(), y) for x, y in PARTS[parts]], manual,
    )  # fmt: skip
    for before, after in itertools.pairwise(history):
        weights, (v1, v2, v3) = before[:6], before[6:]
        gradients = [torch.zeros_like(w) for w in weights]
        for x, y in PARTS[parts]:
            h1, h2, o = hidden(weights, x.double())
            e = torch.sigmoid(o) - F.one_hot(y, CLASSES).double()
            d2 = (e @ v1.T) * (1 - h2 * h2)
            d1 = (d2 @ v2.T) * (1 - h1 * h1)
            pairs = ((d1, x.double()), (d2, h1), (e, h2))
            for k, (signal, activity) in enumerate(pairs):
                gradients[2 * k] += signal.T @ activity
                gradients[2 * k + 1] += signal.sum(0)
        new = [w - LR * g for w, g in zip(weights, gradients, strict=True)]
        x, hot = X.double(), F.one_hot(Y, CLASSES).double()
        u1 = torch.tanh(hot @ v1.T)
        u2 = torch.tanh(u1 @ v2.T)
        g3 = u2 @ v3.T - x
        g2 = (g3 @ new[0].T) * (1 - u2 * u2)
        g1 = (g2 @ new[2].T) * (1 - u1 * u1)
        moved = [v1 - RATE * g1.T @ hot, v2 - RATE * g2.T @ u1, v3 - RATE * g3.T @ u2]
        for ours, theirs in zip(after, [*new, *moved], strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("rate", "stable"), [(0.19, True), (0.21, False)])
def test_the_feedback_network_is_stable_below_two_over_the_largest_eigenvalue(rate, stable):
    """Without hidden layers u_L is the label, and its largest eigenvalue the number of samples of a class: 10."""
    feedback = bdfa.GenerativeFeedback([torch.nn.Linear(4, 2)], "Tanh", lr=rate, manual=True)
    inputs, labels = torch.rand(13, 4), torch.tensor([0] * 10 + [1] * 3)
    before = feedback.reconstruction_loss(inputs, labels)
    for _ in range(200):
        feedback.observe(inputs, labels)
        feedback.step()
    after = feedback.reconstruction_loss(inputs, labels)
    assert after < before if stable else after > 1e6 * before


@pytest.mark.parametrize("name", ["hot", "", "centre", "ONEHOT"])
def test_unknown_targets_are_refused(name):
    with pytest.raises(ValueError, match="is unknown; choose one of code, logit, onehot, paper, center"):
        bdfa.feedback_target(name, torch.zeros(2, 3), torch.tensor([0, 1]), alpha=0.25)
    learner = model_of("bdfa").learner
    assert learner is not None
    learner.target = name
    with pytest.raises(ValueError, match="is unknown"):
        learner.gradients([torch.zeros(3, 4)], torch.zeros(2, 3), torch.tensor([0, 1]), [torch.zeros(2, 4)])


def test_each_target_is_its_formula():
    o, y = torch.randn(4, CLASSES, generator=random), torch.tensor([0, 2, 1, 2])
    hot = F.one_hot(y, CLASSES).float()
    wanted = {
        "code": torch.where(hot == 1, 1.0, 0.25**3 * o),
        "logit": torch.where(hot == 1, 1.0, 0.25 * o),
        "onehot": hot,
        "center": hot - 1 / CLASSES,
    }
    for name, target in wanted.items():
        torch.testing.assert_close(bdfa.feedback_target(name, o, y, alpha=0.25, depth=3), target)
    both = torch.stack([o, 2 * o])  # of two networks side by side
    for name, scale in (("code", 0.25**3), ("logit", 0.25)):
        found = target_of_all(name, both, y, alpha=0.25, depth=3, probability="ce")
        torch.testing.assert_close(found, torch.where(hot == 1, 1.0, scale * both))
    for probability, guess in (("bce", torch.sigmoid(o)), ("ce", torch.softmax(o, 1))):
        found = bdfa.feedback_target("paper", o, y, alpha=0.25, probability=probability)
        torch.testing.assert_close(found, hot + 0.25 * guess)
