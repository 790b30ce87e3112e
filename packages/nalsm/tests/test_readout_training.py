"""Readout training: gradients from counts, threads, memory-saving blocks, interrupted Adadelta."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nalsm import LinearReadout, train_adadelta, train_lbfgs, train_ridge
from nalsm.model.readout import SoftmaxLoss, largest_share, normalise, row_blocks, shares, soft_labels
from reprokit import Checkpoints


def counts_and_labels(dtype: str = "uint8", samples: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return counts of three classes, with neurons and samples that never fire."""
    stream = np.random.default_rng(4)
    labels = stream.integers(0, 3, samples)
    counts = stream.poisson(stream.gamma(0.5, 6.0, (3, 40))[labels])
    counts[:, [3, 17]], counts[5] = 0, 0
    return counts.astype(dtype), labels


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "float32"])
def test_loss_and_gradient_equal_automatic_differentiation(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, labels = counts_and_labels(dtype)
    monkeypatch.setattr(row_blocks, "__defaults__", (40 * 32,))  # many blocks
    target = soft_labels(labels, 3)
    stream = np.random.default_rng(1)
    weight = torch.tensor(stream.normal(size=(40, 3)), requires_grad=True)
    bias = torch.tensor(stream.normal(size=3), requires_grad=True)
    x = torch.tensor(normalise(counts, 0.2), dtype=torch.float64)
    loss = -(torch.tensor(target) * torch.log_softmax(x @ weight + bias, 1)).sum() / len(x)
    loss.backward()
    results = []
    for threads in (1, 2, 4):
        problem = SoftmaxLoss(counts, target, 0.2, threads=threads)
        assert len(problem.blocks) > 8
        value, gradient, slope = problem(weight.detach().float(), bias.detach().float())
        assert value == pytest.approx(loss.item(), rel=1e-6)
        np.testing.assert_allclose(gradient, weight.grad, atol=1e-7)
        np.testing.assert_allclose(slope, bias.grad, atol=1e-7)
        results.append((value, gradient.numpy().tobytes(), slope.numpy().tobytes()))
    assert results[0] == results[1] == results[2]  # threads share the samples in fixed groups


def test_lbfgs_does_not_depend_on_threads() -> None:
    counts, labels = counts_and_labels()
    one, two = (train_lbfgs(counts, labels, iterations=40, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.weight, two.weight)
    np.testing.assert_array_equal(one.bias, two.bias)


def test_largest_share_and_scores_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, labels = counts_and_labels()
    readout = train_ridge(counts, labels)
    whole = readout.scores(counts)
    monkeypatch.setattr(row_blocks, "__defaults__", (40 * 7,))
    assert largest_share(counts) == shares(counts).max() == readout.maximum
    np.testing.assert_allclose(readout.scores(counts), whole, atol=1e-6)
    assert readout.scores(counts[:0]).shape == (0, 3)


def test_ridge_solves_its_equations() -> None:
    counts, labels = counts_and_labels()
    readout = train_ridge(counts, labels, l2=0.3)
    x = normalise(counts, readout.maximum).astype(np.float64)
    y = np.where(np.arange(3)[None] == labels[:, None], 1.0, -1.0)
    error = x @ readout.weight.astype(np.float64) + readout.bias - y
    np.testing.assert_allclose(error.mean(0), 0.0, atol=1e-6)
    np.testing.assert_allclose(x.T @ error + 0.3 * readout.weight, 0.0, atol=2e-4)


class Killed(Exception):
    """Stands for the end of the process."""


def test_interrupted_adadelta_ends_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, labels = counts_and_labels()
    monkeypatch.setattr("nalsm.rules.readout.CHECKPOINT_EPOCHS", 4)

    def train(folder: str, stop: int | None = None) -> LinearReadout:
        steps = []

        def on_step(*_: object) -> None:
            steps.append(None)
            if len(steps) == stop:
                raise Killed

        return train_adadelta(
            counts, labels, epochs=18, batch=100, validation=(counts[::3], labels[::3]), evaluate_every=3,
            checkpoints=Checkpoints(tmp_path / folder), on_step=on_step,
        )  # fmt: skip

    whole = train("whole")
    with pytest.raises(Killed):  # in the 14th epoch; the 12th was saved
        train("killed", stop=40)
    again = train("killed")
    np.testing.assert_array_equal(again.weight, whole.weight)
    np.testing.assert_array_equal(again.bias, whole.bias)
    assert again.history == whole.history
    assert len(whole.history) == 6
