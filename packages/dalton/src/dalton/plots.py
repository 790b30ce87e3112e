"""Figures of a run: learning curves, firing rates, rasters of every layer, input frames, filters of the first layer.

`plot_run` draws them all for a run directory. The other functions return a matplotlib figure for your own use;
matplotlib is imported when one is drawn, and no window opens. All packages share the style of :mod:`reprokit.plots`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from reprokit import UserError
from reprokit.plots import colour, new_figure, save_figure, style
from torch import Tensor

from dalton.model.network import SpikingCNN
from dalton.training.step import observe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = Mapping[str, Any]
_CURVES = (("train", "training"), ("validation", "validation"), ("test", "test"))
_MOST_NEURONS = 200  # rows of a raster
_SAMPLES = 4


@style()
def learning_curves(records: Sequence[Record]) -> Figure:
    """Draw accuracies and the loss of every layer over the epochs.

    Args:
        records: One per epoch, as in ``metrics.jsonl``: epoch, train_accuracy, validation_accuracy, test_accuracy
            (those that are there), layer_losses {layer: loss}.

    Raises:
        UserError: No records, or no matplotlib.
    """
    epochs = [record["epoch"] for record in _some(records)]
    figure, (left, right) = new_figure(1, 2, width="page")
    for name, label in _CURVES:
        values = [record.get(f"{name}_accuracy") for record in records]
        if any(value is not None for value in values):
            shown = [np.nan if value is None else 100 * value for value in values]
            left.plot(epochs, shown, marker=".", color=colour(name), label=label)
    left.set(ylabel="accuracy (%)")
    _whole_epochs(left)
    left.legend(loc="lower right")
    _lines(right, epochs, [record["layer_losses"] for record in records])
    right.set(ylabel="loss", yscale="log")
    return figure


@style()
def firing_rates(records: Sequence[Record]) -> Figure:
    """Draw the mean number of spikes per neuron and time-step of every layer over the epochs.

    Args:
        records: One per epoch, with firing_rates {layer: rate}.

    Raises:
        UserError: No records, or no matplotlib.
    """
    epochs = [record["epoch"] for record in _some(records)]
    figure, (axes,) = new_figure()
    _lines(axes, epochs, [record["firing_rates"] for record in records])
    axes.set(ylabel="spikes per neuron and step", ylim=(0, None))
    return figure


@style()
def rasters(spikes: Mapping[str, Tensor], sample: int = 0) -> Figure:
    """Draw the spikes of one sample, one panel per layer: time to the right, neurons upwards.

    Args:
        spikes: Spikes (time, batch, ...) by layer, as `dalton.observe` records them with ``("encoder", "spikes")``. If
            there are more than 200 neurons, 200 at equal distances are drawn.
        sample: Which sample of the batch.

    Raises:
        UserError: No layers, or no matplotlib.
    """
    layers = list(_some(list(spikes.items())))
    figure, panels = new_figure(len(layers), width="page", height=1.1 * len(layers) + 0.4, sharex=True)
    for axes, (name, values) in zip(panels, layers, strict=True):
        fired = values[:, sample].flatten(1).bool().cpu().numpy()
        units = np.unique(np.linspace(0, fired.shape[1] - 1, _MOST_NEURONS).astype(int))
        time, neuron = np.nonzero(fired[:, units])
        axes.plot(time, units[neuron], linestyle="", marker="|", markersize=3, color="black")
        axes.set(ylabel=name, xlim=(-0.5, len(fired) - 0.5), ylim=(-0.5, fired.shape[1] - 0.5))
    panels[-1].set(xlabel="time-step")
    return figure


@style()
def input_frames(inputs: Tensor, events: bool, samples: int = _SAMPLES) -> Figure:
    """Draw the network's input: images, or the event counts of five periods.

    Args:
        inputs: (batch, channel, height, width) in [0, 1], or counts (time, batch, polarity, height, width).
        events: Whether they are counts; drawn ON red, OFF blue.
        samples: Number of samples to draw.
    """
    values = inputs.cpu().float()
    if not events:
        count = min(samples, len(values))
        figure, panels = new_figure(1, count, width="page", height=6.9 / count)
        for axes, image in zip(panels, values, strict=False):
            _picture(axes, image.permute(1, 2, 0).clamp(0, 1).numpy())
        return figure
    count, parts = min(samples, values.shape[1]), torch.tensor_split(values, 5)
    figure, panels = new_figure(count, len(parts), width="page", height=1.4 * count)
    for row in range(count):
        for column, part in enumerate(parts):
            off, on = part[:, row].sum(0)
            colours = torch.stack((on, torch.zeros_like(on), off), -1)
            _picture(panels[row * len(parts) + column], (colours / colours.max().clamp(min=1)).numpy())
    return figure


@style()
def filters(net: SpikingCNN) -> Figure:
    """Draw the kernels of the first convolution: one row per input channel, the same grey scale for all."""
    kernels = net.weight(net.layer_names[0]).detach().cpu().float()
    count, channels = min(len(kernels), 24), kernels.shape[1]
    figure, panels = new_figure(channels, count, width="page", height=0.3 * channels + 0.1)
    limit = float(kernels.abs().max())
    for row in range(channels):
        for column in range(count):
            axes = panels[row * count + column]
            axes.imshow(kernels[column, row].numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes.set_axis_off()
    return figure


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
        which: Weights behind rasters and filters: ``best`` or ``last``.
        format: ``png``, ``pdf`` or ``svg``.

    Returns:
        The files: learning_curves and firing_rates, each with its numbers as .csv, rasters, input and filters.

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
    files = []
    for name, figure in figures.items():
        files += save_figure(
            figure, folder / f"{name}.{format}", table=_numbers(name, loaded.run.stored.records)
        )
    return files


def _numbers(figure: str, records: Sequence[Record]) -> list[Record] | None:
    """The numbers of a figure over epochs, one row per epoch; None for pictures."""
    if figure == "learning_curves":
        shared = ("epoch", *(f"{name}_accuracy" for name, _ in _CURVES))
        return [{name: r[name] for name in shared} | _prefixed("loss", r["layer_losses"]) for r in records]
    if figure == "firing_rates":
        return [{"epoch": r["epoch"]} | _prefixed("rate", r["firing_rates"]) for r in records]
    return None


def _prefixed(name: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{name} {layer}": value for layer, value in values.items()}


def _some(values: Sequence[Any]) -> Sequence[Any]:
    if not values:
        raise UserError("there is nothing to draw: no epoch is finished and no layer recorded")
    return values


def _lines(axes: Any, epochs: Sequence[int], values: Sequence[Mapping[str, float]]) -> None:
    """Draw one line per layer."""
    for layer in values[0]:
        axes.plot(epochs, [found[layer] for found in values], marker=".", label=layer)
    axes.legend(loc="upper right")
    _whole_epochs(axes)


def _whole_epochs(axes: Any) -> None:
    axes.set(xlabel="epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)


def _picture(axes: Any, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()
