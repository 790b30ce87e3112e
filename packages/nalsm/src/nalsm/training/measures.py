"""Criticality and computation of a liquid: branching factor, kernel quality, divergence of two runs.

Branching factor (Ivanov & Michmizos 2021): for each spike of a liquid neuron at t,
ancestors a are the spikes of its presynaptic liquid partners in [t - dt, t - 1], descendants d those of its
postsynaptic partners in [t + 1, t + dt]; the factor is the mean of d / max(a, 1) over the spikes of a neuron,
then over neurons, then over samples.

This factor is not a branching ratio. It counts partners that fire, not spikes that are caused: uncoupled
neurons that fire at random at the rate of a liquid give the same number (1.22 at 28 Hz in 1000 neurons). It
depends on rate, in-degree and window, and 1 is not a critical point. `nalsm.training.criticality` has a
surrogate for comparison and an estimate of the ratio itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from reprokit import UserError
from scipy.sparse import csr_matrix

from nalsm.checks import real, whole
from nalsm.model.network import LiquidNetwork
from nalsm.model.readout import check_counts

BUFFER = 25  # milliseconds ignored at both ends of a recording


@dataclass
class Branching:
    """Result of `branching_factor`.

    Attributes:
        value: mean over the samples with counted spikes; NaN if there are none.
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
    raster: np.ndarray, network: LiquidNetwork, *, step: int = 4, buffer: int = BUFFER
) -> Branching:
    """Return the branching factor of recorded spikes, as the original program defines it.

    It reflects rate and wiring: compare it with that of `shuffled(raster)`, which has no causation.
    `branching_ratio` estimates the ratio of a branching process.

    Args:
        raster: 0/1 (sample, millisecond, neuron); neurons beyond the liquid are ignored.
        network: the wiring.
        step: window dt, ms.
        buffer: milliseconds ignored at both ends.

    Raises:
        UserError: if raster is not a recording of this liquid or too short for the buffers, or step or buffer
            is out of range.
    """
    if raster.ndim != 3 or raster.shape[2] < network.liquid:
        raise UserError(
            f"raster has shape {raster.shape}; give (sample, millisecond, neuron) of {network.liquid} neurons or more."
        )
    if raster.size and not (raster.min() >= 0 and raster.max() <= 1):
        raise UserError(
            f"raster ranges from {raster.min()} to {raster.max()}; give 1 for a spike and 0 for none."
        )
    step, buffer = whole("step", step, 1, unit=" ms"), whole("buffer", buffer, 0, unit=" ms")
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
        UserError: if a class has too few samples, or per_class is below 1.
    """
    per_class = whole("per_class", per_class, 1)
    chosen = []
    for label in np.unique(labels):
        rows = np.nonzero(labels == label)[0]
        if len(rows) < per_class:
            raise UserError(f"class {label} has {len(rows)} samples; {per_class} are needed.")
        chosen.append(stream.permutation(rows)[:per_class])
    return np.concatenate(chosen)


def kernel_rank(counts: np.ndarray, selection: np.ndarray, *, exact: bool | None = None) -> np.ndarray:
    """Return the matrix rank of the chosen spike counts, int64 (repetition,).

    The rank is the number of singular values above s_max * max(shape) * eps. In double precision eps is
    2.2e-16, and integer counts give their true rank. The original computes in single precision, where the
    limit, about 1 for 1000 samples, cuts off small singular values of full-rank matrices: 994 instead of 1000 (DEV-10).

    Args:
        counts: (sample, neuron) spike counts.
        selection: int (repetition, chosen), rows of each repetition.
        exact: double precision, or single precision as in the original; None: single for counts in float32 or
            float16, double for all others.

    Raises:
        UserError: if counts are negative or not finite, or selection does not contain row numbers.
    """
    counts, selection = np.asarray(counts), np.asarray(selection)
    if counts.ndim != 2 or selection.ndim != 2 or selection.dtype.kind not in "iu":
        raise UserError(
            f"counts have shape {counts.shape} and selection {selection.shape} of {selection.dtype}; give (sample, "
            "neuron) and whole numbers (repetition, chosen)."
        )
    check_counts(counts)
    if selection.size and not (selection.min() >= 0 and selection.max() < len(counts)):
        raise UserError(
            f"selection ranges from {selection.min()} to {selection.max()}; allowed is 0 to {len(counts) - 1}."
        )
    single = counts.dtype in (np.float32, np.float16) if exact is None else not exact
    matrix = counts.astype(np.float32 if single else np.float64)
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
    exact: bool | None = None,
) -> KernelQuality:
    """Return SP and AP from spike counts of clean and noisy test samples.

    Args:
        clean: (sample, neuron) spike counts.
        noisy: the same samples with noise.
        labels: int (sample,).
        per_class: number of samples chosen from each class.
        repetitions: number of random choices to average over.
        seed: seed of the choices.
        same_selection: use the same samples for both; the original chooses again (DEV-9), which adds noise to
            SP - AP.
        exact: precision of the ranks, see `kernel_rank` (DEV-10).

    Raises:
        UserError: if shapes or labels do not fit, or per_class or repetitions is below 1 or too large.
    """
    labels = np.asarray(labels)
    if clean.shape != noisy.shape or labels.shape != clean.shape[:1]:
        raise UserError(
            f"clean counts have shape {clean.shape}, noisy ones {noisy.shape} and labels {labels.shape}; give the same "
            "samples three times."
        )
    repetitions = whole("repetitions", repetitions, 1)
    stream = np.random.default_rng(seed)
    first = np.stack([choose_per_class(labels, per_class, stream) for _ in range(repetitions)])
    second = first
    if not same_selection:
        second = np.stack([choose_per_class(labels, per_class, stream) for _ in range(repetitions)])
    ranks = [kernel_rank(clean, first, exact=exact), kernel_rank(noisy, second, exact=exact)]
    return KernelQuality(*(float(rank.mean()) for rank in ranks))


def divergence(raster: np.ndarray, other: np.ndarray, *, window: float = 10) -> np.ndarray:
    """Return the distance of two runs over time (our own measure; the paper has no such figure).

    d(t) = sum over neurons of |low-passed S - low-passed S'|, an exponential window of `window` ms. Two runs
    that differ by one spike diverge (chaotic) or return (ordered).

    Args:
        raster: 0/1 (millisecond, neuron).
        other: 0/1 (millisecond, neuron).
        window: time constant, ms.

    Raises:
        UserError: if the recordings differ in shape, or window is not above 0.
    """
    if raster.ndim != 2 or raster.shape != other.shape:
        raise UserError(
            f"the runs have shapes {raster.shape} and {other.shape}; give two of (millisecond, neuron)."
        )
    window = real("window", window, above=0.0, unit=" ms")
    difference = raster.astype(np.float64) - other.astype(np.float64)
    decay = np.exp(-1.0 / window)
    filtered = np.zeros(difference.shape[1])
    distance = np.zeros(len(difference))
    for t, row in enumerate(difference):
        filtered = decay * filtered + row
        distance[t] = np.abs(filtered).sum()
    return distance
