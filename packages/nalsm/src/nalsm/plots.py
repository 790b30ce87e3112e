"""Figures of a run (raster, rates, weights before and after, learning rates, layout) and of its measures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from reprokit.plots import colour, new_figure, save_figure, style

from nalsm.model.network import LiquidNetwork
from nalsm.names import Measure
from nalsm.training.measures import Branching, KernelQuality
from nalsm.training.runs import FinishedRun, open_run

Format = Literal["png", "pdf", "svg"]
MANY, MEAN = "0.8", colour("nalsm")  # line widths of single samples, and of their mean


@style()
def plot_run(run: str | Path, out: str | Path | None = None, kind: Format = "png") -> list[Path]:
    """Draw every figure of a run, with its numbers as .csv, and return the files.

    Args:
        run: run directory.
        out: folder; None: the run directory.
        kind: format of the figures.

    Raises:
        UserError: if the run is not initialised or damaged, or matplotlib is missing.
    """
    opened = open_run(run)
    folder = opened.path if out is None else Path(out)
    # read everything before writing anything
    spikes = opened.raster() if opened.has("raster.npy") else None
    depression = opened.depression() if opened.has("depression.npy") else None
    counts = opened.features("test")[0] if opened.has("features_test.npy") else None
    files = [*_weights(opened, folder / f"weights.{kind}"), *_layout(opened, folder / f"layout.{kind}")]
    if spikes is not None:
        files += _raster(opened, spikes[0], folder / f"raster.{kind}")
    if depression is not None and opened.config.plasticity("sample").rule != "none":
        files += _rates(opened, depression, folder / f"learning_rates.{kind}")
    if counts is not None:
        files += _histogram(opened, counts, folder / f"rates.{kind}")
    return files


@style()
def draw_measure(what: Measure, detail: Mapping[str, Any], file: Path) -> list[Path]:
    """Draw the detail of one measure (`nalsm.training.evaluation.Measured`) and return the files."""
    draw = {"accuracy": _confusion, "branching": _branching, "kernel": _kernel, "divergence": _divergence}
    return draw[what](**detail, file=file)


def _kinds(network: LiquidNetwork) -> dict[str, tuple[int, int]]:
    """First neuron and the one after the last, for each kind."""
    return {
        "excitatory": (0, network.excitatory),
        "inhibitory": (network.excitatory, network.liquid),
        "input": (network.liquid, network.neurons),
    }


def _raster(run: FinishedRun, spikes: np.ndarray, file: Path) -> list[Path]:
    figure, (top, bottom) = new_figure(
        2, width="page", height=5.0, sharex=True, gridspec_kw={"height_ratios": [4, 1]}
    )
    # area in points^2: visible without overlapping
    mark = float(np.clip(2500.0 / run.network.neurons, 0.5, 6.0))
    table = []
    for name, (begin, end) in _kinds(run.network).items():
        time, neuron = np.nonzero(spikes[:, begin:end])
        top.scatter(time, neuron + begin, s=mark, lw=0, color=colour(name), label=name)
        bottom.plot(spikes[:, begin:end].mean(1) * 1000, color=colour(name))
        table += [{"ms": t, "neuron": n, "kind": name} for t, n in zip(time, neuron + begin, strict=True)]
    top.set(ylabel="neuron", title=f"{run.config.model} on {run.config.data}: spikes of one test sample")
    top.set(ylim=(-1, run.network.neurons), xlim=(0, len(spikes)))
    for handle in top.legend(loc="upper right", frameon=True).legend_handles:
        handle.set_sizes([15])  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    bottom.set(xlabel="time (ms)", ylabel="rate (Hz)")
    return save_figure(figure, file, table=table)


def _weights(run: FinishedRun, file: Path) -> list[Path]:
    pre = run.network.pre[run.network.active]
    start = run.network.start_weights(run.config.start_weight)
    figure, axes = new_figure(1, 3, width="page")
    limit = 1.02 * max(run.config.max_weight, run.config.start_weight)
    sides = ((0.0, limit), (-limit, 0.0), (-limit, limit))
    table = []
    for axis, (name, (begin, end)), (low, high) in zip(axes, _kinds(run.network).items(), sides, strict=True):
        chosen, bins = (pre >= begin) & (pre < end), np.linspace(low, high, 52).tolist()
        before, *_ = axis.hist(start[chosen], bins, color="0.75", label="before")
        after, *_ = axis.hist(
            run.weights[chosen], bins, histtype="step", color=colour(name), lw=1.5, label="after"
        )
        axis.set(title=f"{name} synapses ({chosen.sum()})", xlabel="weight", yscale="log")
        axis.legend(loc="upper right")
        table += [
            {"kind": name, "from": a, "to": b, "before": int(m), "after": int(n)}
            for a, b, m, n in zip(bins[:-1], bins[1:], before, after, strict=True)  # pyright: ignore[reportArgumentType]
        ]
    axes[0].set_ylabel("synapses")
    return save_figure(figure, file, table=table)


def _rates(run: FinishedRun, depression: np.ndarray, file: Path) -> list[Path]:
    figure, (axis,) = new_figure()
    time = np.arange(depression.shape[1])
    axis.plot(time, depression.T, color=MANY, lw=0.6)
    label = "astrocyte = depression rate" if run.config.model == "nalsm" else "depression rate"
    mean = depression.mean(0)
    axis.plot(time, mean, color=MEAN, label=f"{label}, mean of {len(depression)}")
    potentiation = run.config.rate * run.config.rate_decay ** (time + 1)
    axis.plot(time, potentiation, color=colour("stdp"), label="potentiation rate")
    axis.set(xlabel="time (ms)", ylabel="learning rate")
    axis.legend(loc="upper right")
    rows = zip(time, mean, potentiation, strict=True)
    return save_figure(
        figure, file, table=[{"ms": t, "mean depression": d, "potentiation": p} for t, d, p in rows]
    )


def _histogram(run: FinishedRun, counts: np.ndarray, file: Path) -> list[Path]:
    rate = counts.mean(0) * 1000.0 / run.config.duration
    figure, (axis,) = new_figure()
    bins = np.linspace(0, max(float(rate.max()), 1.0), 50).tolist()
    table = []
    for name, (begin, end) in list(_kinds(run.network).items())[:2]:
        axis.hist(rate[begin:end], bins, color=colour(name), alpha=0.7, label=name)
        table += [{"neuron": k, "kind": name, "rate_hz": rate[k]} for k in range(begin, end)]
    axis.set(xlabel="mean rate over the test set (Hz)", ylabel="neurons")
    axis.legend(loc="upper right")
    return save_figure(figure, file, table=table)


def _layout(run: FinishedRun, file: Path) -> list[Path]:
    figure, (axis,) = new_figure(height=3.35, subplot_kw={"projection": "3d"})
    place: Any = axis  # three-dimensional axes, which matplotlib's stubs lack here
    table = []
    for name, (begin, end) in list(_kinds(run.network).items())[:2]:
        x, y, z = run.network.position[:, begin:end]
        place.scatter(x, y, z, s=4, color=colour(name), label=name)
        table += [
            {"neuron": k, "kind": name, "x": a, "y": b, "z": c}
            for k, a, b, c in zip(range(begin, end), x, y, z, strict=True)
        ]
    stream = np.random.default_rng(0)
    inside = np.nonzero(run.network.active & (run.network.pre < run.network.liquid))[0]
    for k in stream.choice(inside, min(300, len(inside)), replace=False):
        ends = run.network.position[:, [run.network.pre[k], run.network.post[k]]]
        place.plot(*ends, color="0.6", lw=0.4)
    place.set(title="placement, and 300 of the recurrent synapses", xlabel="x", ylabel="y", zlabel="z")
    place.legend(loc="upper right")
    return save_figure(figure, file, table=table)


def _confusion(labels: np.ndarray, predicted: np.ndarray, classes: int, split: str, file: Path) -> list[Path]:
    """Draw the confusion matrix, in per cent of the samples of each class."""
    table = np.zeros((classes, classes))
    np.add.at(table, (labels, predicted), 1.0)
    share = 100.0 * table / np.maximum(table.sum(1, keepdims=True), 1.0)
    figure, (axis,) = new_figure(height=2.9)
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
    if classes <= 20:
        axis.set(xticks=range(classes), yticks=range(classes))
        for row, column in np.argwhere(share >= 0.05):
            value = share[row, column]
            shade = "white" if value > 60 else "black"
            axis.text(column, row, f"{value:.0f}", ha="center", va="center", size=5, color=shade)
    accuracy = 100.0 * float(np.mean(labels == predicted))
    axis.set(xlabel="predicted class", ylabel="class", title=f"{split} set: {accuracy:.2f} % correct")
    figure.colorbar(image, label="% of the class")
    rows = [{"class": k, "predicted": j, "percent": share[k, j]} for k, j in np.ndindex(*share.shape)]
    return save_figure(figure, file, table=rows)


def _branching(measured: Mapping[str, Branching], file: Path) -> list[Path]:
    """Draw the branching factors of samples, and of neurons, of each split."""
    figure, (left, right) = new_figure(1, 2, width="page", height=2.7, gridspec_kw={"width_ratios": [1, 2]})
    table = []
    for place, (split, result) in enumerate(measured.items()):
        points, shade = result.per_sample, colour(split)
        spread = np.linspace(-0.15, 0.15, len(points))
        left.plot(place + spread, points, "o", color=shade, alpha=0.6)
        left.plot([place - 0.3, place + 0.3], [result.value] * 2, color=shade, lw=2)
        neurons = result.per_neuron[np.isfinite(result.per_neuron)]
        label = f"{split}: {result.value:.3f}"
        right.hist(neurons, np.linspace(0, 4, 61).tolist(), histtype="step", color=shade, label=label)
        table += [{"split": split, "sample": k, "branching factor": v} for k, v in enumerate(points)]
    left.axhline(1, color="0.7", lw=0.8, zorder=0)
    left.set(ylabel="branching factor of a sample", xticks=range(len(measured)), xticklabels=list(measured))
    left.margins(x=0.3)
    right.axvline(1, color="0.7", lw=0.8, zorder=0)
    right.set(xlabel="branching factor of a neuron in a sample", ylabel="neurons and samples")
    right.legend(title="mean over samples", loc="upper right")
    return save_figure(figure, file, table=table)


def _kernel(clean: np.ndarray, noisy: np.ndarray, quality: KernelQuality, file: Path) -> list[Path]:
    """Draw the singular values of the counts of one choice of samples; the rank counts those above rounding."""
    figure, (axis,) = new_figure()
    table = []
    for counts, shade, name, rank in (
        (clean, colour("validation"), "SP, clean", quality.separation),
        (noisy, MEAN, "AP, with noise", quality.approximation),
    ):
        values = np.linalg.svd(counts.astype(np.float32), compute_uv=False)
        values = values[values > values[0] * max(counts.shape) * np.finfo(np.float32).eps]
        axis.semilogy(np.arange(1, len(values) + 1), values, color=shade, label=f"{name}: {rank:.1f}")
        axis.axvline(rank, color=shade, lw=0.8, ls=":")
        table += [{"counts": name, "number": k, "singular value": v} for k, v in enumerate(values, start=1)]
    axis.set(xlabel="number", ylabel="singular value", title=f"SP - AP = {quality.difference:.1f}")
    axis.legend(title="mean rank", loc="lower left")
    return save_figure(figure, file, table=table)


def _divergence(distances: np.ndarray, flip: int, file: Path) -> list[Path]:
    """Draw the distance of two runs that differ by one input spike at `flip`, (sample, millisecond)."""
    figure, (axis,) = new_figure()
    time, mean = np.arange(distances.shape[1]), distances.mean(0)
    axis.plot(time, distances.T, color=MANY, lw=0.6)
    axis.plot(time, mean, color=MEAN, label=f"mean of {len(distances)} samples")
    axis.axvline(flip, color="0.4", lw=0.8, ls=":", label="one input spike added")
    axis.set(xlabel="time (ms)", ylabel="distance (spikes)", xlim=(max(flip - 20, 0), len(time) - 1))
    axis.legend(loc="upper left")
    return save_figure(figure, file, table=[{"ms": t, "mean": m} for t, m in zip(time, mean, strict=True)])
