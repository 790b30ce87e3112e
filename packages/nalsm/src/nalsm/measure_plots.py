"""Figures of the measures: confusion of classes, branching factor, kernel quality, divergence (extra `plot`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nalsm.plots import pyplot, save_figure
from nalsm.training.measures import Branching, KernelQuality

BLUE, RED = "#2166ac", "#b2182b"


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int, file: Path) -> Path:
    """Draw which classes are taken for which, in per cent of the samples of a class."""
    table = np.zeros((classes, classes))
    np.add.at(table, (labels, predicted), 1.0)
    share = 100.0 * table / np.maximum(table.sum(1, keepdims=True), 1.0)
    figure, axis = pyplot().subplots(figsize=(5.5, 4.8), layout="constrained")
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
    if classes <= 20:
        axis.set(xticks=range(classes), yticks=range(classes))
        for row, column in np.argwhere(share >= 0.05):
            value = share[row, column]
            colour = "white" if value > 60 else "black"
            axis.text(column, row, f"{value:.1f}", ha="center", va="center", size=7, color=colour)
    accuracy = 100.0 * float(np.mean(labels == predicted))
    axis.set(xlabel="predicted class", ylabel="class", title=f"test set: {accuracy:.2f} % right")
    figure.colorbar(image, label="% of the class")
    return save_figure(figure, file)


def branching(measured: Mapping[str, Branching], file: Path) -> Path:
    """Draw the branching factors of samples, and of neurons, of each split."""
    figure, (left, right) = pyplot().subplots(
        1, 2, figsize=(9, 3.5), layout="constrained", gridspec_kw={"width_ratios": [1, 2]}
    )
    for place, ((split, result), colour) in enumerate(zip(measured.items(), (RED, BLUE), strict=False)):
        points = result.per_sample
        spread = np.linspace(-0.15, 0.15, len(points))
        left.plot(place + spread, points, "o", ms=3, color=colour, alpha=0.6)
        left.plot([place - 0.3, place + 0.3], [result.value] * 2, color=colour, lw=2)
        neurons = result.per_neuron[np.isfinite(result.per_neuron)]
        label = f"{split}: {result.value:.3f}"
        right.hist(neurons, np.linspace(0, 4, 61), histtype="step", color=colour, label=label)
    left.axhline(1, color="0.7", lw=0.8, zorder=0)
    left.set(ylabel="branching factor of a sample", xticks=range(len(measured)), xticklabels=list(measured))
    left.margins(x=0.3)
    right.axvline(1, color="0.7", lw=0.8, zorder=0)
    right.set(xlabel="branching factor of a neuron in a sample", ylabel="neurons and samples")
    right.legend(frameon=False, title="mean over samples")
    return save_figure(figure, file)


def kernel(clean: np.ndarray, noisy: np.ndarray, quality: KernelQuality, file: Path) -> Path:
    """Draw the singular values of the counts of one choice of samples; the rank is their number above rounding."""
    figure, axis = pyplot().subplots(figsize=(6, 4), layout="constrained")
    for counts, colour, name, rank in (
        (clean, BLUE, "SP, clean", quality.separation),
        (noisy, RED, "AP, with noise", quality.approximation),
    ):
        values = np.linalg.svd(counts.astype(np.float32), compute_uv=False)
        values = values[values > values[0] * max(counts.shape) * np.finfo(np.float32).eps]
        axis.semilogy(np.arange(1, len(values) + 1), values, color=colour, label=f"{name}: {rank:.1f}")
        axis.axvline(rank, color=colour, lw=0.8, ls=":")
    axis.set(xlabel="number", ylabel="singular value", title=f"SP - AP = {quality.difference:.1f}")
    axis.legend(frameon=False, title="mean rank")
    return save_figure(figure, file)


def divergence(distances: np.ndarray, flip: int, file: Path) -> Path:
    """Draw the distance of two runs that differ by one input spike at `flip`, (sample, millisecond)."""
    figure, axis = pyplot().subplots(figsize=(6.5, 3.5), layout="constrained")
    time = np.arange(distances.shape[1])
    axis.plot(time, distances.T, color="0.8", lw=0.6)
    axis.plot(time, distances.mean(0), color=RED, label=f"mean of {len(distances)} samples")
    axis.axvline(flip, color=BLUE, lw=0.8, ls=":", label="one input spike added")
    axis.set(xlabel="time (ms)", ylabel="distance (spikes)", xlim=(max(flip - 20, 0), len(time) - 1))
    axis.legend(frameon=False, loc="upper left")
    return save_figure(figure, file)
