"""Figures of single runs: learning curves, confusion matrix, and the network's response to one recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from reprokit import UserError
from reprokit.plots import colour, new_figure, save_figure, style

from denram.data.loading import DataSet
from denram.training.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = ("curves", "confusion", "raster")
Table = list[dict[str, Any]]


@style()
def plot_run(
    run: Run,
    folder: Path,
    *,
    figures: Sequence[str] = FIGURES,
    source: str | None = None,
    kind: Literal["png", "pdf", "svg"] = "png",
) -> list[Path]:
    """Draw figures of a run; each with its numbers as CSV.

    Args:
        run: The run.
        folder: The folder, which is created.
        figures: Any of ``curves`` (loss and accuracy of every epoch), ``confusion`` (test set, clean weights)
            and ``raster`` (first test recording: input spikes and membrane potentials).
        source: Data for the last two; None: where the run found its data.
        kind: Format of the files.

    Returns:
        The files.

    Raises:
        UserError: If a figure is unknown, there is nothing to draw, or the data are missing.
    """
    for name in figures:
        if name not in FIGURES:
            raise UserError(f"figure {name!r} is unknown; choose from {', '.join(FIGURES)}.")
    draw: dict[str, Callable[[], tuple[Figure, Table]]] = {"curves": lambda: _curves(run)}
    if set(figures) - {"curves"}:
        data = run.data(source)
        draw |= {"confusion": lambda: _confusion(run, data), "raster": lambda: _raster(run, data)}
    files = []
    for name in figures:
        figure, table = draw[name]()
        files += save_figure(figure, folder / f"{name}.{kind}", table=table)
    return files


def _curves(run: Run) -> tuple[Figure, Table]:
    records = run.stored.records
    if not records:
        raise UserError(f"{run.path} has no finished epoch to plot.")
    figure, (losses, accuracies) = new_figure(1, 2, width="page", height=2.6)
    epochs = [record["epoch"] for record in records]
    for part, name in (("train", "training"), ("val", "validation")):
        loss = [record[f"{part}_loss"] for record in records]
        losses.plot(epochs, loss, color=colour(part), label=name)
        percent = [100 * record[f"{part}_acc"] for record in records]
        accuracies.plot(epochs, percent, color=colour(part), label=name)
    tested = [
        (record["epoch"], 100 * record["test_acc"]) for record in records if record["test_acc"] is not None
    ]
    if tested:
        accuracies.plot(*zip(*tested, strict=True), "o", color=colour("test"), label="test (new best)")
    for axes, name in ((losses, "loss"), (accuracies, "accuracy [%]")):
        axes.set(xlabel="epoch", ylabel=name)
        axes.legend(loc="upper right" if axes is losses else "lower right")
    return figure, records


def _confusion(run: Run, data: DataSet) -> tuple[Figure, Table]:
    matrix = confusion_matrix(run, data)
    figure, (axes,) = new_figure(height=2.8)
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    figure.colorbar(
        axes.imshow(100 * shares, vmin=0, vmax=100, cmap="viridis"), label="share of the true class [%]"
    )
    axes.set(
        xlabel="predicted class",
        ylabel="true class",
        title=f"test, {100 * np.trace(matrix) / matrix.sum():.1f} % correct",
    )
    cells = np.ndenumerate(matrix)
    return figure, [{"true": true, "predicted": found, "samples": count} for (true, found), count in cells]


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


def _raster(run: Run, data: DataSet) -> tuple[Figure, Table]:
    events, milliseconds = data.test.events.take(np.array([0])), 1000 * run.config.dt
    _, step, channel = events.coordinates()
    potential = run.network().traces(run.weights, events).potential[:, 0]
    figure, (spikes, membranes) = new_figure(2, 1, height=3.6, sharex=True)
    spikes.plot(milliseconds * step, channel, ".k", markersize=1)
    spikes.set(ylabel="input channel", title=f"first test recording, class {data.test.labels[0]}")
    time = milliseconds * np.arange(len(potential))
    for output, trace in enumerate(potential.T):
        true = output == data.test.labels[0]
        membranes.plot(time, trace, color=colour("denram") if true else "0.75", zorder=3 if true else 1)
    membranes.set(xlabel="time [ms]", ylabel="membrane potential (green: true class)")
    table: Table = [{"time_ms": milliseconds * t, "channel": c} for t, c in zip(step, channel, strict=True)]
    for (t, output), value in np.ndenumerate(potential):
        table.append({"time_ms": time[t], "output": output, "potential": value})
    return figure, table
