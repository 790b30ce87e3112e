"""Readout training: gradients from counts, threads, memory-saving blocks, interrupted Adadelta."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nalsm import LinearReadout, train_adadelta, train_lbfgs, train_ridge
from nalsm.model.readout import SoftmaxLoss, largest_share, normalise, row_blocks, shares, soft_labels
from nalsm.rules.readout import OneTorchThread
from reprokit import Checkpoints, UserError


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


@pytest.mark.parametrize("name", ["train_lbfgs", "train_adadelta"])
def test_readouts_do_not_depend_on_threads_of_pytorch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of several threads have another order; many cores also made a readout slower on a busy machine."""
    counts, labels = counts_and_labels()
    train: Any = {"train_lbfgs": train_lbfgs, "train_adadelta": train_adadelta}[name]
    options = {"iterations": 20} if name == "train_lbfgs" else {"epochs": 4, "batch": 100}
    seen, results = [], []
    loss = SoftmaxLoss.__call__
    monkeypatch.setattr(
        SoftmaxLoss, "__call__", lambda *a: (seen.append(torch.get_num_threads()), loss(*a))[1]
    )
    if name == "train_adadelta":
        options["on_step"] = lambda *_: seen.append(torch.get_num_threads())
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(train(counts, labels, **options))
        assert torch.get_num_threads() == threads  # as the caller left it
    assert set(seen) == {1}
    for other in results[1:]:
        np.testing.assert_array_equal(other.weight, results[0].weight)
        np.testing.assert_array_equal(other.bias, results[0].bias)


def test_trainings_of_several_threads_leave_pytorch_as_it_was() -> None:
    counts, labels = counts_and_labels()
    torch.set_num_threads(2)
    with ThreadPoolExecutor(3) as pool:
        readouts = list(pool.map(lambda _: train_lbfgs(counts, labels, iterations=10), range(6)))
    assert torch.get_num_threads() == 2
    assert len({readout.weight.tobytes() for readout in readouts}) == 1


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_child_trains_while_a_thread_of_the_parent_trains() -> None:
    """The lock that lets only one training run at a time is released in the child."""
    counts, labels = counts_and_labels()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with OneTorchThread():
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = multiprocessing.get_context("fork").Process(
        target=train_lbfgs, args=(counts, labels), kwargs={"iterations": 3}
    )
    child.start()
    child.join(60)
    alive = child.is_alive()
    child.kill()
    done.set()
    thread.join()
    assert not alive
    assert child.exitcode == 0


def test_default_type_of_pytorch_changes_nothing() -> None:
    counts, labels = counts_and_labels()

    def readouts() -> list[LinearReadout]:
        return [train_lbfgs(counts, labels, iterations=10), train_adadelta(counts, labels, epochs=2)]

    before = readouts()
    torch.set_default_dtype(torch.float64)
    try:
        after = readouts()
    finally:
        torch.set_default_dtype(torch.float32)
    for one, two in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.weight, two.weight)


@pytest.mark.parametrize(
    "train", [train_lbfgs, train_ridge, lambda *a, **k: train_adadelta(*a, epochs=200, **k)]
)
def test_a_weight_of_two_is_a_sample_given_twice(train: Any) -> None:
    counts, labels = counts_and_labels(samples=60)
    times = np.random.default_rng(2).integers(0, 3, 60)
    times[labels == 0] += 1
    weighted = train(counts, labels, classes=3, sample_weight=times.astype(float))
    repeated = train(np.repeat(counts, times, axis=0), np.repeat(labels, times), classes=3)
    plain = train(counts, labels, classes=3)
    ones = train(counts, labels, classes=3, sample_weight=np.ones(60))
    change = np.abs(weighted.weight - plain.weight).max()
    assert np.abs(weighted.weight - repeated.weight).max() < 0.03 * change
    assert np.abs(ones.weight - plain.weight).max() < 0.01 * change


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
    """Simulates the end of the process."""


def test_adadelta_resumes_with_its_accumulators_and_returns_the_best_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels that cannot be learnt: the accuracy goes up and down, so that best, first and last epoch differ."""
    stream = np.random.default_rng(1)
    counts, labels = stream.poisson(3.0, (120, 12)).astype(np.uint8), stream.integers(0, 4, 120)
    held = stream.poisson(3.0, (60, 12)).astype(np.uint8), stream.integers(0, 4, 60)
    monkeypatch.setattr("nalsm.rules.readout.CHECKPOINT_EPOCHS", 5)

    def train(folder: str, stop: int | None = None) -> tuple[LinearReadout, list[np.ndarray]]:
        course: list[np.ndarray] = []

        def on_step(weight: torch.Tensor, bias: torch.Tensor) -> None:
            course.append(np.vstack([weight.numpy(), bias.numpy()]))
            if len(course) == stop:
                raise Killed

        readout = train_adadelta(
            counts, labels, epochs=16, batch=60, learning_rate=40.0, validation=held, evaluate_every=1,
            checkpoints=Checkpoints(tmp_path / folder), on_step=on_step,
        )  # fmt: skip
        return readout, course

    whole, course = train("whole")
    accuracies = [entry["validation_accuracy"] for entry in whole.history]
    best = int(np.argmax(accuracies))  # the first of equals
    assert 0 < best < 15
    assert max(accuracies[best + 1 :]) == accuracies[best]  # a later one is as good
    np.testing.assert_array_equal(np.vstack([whole.weight, whole.bias]), course[2 * best + 1])
    with pytest.raises(Killed):  # in the 7th epoch; the 5th was saved
        train("killed", stop=13)
    again, rest = train("killed")
    np.testing.assert_array_equal(rest, course[10:])
    np.testing.assert_array_equal(again.weight, whole.weight)


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


def hopeless() -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Counts and labels that have nothing to do with each other, and as many held back."""
    stream = np.random.default_rng(1)
    counts, labels = stream.poisson(3.0, (240, 12)).astype(np.uint8), stream.integers(0, 4, 240)
    return counts[:120], labels[:120], (counts[120:], labels[120:])


def test_checkpoints_of_another_readout_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, labels, _ = hopeless()
    monkeypatch.setattr("nalsm.rules.readout.CHECKPOINT_EPOCHS", 1)
    train_adadelta(counts, labels, epochs=1, checkpoints=Checkpoints(tmp_path))
    with pytest.raises(UserError, match="the checkpoints belong to another readout"):
        train_adadelta(counts[:, :11], labels, epochs=2, checkpoints=Checkpoints(tmp_path))


def test_adadelta_evaluates_every_nth_and_the_last_epoch_however_many() -> None:
    counts, labels, held = hopeless()
    readout = train_adadelta(
        counts[:8, :3], labels[:8], classes=4, epochs=300, rho=0.0, validation=(held[0][:, :3], held[1]),
        evaluate_every=70,
    )  # fmt: skip
    assert [entry["epoch"] for entry in readout.history] == [69, 139, 209, 279, 299]


@pytest.mark.parametrize("begin", [0, 6, 12, 30, 90, 84])
def test_lbfgs_keeps_the_best_of_every_tenth_iterate_and_the_last(begin: int) -> None:
    """The first of equals, and the last only where it is better than all: iterates 10, 20, 34, 30, 20 and 10 here."""
    stream = np.random.default_rng(1)
    counts, labels = stream.poisson(3.0, (240, 40)).astype(np.uint8), stream.integers(0, 4, 240)
    held = counts[120 + begin : 126 + begin], labels[120 + begin : 126 + begin]
    counts, labels = counts[:120], labels[:120]
    iterates = {n: train_lbfgs(counts, labels, iterations=n) for n in (10, 20, 30, 34)}
    accuracies = {n: readout.accuracy(*held) for n, readout in iterates.items()}
    best = max(accuracies, key=lambda n: accuracies[n])
    found = train_lbfgs(counts, labels, iterations=34, validation=held)
    np.testing.assert_array_equal(found.weight, iterates[best].weight)


def test_lbfgs_ends_where_loss_and_penalty_have_no_slope() -> None:
    counts, labels = counts_and_labels()
    readout = train_lbfgs(counts, labels, l2=0.02)
    x = normalise(counts, readout.maximum).astype(np.float64)
    weight = readout.weight.astype(np.float64)
    p = np.exp(x @ weight + readout.bias)
    error = p / p.sum(1, keepdims=True) - np.eye(3)[labels]
    assert np.abs(weight).max() > 0.5
    np.testing.assert_allclose(x.T @ error / len(x) + 0.02 * weight, 0.0, atol=1e-5)
    np.testing.assert_allclose(error.mean(0), 0.0, atol=1e-5)


def test_loss_of_few_samples_and_of_a_silent_liquid() -> None:
    counts, labels = counts_and_labels(samples=20)
    weight = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    x = normalise(counts, 0.2)
    logits = torch.log_softmax(torch.from_numpy(x) @ weight, 1)
    value, _, _ = SoftmaxLoss(counts, soft_labels(labels, 3), 0.2)(weight, torch.zeros(3))
    assert value == pytest.approx(
        float(-(torch.tensor(soft_labels(labels, 3)) * logits).sum() / 20), rel=1e-5
    )
    silent, _, _ = SoftmaxLoss(np.zeros_like(counts), soft_labels(labels, 3), 0.0)(weight, torch.zeros(3))
    assert silent == pytest.approx(np.log(3))


def test_blocks_hold_two_million_numbers() -> None:
    assert [len(block) for block in row_blocks(np.zeros((3 << 20, 1), np.uint8))] == [1 << 21, 1 << 20]
    assert [len(block) for block in row_blocks(np.zeros((5, 0)))] == [5]
    assert [len(block) for block in row_blocks(np.zeros((3, 1 << 22), np.uint8))] == [1, 1, 1]


@pytest.mark.parametrize("maximum", [0.0, -1.0])
def test_a_maximum_that_cannot_divide_leaves_shares(maximum: float) -> None:
    counts, _ = counts_and_labels()
    np.testing.assert_array_equal(normalise(counts, maximum), shares(counts))
