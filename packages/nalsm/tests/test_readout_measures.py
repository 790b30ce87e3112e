"""Readouts and measures on data with known answers."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nalsm import (
    Config,
    Events,
    LinearReadout,
    LiquidNetwork,
    PlasticityParameters,
    RecursiveLeastSquares,
    Simulator,
    branching_factor,
    divergence,
    kernel_quality,
    kernel_rank,
    train_adadelta,
    train_lbfgs,
    train_ridge,
)
from nalsm.model.readout import normalise, shares, soft_labels
from nalsm.training.evaluation import _with_one_more
from nalsm_small import small_network
from reprokit import UserError


def clusters(samples: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return counts around three class patterns."""
    stream = np.random.default_rng(seed)
    labels = stream.integers(0, 3, samples)
    rates = np.random.default_rng(99).uniform(2, 20, (3, 30))
    return stream.poisson(rates[labels]), labels


@pytest.mark.parametrize(
    "train", [train_lbfgs, train_ridge, lambda c, y: train_adadelta(c, y, epochs=400, batch=10)]
)
def test_readouts_separate_clusters(train: object) -> None:
    counts, labels = clusters()
    readout = train(counts, labels)  # pyright: ignore
    test_counts, test_labels = clusters(seed=1)
    assert readout.accuracy(test_counts, test_labels) > 0.97
    assert readout.classes == 3


def test_accuracy_counts_equal_labels_alone() -> None:
    readout = LinearReadout(np.zeros((2, 3), np.float32), np.array([0, 1, 0], np.float32), np.float32(1))
    counts = np.ones((3, 2))
    assert readout.predict(counts).tolist() == [1, 1, 1]
    assert readout.accuracy(counts, np.array([0, 1, 2])) == pytest.approx(1 / 3)


def test_prediction_does_not_depend_on_batch_mates() -> None:
    counts, labels = clusters()
    readout = train_lbfgs(counts, labels)
    whole = readout.scores(counts)
    single = np.concatenate([readout.scores(row[None]) for row in counts[:20]])
    np.testing.assert_allclose(single, whole[:20], rtol=1e-5, atol=1e-6)


def test_silent_sample_gives_no_nan() -> None:
    """DEV-2: the original divides 0 by 0 and stays NaN forever."""
    counts, labels = clusters()
    counts[5] = 0
    assert np.isfinite(shares(counts)).all()
    for readout in (train_lbfgs(counts, labels), train_adadelta(counts, labels, epochs=5, batch=50)):
        assert np.isfinite(readout.weight).all()
        assert np.isfinite(readout.scores(np.zeros((1, 30)))).all()


def test_batch_maximum_is_the_originals() -> None:
    """DEV-6: faithful features depend on the batch, fixed ones do not."""
    counts, labels = clusters()
    fixed = train_adadelta(counts, labels, epochs=3, batch=50)
    faithful = train_adadelta(counts, labels, epochs=3, batch=50, batch_maximum=True)
    assert not np.allclose(fixed.weight, faithful.weight)
    assert normalise(counts[:50]).max() == 1.0


def test_soft_labels_are_the_originals() -> None:
    np.testing.assert_allclose(soft_labels(np.array([2]), 10)[0, [2, 3]], [0.4509, 0.0610], atol=1e-4)


@pytest.mark.parametrize(
    ("counts", "labels", "message"),
    [
        (np.zeros((4, 3)), np.array([0, 1, 0, 1]), "silent"),
        (np.ones((4, 3)), np.zeros(4, int), "at least two classes"),
        (np.ones((4, 3)), np.array([0, 1, -1, 1]), "labels range from -1"),
        (np.ones((4, 3)), np.array([0, 1]), "shape"),
        (np.zeros((0, 3)), np.zeros(0, int), "no training samples"),
        (np.ones((4, 3)), np.array([0.0, 1.0, 0.0, 1.0]), "labels have dtype float64; give whole numbers"),
        (np.ones((4, 3)), np.array([False, True, True, False]), "labels have dtype bool"),
        (
            np.array([[1.0, 2], [3, 4], [np.nan, 1]]),
            np.array([0, 1, 0]),
            "counts of sample 2 are negative or not",
        ),
        (np.array([[1.0, 2], [3, np.inf]]), np.array([0, 1]), "counts of sample 1 are negative or not"),
        (np.array([[-1, 2], [3, 4]]), np.array([0, 1]), "counts of sample 0 are negative or not"),
        (np.array([["a"], ["b"]]), np.array([0, 1]), "counts have dtype <U1"),
    ],
)
def test_bad_training_data_is_named(counts: np.ndarray, labels: np.ndarray, message: str) -> None:
    for train in (train_lbfgs, train_ridge, train_adadelta):
        with pytest.raises(UserError, match=message):
            train(counts, labels)


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        (train_ridge, {"l2": -1.0}, "l2 is -1"),
        (train_ridge, {"l2": float("nan")}, "l2 is nan"),
        (train_ridge, {"l2": -1e-9}, "l2 is -1e-09"),
        (train_lbfgs, {"l2": -1e-9}, "l2 is -1e-09"),
        (train_adadelta, {"l2": -1e-9}, "l2 is -1e-09"),
        (train_ridge, {"sample_weight": np.ones(3)}, "sample_weight has shape"),
        (train_lbfgs, {"sample_weight": -np.ones(300)}, "sample_weight must hold"),
        (train_lbfgs, {"sample_weight": np.append(-1e-9, np.ones(299))}, "sample_weight must hold"),
        (train_lbfgs, {"sample_weight": np.zeros(300)}, "sample_weight must hold"),
        (train_lbfgs, {"iterations": 0}, "iterations is 0"),
        (train_lbfgs, {"threads": 0}, "threads is 0"),
        (train_lbfgs, {"validation": (np.ones((2, 3)), np.array([0, 1]))}, "validation counts have shape"),
        (
            train_lbfgs,
            {"validation": (np.ones((1, 30)), np.array([3]))},
            "validation labels must be whole numbers from 0 to 2",
        ),
        (train_adadelta, {"epochs": 2.5}, "epochs is 2.5"),
        (train_adadelta, {"batch": 0}, "batch is 0"),
        (train_adadelta, {"learning_rate": 0.0}, "learning_rate is 0"),
        (train_adadelta, {"rho": 1.0}, "rho is 1"),
        (
            train_adadelta,
            {"on_step": lambda weight, _: weight.fill_(torch.inf)},
            "not finite after epoch 1; lower learning_rate",
        ),
    ],
)
def test_bad_settings_of_readouts_are_named(train: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(*clusters(), **options)


def test_ridge_without_penalty_is_refused() -> None:
    """Shares of a sample add up to 1, so the equations do not have a unique solution."""
    counts, labels = clusters()
    for samples in (300, 20):
        with pytest.raises(UserError, match="l2 is 0 and the 30 features are linearly dependent"):
            train_ridge(counts[:samples], labels[:samples], l2=0.0)


def test_readouts_refuse_what_they_cannot_score() -> None:
    readout = train_ridge(*clusters())
    for counts, message in (
        (np.ones((2, 29)), r"counts have shape \(2, 29\); this readout takes \(sample, 30\)"),
        (np.full((2, 30), np.nan), "counts of sample 0"),
        (-np.ones((1, 30)), "counts of sample 0"),
    ):
        with pytest.raises(UserError, match=message):
            readout.predict(counts)
    half = clusters()[0].astype(np.float16)  # sums beyond 65504 must not overflow
    np.testing.assert_array_equal(readout.predict(half * 100), readout.predict(half.astype(np.float64) * 100))
    with pytest.raises(UserError, match="weights are not finite"):
        LinearReadout(np.full((3, 2), np.nan, np.float32), np.zeros(2, np.float32), 1.0)
    with pytest.raises(UserError, match=r"weight has shape \(3, 2\) and bias \(3,\)"):
        LinearReadout(np.zeros((3, 2), np.float32), np.zeros(3, np.float32), 1.0)


def chain(length: int) -> LiquidNetwork:
    """Return neurons wired in a line, each to the next."""
    pre = np.arange(length - 1, dtype=np.int32)
    return LiquidNetwork(
        pre + 1, pre, np.ones(length - 1, np.int8), np.zeros((3, length), np.int16), length, 0, 0
    )


def test_branching_factor_of_a_travelling_spike_is_one() -> None:
    raster = np.zeros((2, 120, 62), np.uint8)
    for k in range(62):
        raster[:, 29 + k, k] = 1
    result = branching_factor(raster, chain(62))
    assert result.events[0, :62].sum() == 62
    np.testing.assert_allclose(result.per_neuron[0, :61], 1.0)
    assert result.per_neuron[0, 61] == 0  # the last of the line has no descendants


def test_branching_factor_of_a_silent_recording_is_nan() -> None:
    with np.errstate(all="ignore"):
        assert np.isnan(branching_factor(np.zeros((1, 120, 10), np.uint8), chain(10)).value)
    one_of_two = np.zeros((2, 120, 10), np.uint8)
    one_of_two[0, [40, 41, 50], [2, 3, 7]] = 1
    result = branching_factor(one_of_two, chain(10))
    assert np.isnan(result.per_sample[1])
    assert result.value == result.per_sample[0] > 0  # the other sample counts, as in the original
    with pytest.raises(UserError, match="recordings last 40 ms"):
        branching_factor(np.zeros((1, 40, 10), np.uint8), chain(10))


def test_kernel_quality_of_noise_and_of_copies() -> None:
    stream = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 20)
    copies = np.repeat(stream.poisson(9, (10, 60)), 20, axis=0)
    free = stream.poisson(9, (200, 60))
    quality = kernel_quality(free, copies, labels, per_class=5, repetitions=3)
    assert quality.separation == 50
    assert quality.approximation == 10
    assert quality.difference == 40
    with pytest.raises(UserError, match="class 0 has 20 samples"):
        kernel_quality(free, copies, labels, per_class=21, repetitions=1)


def rank_modulo(matrix: np.ndarray, prime: int = 2_147_483_629) -> int:
    """Return the rank of an integer matrix by elimination modulo a prime, without rounding."""
    rest, rank = matrix.astype(np.int64) % prime, 0
    for column in range(rest.shape[1]):
        rows = np.flatnonzero(rest[rank:, column])
        if not len(rows):
            continue
        rest[[rank, rank + rows[0]]] = rest[[rank + rows[0], rank]]
        rest[rank] = rest[rank] * pow(int(rest[rank, column]), -1, prime) % prime
        rest[rank + 1 :] = (rest[rank + 1 :] - rest[rank + 1 :, column, None] * rest[rank] % prime) % prime
        rank += 1
    return rank


def test_kernel_rank_is_exact_in_double_precision_and_the_originals_in_single() -> None:
    """DEV-10: spike counts of full rank 1000, of which the original's precision loses some."""
    stream = np.random.default_rng(3)
    counts = stream.poisson(stream.gamma(2.0, 6.0, (1000, 1)) * stream.gamma(2.0, 1.0, 1000)).astype(np.uint8)
    rows = np.arange(1000)[None]
    assert kernel_rank(counts, rows) == [1000]
    assert kernel_rank(counts.astype(np.float32), rows, exact=True) == [1000]
    lost = kernel_rank(counts, rows, exact=False)
    assert 900 < lost[0] < 1000
    assert (
        kernel_rank(counts.astype(np.float32), rows) == lost
    )  # as they are handed over by the original's arrays


@pytest.mark.parametrize("full", [40, 97, 120])
def test_kernel_rank_equals_elimination_in_whole_numbers(full: int) -> None:
    stream = np.random.default_rng(full)
    counts = stream.poisson(1.0, (150, full)) @ stream.poisson(
        1.0, (full, 120)
    )  # of rank `full`, without rounding
    assert counts.max() < 1000
    assert rank_modulo(counts) == full
    assert kernel_rank(counts, np.arange(150)[None]) == [full]


def test_kernel_quality_takes_100_samples_of_each_class() -> None:
    """Every sample is needed: 2 classes of 100, each sample with its own vector."""
    counts, labels = np.eye(200), np.arange(200) % 2
    assert kernel_quality(counts, counts, labels, repetitions=1).separation == 200
    with pytest.raises(UserError, match="class 0 has 99 samples; 100 are needed"):
        kernel_quality(counts[2:], counts[2:], labels[2:], repetitions=1)


def test_same_samples_for_separation_and_approximation() -> None:
    """DEV-9: with the same choice of samples SP - AP of equal data is exactly 0; the original chooses twice."""
    stream = np.random.default_rng(1)
    labels = np.repeat(np.arange(4), 30)
    counts = stream.poisson(0.05, (120, 40))  # sparse: the rank depends on the choice
    same = kernel_quality(counts, counts, labels, per_class=8, repetitions=5)
    twice = kernel_quality(counts, counts, labels, per_class=8, repetitions=5, same_selection=False)
    assert same.difference == 0.0
    assert twice.separation == same.separation
    assert twice.difference != 0.0


def test_lbfgs_gets_lower_than_adadelta_on_soft_labels() -> None:
    """DEV-7: L-BFGS minimises the same loss as the original's Adadelta, and reaches a lower one in fewer passes."""
    counts, labels = clusters()

    def loss(readout: LinearReadout) -> float:
        scores = readout.scores(counts)
        log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        return float(-(soft_labels(labels, 3) * log_p).sum(1).mean())

    ours = train_lbfgs(counts, labels, soft=True, l2=5e-10, iterations=100)
    theirs = train_adadelta(counts, labels, epochs=300, batch=len(counts))
    assert Config().readout == "lbfgs"
    assert loss(ours) < loss(theirs)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 12))
def test_shares_are_shares(seed: int, samples: int, neurons: int) -> None:
    counts = np.random.default_rng(seed).poisson(0.7, (samples, neurons))
    x = shares(counts)
    assert x.min() >= 0
    np.testing.assert_allclose(x.sum(1), (counts.sum(1) > 0).astype(float), atol=1e-6)
    assert normalise(counts).max(initial=0) in (0.0, 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r, n: branching_factor(3 * r, n), "raster ranges from 0 to 3"),
        (lambda r, n: branching_factor(r[0], n), "raster has shape"),
        (lambda r, n: branching_factor(r[:, :, :9], n), "raster has shape"),
        (lambda r, n: branching_factor(np.full(r.shape, np.nan), n), "raster ranges from nan"),
        (lambda r, n: branching_factor(r, n, step=0), "step is 0"),
        (lambda r, n: branching_factor(r, n, step=2.5), "step is 2.5"),
        (lambda r, n: branching_factor(r, n, buffer=-5), "buffer is -5"),
        (lambda r, n: divergence(r[0], r[0, :5]), "the runs have shapes"),
        (lambda r, n: divergence(r[0], r[0], window=0), "window is 0"),
        (lambda r, n: kernel_rank(r[0], np.array([0, 1])), "give .sample, neuron. and whole numbers"),
        (lambda r, n: kernel_rank(r[0], np.array([[0.0, 1.0]])), "float64; give|of float64"),
        (lambda r, n: kernel_rank(r[0], np.array([[0, 120]])), "selection ranges from 0 to 120"),
        (lambda r, n: kernel_rank(r[0] * np.nan, np.array([[0, 1]])), "counts of sample 0"),
        (lambda r, n: kernel_quality(r[0], r[0][:3], np.arange(120)), "noisy ones"),
        (lambda r, n: kernel_quality(r[0], r[0], np.arange(120) % 2, repetitions=0), "repetitions is 0"),
        (lambda r, n: kernel_quality(r[0], r[0], np.arange(120) % 2, per_class=0), "per_class is 0"),
    ],
)
def test_measures_refuse_nonsense(call: Any, message: str) -> None:
    raster = (np.random.default_rng(0).random((2, 120, 64)) < 0.1).astype(np.uint8)
    with pytest.raises(UserError, match=message):
        call(raster, small_network())


def test_divergence_of_equal_runs_is_zero_and_decays_after_a_flip() -> None:
    raster = np.random.default_rng(0).integers(0, 2, (50, small_network().liquid))
    changed = raster.copy()
    changed[10, 3] ^= 1
    assert not divergence(raster, raster).any()
    distance = divergence(raster, changed)
    assert distance[9] == 0
    assert distance[10] == 1
    assert distance[20] == pytest.approx(np.exp(-1.0))


def test_divergence_adds_one_input_spike_to_every_sample() -> None:
    network = small_network()
    stream = np.random.default_rng(2)
    raster = (stream.random((6, 40, 60)) < 0.1).astype(np.uint8)
    changed = _with_one_more(raster, 30, network)
    runs = [
        Simulator(network).present_independent(
            Events.from_raster(r), network.start_weights(1.0), PlasticityParameters(), duration=60, record=True
        ).raster[:, :, network.liquid :]  # pyright: ignore
        for r in (raster, changed)
    ]  # fmt: skip
    more = runs[1].astype(int) - runs[0]
    assert (more.sum((1, 2)) == 1).all()
    assert (more[:, 31].sum(1) == 1).all()


def defaults(callable_: Any) -> dict[str, Any]:
    """Arguments that have a default other than None."""
    parameters = inspect.signature(callable_).parameters.values()
    return {p.name: p.default for p in parameters if p.default not in (inspect.Parameter.empty, None)}


def test_defaults_are_the_originals_or_the_documented_ones() -> None:
    original = {"epochs": 5000, "batch": 250, "learning_rate": 0.1, "rho": 0.95, "epsilon": 1e-8, "l2": 5e-10}
    assert defaults(train_adadelta) == original | {"batch_maximum": False, "evaluate_every": 1}
    assert defaults(train_lbfgs) == {"l2": 1e-6, "soft": False, "iterations": 300, "threads": 1}
    assert defaults(train_ridge) == {"l2": 1.0}
    assert defaults(RecursiveLeastSquares) == {"l2": 1.0, "forgetting": 1.0}
    assert defaults(kernel_quality)["per_class"] == 100
