"""Figures of single runs: learning curves, confusion matrix, and what one recording does to the network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from reprokit import UserError
from reprokit.files.atomic import make_folder

from denram.data.loading import DataSet
from denram.training.runs import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURES = ("curves", "confusion", "raster")


def plot_run(
    run: Run, folder: Path, *, figures: tuple[str, ...] = FIGURES, source: str | None = None
) -> list[Path]:
    """Draw figures of a run as PNG files.

    Args:
        run: The run.
        folder: Where to; created.
        figures: Any of ``curves`` (loss and accuracy of every epoch), ``confusion`` (test set, clean weights)
            and ``raster`` (first test recording: input spikes and membrane potentials).
        source: Data for the last two; None: where the run found its data.

    Returns:
        The files.

    Raises:
        UserError: If a figure is unknown, there is nothing to draw, or the data are gone.
    """
    for name in figures:
        if name not in FIGURES:
            raise UserError(f"figure {name!r} is unknown; choose from {', '.join(FIGURES)}.")
    draw: dict[str, Callable[[], Figure]] = {"curves": lambda: _curves(run)}
    if set(figures) - {"curves"}:
        data = run.data(source)
        draw |= {"confusion": lambda: _confusion(run, data), "raster": lambda: _raster(run, data)}
    make_folder(folder, "folder of the figures")
    files = []
    for name in figures:
        with quiet_canvas():
            figure = draw[name]()
            files.append(folder / f"{name}.png")
            figure.savefig(files[-1], dpi=150)
    return files


@contextmanager
def quiet_canvas() -> Iterator[Any]:
    """Matplotlib's pyplot without a display, every figure closed at the end."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    try:
        yield pyplot
    finally:
        pyplot.close("all")


def _curves(run: Run) -> Figure:
    records = run.records()
    if not records:
        raise UserError(f"{run.path} has no finished epoch to plot.")
    from matplotlib import pyplot

    figure, (losses, accuracies) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    epochs = [record["epoch"] for record in records]
    for part, colour in (("train", "tab:blue"), ("val", "tab:orange")):
        name = {"train": "training", "val": "validation"}[part]
        losses.plot(epochs, [record[f"{part}_loss"] for record in records], color=colour, label=name)
        accuracies.plot(epochs, [100 * record[f"{part}_acc"] for record in records], color=colour, label=name)
    tested = [
        (record["epoch"], 100 * record["test_acc"]) for record in records if record["test_acc"] is not None
    ]
    if tested:
        accuracies.plot(*zip(*tested, strict=True), "o", color="tab:green", label="test (new best)")
    _label(losses, "epoch", "loss")
    _label(accuracies, "epoch", "accuracy [%]")
    return figure


def _confusion(run: Run, data: DataSet) -> Figure:
    from matplotlib import pyplot

    matrix = confusion_matrix(run, data)
    figure, axes = pyplot.subplots(figsize=(6, 5), layout="constrained")
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    figure.colorbar(
        axes.imshow(100 * shares, vmin=0, vmax=100, cmap="viridis"), label="share of the true class [%]"
    )
    axes.set(
        xlabel="predicted class",
        ylabel="true class",
        title=f"test, {100 * np.trace(matrix) / matrix.sum():.1f} % right",
    )
    return figure


def confusion_matrix(run: Run, data: DataSet) -> np.ndarray:
    """Count test samples by true (row) and predicted (column) class with clean weights.

    Returns:
        int64 `(n_out, n_out)`.
    """
    network, test = run.network(), data.test
    matrix = np.zeros((network.spec.n_out, network.spec.n_out), np.int64)
    for first in range(0, len(test), 64):
        batch = np.arange(first, min(first + 64, len(test)))
        predicted = np.argmax(network.scores(run.weights, test.events.take(batch)), axis=1)
        np.add.at(matrix, (test.labels[batch], predicted), 1)
    return matrix


def _raster(run: Run, data: DataSet) -> Figure:
    from matplotlib import pyplot

    events, milliseconds = data.test.events.take(np.array([0])), 1000 * run.config.dt
    _, step, channel = events.coordinates()
    potential = run.network().traces(run.weights, events).potential[:, 0]
    figure, (spikes, membranes) = pyplot.subplots(2, 1, figsize=(7, 6), sharex=True, layout="constrained")
    spikes.plot(milliseconds * step, channel, ".k", markersize=2)
    spikes.set(ylabel="input channel", title=f"first test recording, class {data.test.labels[0]}")
    time = milliseconds * np.arange(len(potential))
    for output, trace in enumerate(potential.T):
        true = output == data.test.labels[0]
        membranes.plot(time, trace, color="tab:red" if true else "0.75", zorder=3 if true else 1)
    membranes.set(xlabel="time [ms]", ylabel="membrane potential (red: true class)")
    return figure


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y)
    axes.grid(color="0.9")
    axes.legend(frameon=False)
