"""Criticality and computation of a liquid: branching factor, kernel quality, divergence of two runs.

Branching factor (Ivanov & Michmizos 2021): for each spike of a liquid neuron at t,
ancestors a are the spikes of its presynaptic liquid partners in [t - dt, t - 1], descendants d those of its
postsynaptic partners in [t + 1, t + dt]; the factor is the mean of d / max(a, 1) over the spikes of a neuron,
then over neurons, then over samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from reprokit import UserError
from scipy.sparse import csr_matrix

from nalsm.model.network import LiquidNetwork


@dataclass
class Branching:
    """Result of `branching_factor`.

    Attributes:
        value: mean over the samples with counted spikes; NaN where there are none.
        per_sample: float64 (sample,), mean over neurons that fired; NaN for a sample without counted spikes.
        per_neuron: float64 (sample, liquid), NaN for a neuron without counted spikes.
        events: int64 (sample, liquid), counted spikes.
        ancestors, descendants: float64 (sample, liquid), sums of max(a, 1) and of d.
    """

    value: float
    per_sample: np.ndarray
    per_neuron: np.ndarray
    events: np.ndarray
    ancestors: np.ndarray
    descendants: np.ndarray


def branching_factor(
    raster: np.ndarray, network: LiquidNetwork, *, step: int = 4, buffer: int = 25
) -> Branching:
    """Return the branching factor of recorded spikes.

    Args:
        raster: 0/1 (sample, millisecond, neuron); neurons beyond the liquid are ignored.
        network: the wiring.
        step: window dt, ms.
        buffer: milliseconds ignored at both ends.

    Raises:
        UserError: where the recording is too short for the buffers.
    """
    duration = raster.shape[1]
    begin, end = buffer + step, duration - buffer - step
    if end <= begin:
        raise UserError(f"recordings last {duration} ms; more than {2 * (buffer + step)} ms are needed.")
    spikes = raster[:, :, : network.liquid].astype(np.float64)
    spikes[:, :buffer] = 0.0
    spikes[:, duration - buffer :] = 0.0
    inside = (network.post < network.liquid) & (network.pre < network.liquid)
    post, pre = network.post[inside], network.pre[inside]
    size = (network.liquid, network.liquid)
    incoming = csr_matrix((np.ones(len(post)), (post, pre)), shape=size)
    shape = (len(spikes), network.liquid)
    events = np.zeros(shape, np.int64)
    ancestors, descendants, ratios = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for k, sample in enumerate(spikes):
        total = np.concatenate([np.zeros((1, network.liquid)), np.cumsum(sample, axis=0)])
        t = np.arange(begin, end)
        before = (incoming @ (total[t] - total[t - step]).T).T
        after = (incoming.T @ (total[t + step + 1] - total[t + 1]).T).T
        fired = sample[begin:end] > 0
        clipped = np.maximum(before, 1.0)
        events[k] = fired.sum(0)
        ancestors[k] = (clipped * fired).sum(0)
        descendants[k] = (after * fired).sum(0)
        ratios[k] = (after / clipped * fired).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        per_neuron = ratios / events
    per_sample = np.array([_mean_of_finite(row) for row in per_neuron])
    return Branching(_mean_of_finite(per_sample), per_sample, per_neuron, events, ancestors, descendants)


def _mean_of_finite(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def choose_per_class(labels: np.ndarray, per_class: int, stream: np.random.Generator) -> np.ndarray:
    """Return row indices with `per_class` random samples of every class.

    Raises:
        UserError: where a class has too few samples.
    """
    chosen = []
    for label in np.unique(labels):
        rows = np.nonzero(labels == label)[0]
        if len(rows) < per_class:
            raise UserError(f"class {label} has {len(rows)} samples; {per_class} are needed.")
        chosen.append(stream.permutation(rows)[:per_class])
    return np.concatenate(chosen)


def kernel_rank(counts: np.ndarray, selection: np.ndarray) -> np.ndarray:
    """Return the matrix rank of the chosen spike counts, int64 (repetition,).

    Args:
        counts: (sample, neuron) spike counts.
        selection: int (repetition, chosen), rows of each repetition.
    """
    matrix = np.asarray(counts, np.float32)
    return np.array([np.linalg.matrix_rank(matrix[rows].T) for rows in selection], dtype=np.int64)


@dataclass
class KernelQuality:
    """Separation and generalisation of a liquid, as mean matrix ranks.

    Attributes:
        separation: SP, mean rank on clean test data; higher separates more.
        approximation: AP, mean rank on noisy test data; lower generalises better.
    """

    separation: float
    approximation: float

    @property
    def difference(self) -> float:
        """SP - AP; larger is better."""
        return self.separation - self.approximation


def kernel_quality(
    clean: np.ndarray,
    noisy: np.ndarray,
    labels: np.ndarray,
    *,
    per_class: int = 100,
    repetitions: int = 1000,
    seed: int = 0,
    same_selection: bool = True,
) -> KernelQuality:
    """Return SP and AP from spike counts of clean and noisy test samples.

    Args:
        clean: (sample, neuron) spike counts.
        noisy: the same samples with noise.
        labels: int (sample,).
        per_class: samples chosen of each class.
        repetitions: random choices averaged over.
        seed: of the choices.
        same_selection: use the same samples for both; the original chooses anew (DEV-9), which adds noise to
            SP - AP.
    """
    stream = np.random.default_rng(seed)
    first = np.stack([choose_per_class(labels, per_class, stream) for _ in range(repetitions)])
    second = first
    if not same_selection:
        second = np.stack([choose_per_class(labels, per_class, stream) for _ in range(repetitions)])
    return KernelQuality(float(kernel_rank(clean, first).mean()), float(kernel_rank(noisy, second).mean()))


def divergence(raster: np.ndarray, other: np.ndarray, *, window: int = 10) -> np.ndarray:
    """Return the distance of two runs over time (ours; the paper publishes no such figure).

    d(t) = sum over neurons of |low-passed S - low-passed S'|, an exponential window of `window` ms. Two runs
    that differ by one spike diverge (chaotic) or return (ordered).

    Args:
        raster: 0/1 (millisecond, neuron).
        other: likewise.
        window: time constant, ms.
    """
    difference = raster.astype(np.float64) - other.astype(np.float64)
    decay = np.exp(-1.0 / window)
    filtered = np.zeros(difference.shape[1])
    distance = np.zeros(len(difference))
    for t, row in enumerate(difference):
        filtered = decay * filtered + row
        distance[t] = np.abs(filtered).sum()
    return distance
