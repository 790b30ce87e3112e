"""Figures of a run: raster, rates, weights before and after, learning rates, layout (extra `plot`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from reprokit import UserError

from nalsm.training.runs import FinishedRun, open_run

DARK = {"input": "#333333"}  # of lines that lie over grey
COLOURS = {"excitatory": "#2166ac", "inhibitory": "#b2182b", "input": "#7f7f7f"}


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
