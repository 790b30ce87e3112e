"""Figures of a run (raster, rates, weights before and after, learning rates, layout) and of its measures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import UserError

from nalsm.names import Measure
from nalsm.training.measures import Branching, KernelQuality
from nalsm.training.runs import FinishedRun, open_run

BLUE, RED = "#2166ac", "#b2182b"
DARK = {"input": "#333333"}  # of lines that lie over grey
COLOURS = {"excitatory": BLUE, "inhibitory": RED, "input": "#7f7f7f"}


def pyplot() -> Any:
    """Return matplotlib's pyplot on a backend without a display.

    Raises:
        UserError: where matplotlib is missing.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise UserError("figures need matplotlib; install the package with its extra [plot].") from error
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def plot_run(run: str | Path, out: str | Path) -> list[Path]:
    """Draw every figure of a run into a folder and return the files."""
    opened, folder = open_run(run), Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    files = [_weights(opened, folder), _layout(opened, folder)]
    if (opened.path / "raster.npy").exists():
        files.append(_raster(opened, folder))
    if (opened.path / "depression.npy").exists() and opened.config.plasticity("sample").rule != "none":
        files.append(_rates(opened, folder))
    if (opened.path / "features_test.npy").exists():
        files.append(_histogram(opened, folder))
    return files


def save_figure(figure: Any, file: Path) -> Path:
    """Write a figure, making its folder, close it and return the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150, bbox_inches="tight")
    pyplot().close(figure)
    return file


def load_raster(run: FinishedRun) -> np.ndarray:
    """Return the recorded spikes, uint8 (sample, millisecond, neuron)."""
    packed = np.load(run.path / "raster.npy", allow_pickle=False)
    return np.unpackbits(packed, axis=2, count=run.network.neurons)


def _raster(run: FinishedRun, folder: Path) -> Path:
    plt = pyplot()
    spikes = load_raster(run)[0]
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(9, 7), sharex=True, gridspec_kw={"height_ratios": [4, 1]}, layout="constrained"
    )
    groups = {
        "excitatory": (0, run.network.excitatory),
        "inhibitory": (run.network.excitatory, run.network.liquid),
        "input": (run.network.liquid, run.network.neurons),
    }
    mark = float(
        np.clip(4000.0 / run.network.neurons, 1.0, 9.0)
    )  # area in points^2, to be seen but not to overlap
    for name, (begin, end) in groups.items():
        time, neuron = np.nonzero(spikes[:, begin:end])
        top.scatter(time, neuron + begin, s=mark, lw=0, color=COLOURS[name], label=name)
        bottom.plot(spikes[:, begin:end].mean(1) * 1000, color=COLOURS[name], lw=1)
    top.set(ylabel="neuron", title=f"{run.config.model} on {run.config.data}: spikes of one test sample")
    top.set(ylim=(-1, run.network.neurons), xlim=(0, len(spikes)))
    for handle in top.legend(loc="upper right", frameon=True).legend_handles:
        handle.set_sizes([25])
    bottom.set(xlabel="time (ms)", ylabel="rate (Hz)")
    return save_figure(figure, folder / "raster.png")


def _weights(run: FinishedRun, folder: Path) -> Path:
    plt = pyplot()
    pre = run.network.pre[run.network.active]
    start = run.network.start_weights(run.config.start_weight)
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    parts = (
        ("excitatory", pre < run.network.excitatory),
        ("inhibitory", (pre >= run.network.excitatory) & (pre < run.network.liquid)),
        ("input", pre >= run.network.liquid),
    )
    limit = 1.02 * max(run.config.max_weight, run.config.start_weight)
    sides = ((0.0, limit), (-limit, 0.0), (-limit, limit))
    for axis, (name, chosen), (low, high) in zip(axes, parts, sides, strict=True):
        bins = np.linspace(low, high, 52)
        axis.hist(start[chosen], bins, color="0.75", label="before")
        axis.hist(
            run.weights[chosen],
            bins,
            histtype="step",
            color=DARK.get(name, COLOURS[name]),
            lw=1.5,
            label="after",
        )
        axis.set(title=f"{name} synapses ({chosen.sum()})", xlabel="weight", yscale="log")
        axis.legend(frameon=False)
    axes[0].set_ylabel("synapses")
    return save_figure(figure, folder / "weights.png")


def _rates(run: FinishedRun, folder: Path) -> Path:
    plt = pyplot()
    depression = np.load(run.path / "depression.npy", allow_pickle=False)
    figure, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
    time = np.arange(depression.shape[1])
    axis.plot(time, depression.T, color="0.8", lw=0.6)
    label = "astrocyte = depression rate" if run.config.model == "nalsm" else "depression rate"
    axis.plot(time, depression.mean(0), color="#b2182b", label=f"{label}, mean of {len(depression)}")
    potentiation = run.config.rate * run.config.rate_decay ** (time + 1)
    axis.plot(time, potentiation, color="#2166ac", label="potentiation rate")
    axis.set(xlabel="time (ms)", ylabel="learning rate")
    axis.legend(frameon=False)
    return save_figure(figure, folder / "learning_rates.png")


def _histogram(run: FinishedRun, folder: Path) -> Path:
    plt = pyplot()
    counts, _ = run.features("test")
    rate = counts.mean(0) * 1000.0 / run.config.duration
    figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
    exc = run.network.excitatory
    bins = np.linspace(0, max(float(rate.max()), 1.0), 50)
    axis.hist(rate[:exc], bins, color=COLOURS["excitatory"], alpha=0.7, label="excitatory")
    axis.hist(rate[exc:], bins, color=COLOURS["inhibitory"], alpha=0.7, label="inhibitory")
    axis.set(xlabel="mean rate over the test set (Hz)", ylabel="neurons")
    axis.legend(frameon=False)
    return save_figure(figure, folder / "rates.png")


def _layout(run: FinishedRun, folder: Path) -> Path:
    plt = pyplot()
    figure = plt.figure(figsize=(6, 6), layout="constrained")
    axis = figure.add_subplot(projection="3d")
    exc = run.network.excitatory
    for name, part in (("excitatory", slice(0, exc)), ("inhibitory", slice(exc, None))):
        x, y, z = run.network.position[:, part]
        axis.scatter(x, y, z, s=8, color=COLOURS[name], label=name)
    stream = np.random.default_rng(0)
    inside = np.nonzero(run.network.active & (run.network.pre < run.network.liquid))[0]
    for k in stream.choice(inside, min(300, len(inside)), replace=False):
        ends = run.network.position[:, [run.network.pre[k], run.network.post[k]]]
        axis.plot(*ends, color="0.6", lw=0.4)
    axis.set(title="placement, and 300 of the recurrent synapses", xlabel="x", ylabel="y", zlabel="z")
    axis.legend(frameon=False)
    return save_figure(figure, folder / "layout.png")


def draw_measure(what: Measure, detail: Mapping[str, Any], file: Path) -> Path:
    """Draw the detail of one measure (`nalsm.training.evaluation.Measured`) and return the file."""
    draw = {"accuracy": _confusion, "branching": _branching, "kernel": _kernel, "divergence": _divergence}
    return draw[what](**detail, file=file)


def _confusion(labels: np.ndarray, predicted: np.ndarray, classes: int, file: Path) -> Path:
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


def _branching(measured: Mapping[str, Branching], file: Path) -> Path:
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


def _kernel(clean: np.ndarray, noisy: np.ndarray, quality: KernelQuality, file: Path) -> Path:
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


def _divergence(distances: np.ndarray, flip: int, file: Path) -> Path:
    """Draw the distance of two runs that differ by one input spike at `flip`, (sample, millisecond)."""
    figure, axis = pyplot().subplots(figsize=(6.5, 3.5), layout="constrained")
    time = np.arange(distances.shape[1])
    axis.plot(time, distances.T, color="0.8", lw=0.6)
    axis.plot(time, distances.mean(0), color=RED, label=f"mean of {len(distances)} samples")
    axis.axvline(flip, color=BLUE, lw=0.8, ls=":", label="one input spike added")
    axis.set(xlabel="time (ms)", ylabel="distance (spikes)", xlim=(max(flip - 20, 0), len(time) - 1))
    axis.legend(frameon=False, loc="upper left")
    return save_figure(figure, file)
