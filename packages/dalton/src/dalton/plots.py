"""Figures of a run: learning curves, firing rates, rasters of every layer, input frames, filters of the first layer.

`plot_run` draws them all for a run directory. The others return a matplotlib figure for own use; matplotlib (extra
``[plot]``) is imported when one is drawn, and no window is opened.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from reprokit import UserError
from reprokit.files.atomic import write_file
from torch import Tensor

from dalton.model.network import SpikingCNN
from dalton.training.step import observe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = Mapping[str, Any]
_CURVES = (
    ("train_accuracy", "training"),
    ("validation_accuracy", "validation"),
    ("test_accuracy", "test"),
)
_MOST_NEURONS = 200  # rows of a raster
_SAMPLES = 4


def learning_curves(records: Sequence[Record]) -> Figure:
    """Draw accuracies and the loss of every layer over the epochs.

    Args:
        records: One an epoch, as in ``metrics.jsonl``: epoch, train_accuracy, validation_accuracy, test_accuracy
            (those that are there), layer_losses {layer: loss}.

    Raises:
        UserError: No records, or no matplotlib.
    """
    epochs = [record["epoch"] for record in _some(records)]
    figure, (left, right) = _axes(1, 2, (9, 3.4))
    for name, label in _CURVES:
        values = [record.get(name) for record in records]
        if any(value is not None for value in values):
            shown = [np.nan if value is None else 100 * value for value in values]
            left.plot(epochs, shown, marker=".", label=label)
    left.set(ylabel="accuracy (%)")
    _whole_epochs(left)
    left.legend(frameon=False)
    _lines(right, epochs, [record["layer_losses"] for record in records])
    right.set(ylabel="loss", yscale="log")
    return figure


def firing_rates(records: Sequence[Record]) -> Figure:
    """Draw the mean number of spikes per neuron and time-step of every layer over the epochs.

    Args:
        records: One an epoch, with firing_rates {layer: rate}.

    Raises:
        UserError: No records, or no matplotlib.
    """
    epochs = [record["epoch"] for record in _some(records)]
    figure, (axes,) = _axes(1, 1, (4.5, 3.4))
    _lines(axes, epochs, [record["firing_rates"] for record in records])
    axes.set(ylabel="spikes per neuron and step", ylim=(0, None))
    return figure


def rasters(spikes: Mapping[str, Tensor], sample: int = 0) -> Figure:
    """Draw the spikes of one sample, a panel a layer: time to the right, neurons upwards.

    Args:
        spikes: Spikes (time, batch, ...) by layer, as `dalton.observe` records them with ``("encoder", "spikes")``. Of
            more than 200 neurons, 200 at equal distances are drawn.
        sample: Which sample of the batch.

    Raises:
        UserError: No layers, or no matplotlib.
    """
    layers = list(_some(list(spikes.items())))
    figure, panels = _axes(len(layers), 1, (7, 1.3 * len(layers) + 0.6), sharex=True)
    for axes, (name, values) in zip(panels, layers, strict=True):
        fired = values[:, sample].flatten(1).bool().cpu().numpy()
        units = np.unique(np.linspace(0, fired.shape[1] - 1, _MOST_NEURONS).astype(int))
        time, neuron = np.nonzero(fired[:, units])
        axes.plot(time, units[neuron], linestyle="", marker="|", markersize=3, color="black")
        axes.set(ylabel=name, xlim=(-0.5, len(fired) - 0.5), ylim=(-0.5, fired.shape[1] - 0.5))
    panels[-1].set(xlabel="time-step")
    return figure


def input_frames(inputs: Tensor, events: bool, samples: int = _SAMPLES) -> Figure:
    """Draw what the network is shown: images, or the event counts of five stretches of time.

    Args:
        inputs: (batch, channel, height, width) in [0, 1], or counts (time, batch, polarity, height, width).
        events: Whether they are counts; drawn ON red, OFF blue.
        samples: Number of samples to draw.
    """
    values = inputs.cpu().float()
    if not events:
        count = min(samples, len(values))
        figure, panels = _axes(1, count, (1.8 * count, 2))
        for axes, image in zip(panels, values, strict=False):
            _picture(axes, image.permute(1, 2, 0).clamp(0, 1).numpy())
        return figure
    count, parts = min(samples, values.shape[1]), torch.tensor_split(values, 5)
    figure, panels = _axes(count, len(parts), (1.7 * len(parts), 1.8 * count))
    for row in range(count):
        for column, part in enumerate(parts):
            off, on = part[:, row].sum(0)
            colours = torch.stack((on, torch.zeros_like(on), off), -1)
            _picture(panels[row * len(parts) + column], (colours / colours.max().clamp(min=1)).numpy())
    return figure


def filters(net: SpikingCNN) -> Figure:
    """Draw the kernels of the first convolution: a row an input channel, the same grey scale for all."""
    kernels = net.weight(net.layer_names[0]).detach().cpu().float()
    count, channels = min(len(kernels), 24), kernels.shape[1]
    figure, panels = _axes(channels, count, (0.55 * count + 0.4, 0.55 * channels + 0.5))
    limit = float(kernels.abs().max())
    for row in range(channels):
        for column in range(count):
            axes = panels[row * count + column]
            axes.imshow(kernels[column, row].numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes.set_axis_off()
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure in the format that the file's name says (.png, .pdf, .svg)."""
    path, buffer = Path(path), io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], dpi=120)
    return write_file(path, buffer.getvalue())


def plot_run(
    run: str | Path,
    out: str | Path | None = None,
    which: Literal["best", "last"] = "best",
    format: str = "png",
) -> list[Path]:
    """Draw all figures of a run directory.

    Args:
        run: The run directory.
        out: Folder of the figures; the run directory when None.
        which: Whose weights rasters and filters show: ``best`` or ``last``.
        format: ``png``, ``pdf`` or ``svg``.

    Returns:
        The files: learning_curves, firing_rates, rasters, input and filters.

    Raises:
        UserError: No run, no epoch finished yet, or no matplotlib.
    """
    from dalton.training.evaluation import load_run

    loaded = load_run(run, which, device="cpu")
    folder = Path(run if out is None else out)
    portion = loaded.data.test
    inputs, _ = portion.take(torch.arange(min(_SAMPLES, len(portion))))
    _, recorded = observe(loaded.net, inputs, portion.static_steps, record=("encoder", "spikes"))
    figures = {
        "learning_curves": learning_curves(loaded.run.stored.records),
        "firing_rates": firing_rates(loaded.run.stored.records),
        "rasters": rasters({**recorded["encoder"], **recorded["spikes"]}),
        "input": input_frames(inputs, portion.events),
        "filters": filters(loaded.net),
    }
    return [save(figure, folder / f"{name}.{format}") for name, figure in figures.items()]


def _some(values: Sequence[Any]) -> Sequence[Any]:
    if not values:
        raise UserError("there is nothing to draw: no epoch is finished and no layer recorded")
    return values


def _lines(axes: Any, epochs: Sequence[int], values: Sequence[Mapping[str, float]]) -> None:
    """Draw a line a layer."""
    for layer in values[0]:
        axes.plot(epochs, [found[layer] for found in values], marker=".", label=layer)
    axes.legend(frameon=False)
    _whole_epochs(axes)


def _whole_epochs(axes: Any) -> None:
    axes.set(xlabel="epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)


def _picture(axes: Any, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()


def _axes(
    rows: int, columns: int, size: tuple[float, float], sharex: bool = False
) -> tuple[Figure, list[Any]]:
    """Return a figure that needs no screen and its axes, row after row."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("figures need matplotlib; pip install matplotlib") from error
    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subplots(rows, columns, sharex=sharex, squeeze=False).reshape(-1))
