"""Figures of a network: filters, h maps, the reconstruction W h, accuracy against the number of spikes.

Needs matplotlib. Nothing is shown on the screen; every function returns a Figure or the files that it wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from reprokit import UserError
from reprokit.plots import WIDTHS, colour, new_figure, save_figure, style
from torch import Tensor, nn

from sbs.data.images import Dataset
from sbs.model.layer import SbSLayer
from sbs.model.networks import sbs_layers
from sbs.training.evaluation import Evaluation, spikes_from
from sbs.training.runs import Model

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_model(
    model: Model, dataset: Dataset, folder: Path, *, format: str = "png", image: int = 0, images: int = 8
) -> list[Path]:
    """Draw the filters of every layer, the h maps of one image, and what the first layer reconstructs.

    Args:
        model: A trained network.
        dataset: Its images.
        folder: Folder of the figures.
        format: "png", "pdf" or "svg".
        image: Number of the test image whose h maps are drawn.
        images: Number of test images reconstructed.

    Returns:
        The files written.

    Raises:
        UserError: There is no such image, or fewer than one is requested.
    """
    if not 0 <= image < len(dataset.test):
        raise UserError(f"--image is {image}; the test set has images 0 to {len(dataset.test) - 1}")
    if images < 1:
        raise UserError(f"--images is {images}; give at least 1")
    model.network.eval()
    layers = sbs_layers(model.network)
    figures = {
        f"filters-{index}": filters(layer) for index, layer in enumerate(layers) if not layer.is_pooling_layer
    }
    one, _ = dataset.test.batch(slice(image, image + 1))
    with spikes_from(model.config.seed):
        stages = layer_outputs(model.network, model.presentation.test(one))
    titles = [f"stage {index}: h of test image {image}" for index in range(len(stages))]
    maps = h_maps([outputs for _, _, outputs in stages], titles)
    figures |= {f"h-{index}": figure for index, figure in enumerate(maps)}
    several, _ = dataset.test.batch(slice(0, images))
    inputs = model.presentation.test(several)
    with torch.inference_mode(), spikes_from(model.config.seed):
        rebuilt = reconstruction(layers[0], layers[0](inputs), (model.shape.height, model.shape.width))
    figures["reconstruction"] = compare_reconstruction(inputs, rebuilt, model.config.data.on_off)
    return [
        path for name, figure in figures.items() for path in save_figure(figure, folder / f"{name}.{format}")
    ]


def save_spikes_curve(results: Sequence[tuple[int, Evaluation]], title: str, folder: Path) -> list[Path]:
    """Write accuracy against the number of spikes as ``spikes.csv`` and a figure, and return the files."""
    table = [
        {"spikes": count, "correct": part.correct, "total": part.total, "accuracy": part.accuracy}
        for count, part in results
    ]
    figure = spikes_curve([count for count, _ in results], [part.accuracy for _, part in results], title)
    return save_figure(figure, folder / "spikes.png", table=table)


def filters(layer: SbSLayer, limit: int = 64) -> Figure:
    """Draw p(i | j) of the first ``limit`` neurons, summed over input channels.

    Args:
        layer: An SbS layer with weights (I, J), I = C k0 k1.
        limit: Maximum number of neurons drawn.
    """
    rows, columns = layer.kernel_size
    weights = layer.weights.detach().cpu().numpy()
    tiles = weights.reshape(-1, rows, columns, weights.shape[1]).sum(0).transpose(2, 0, 1)[:limit]
    return _tiles(tiles, "weights p(i | j), summed over input channels")


def h_maps(outputs: Sequence[Tensor], titles: Sequence[str], limit: int = 32) -> list[Figure]:
    """Draw the latent maps h_j(x, y) of one image, one figure per layer.

    Args:
        outputs: Per layer ``(neuron, x, y)`` or ``(1, neuron, x, y)``.
        titles: Per layer.
        limit: Maximum number of neurons drawn.
    """
    figures = []
    for output, title in zip(outputs, titles, strict=True):
        maps = output.detach().cpu().reshape(-1, *output.shape[-2:]).numpy()[:limit]
        figures.append(_tiles(maps, title))
    return figures


def reconstruction(layer: SbSLayer, h: Tensor, size: tuple[int, int]) -> Tensor:
    """Return what the layer expects to see, R_i = sum_j W_ij h_j, put back into the image.

    Overlapping patches are averaged: fold(R) / fold(1).

    Args:
        layer: An SbS layer.
        h: Its output ``(sample, neuron, x, y)``.
        size: Height and width of the layer's input.

    Returns:
        ``(sample, channel, height, width)``, each patch a probability distribution.
    """
    patches = torch.einsum("ij,bjp->bip", layer.weights.detach(), h.flatten(2).to(layer.weights.dtype))

    def fold(columns: Tensor) -> Tensor:
        return torch.nn.functional.fold(
            columns,
            size,
            kernel_size=tuple(layer.kernel_size),
            dilation=tuple(layer.dilation),
            padding=tuple(layer.padding),
            stride=tuple(layer.stride),
        )

    return fold(patches) / fold(torch.ones_like(patches)).clamp(min=1.0)


def compare_reconstruction(inputs: Tensor, rebuilt: Tensor, on_off: bool) -> Figure:
    """Draw input images above their reconstructions.

    Args:
        inputs: ``(sample, channel, height, width)``.
        rebuilt: The same shape.
        on_off: Channels are off/on pairs, shown as on - off.
    """
    pairs = []
    for images in (inputs, rebuilt):
        grey = images[:, 1::2] - images[:, ::2] if on_off else images
        pairs.append(grey.mean(1).cpu().numpy())
    return _tiles(np.concatenate(pairs), "input (above) and reconstruction W h (below)", columns=len(inputs))


@style()
def spikes_curve(counts: Sequence[int], accuracies: Sequence[float], title: str) -> Figure:
    """Draw accuracy in percent against the number of spikes, on a logarithmic axis.

    Args:
        counts: Numbers of spikes.
        accuracies: Accuracy in percent for each.
        title: Heading.
    """
    figure, (axes,) = new_figure()
    axes.plot(counts, accuracies, "o-", color=colour("sbs"))
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("spikes per position and layer")
    axes.set_ylabel("correct test images in percent")
    axes.set_title(title)
    return figure


def layer_outputs(network: nn.Sequential, inputs: Tensor) -> list[tuple[nn.Module, Tensor, Tensor]]:
    """Return every stage with its input and output."""
    stages = []
    with torch.inference_mode():
        for stage in network:
            outputs = stage(inputs)
            stages.append((stage, inputs, outputs))
            inputs = outputs
    return stages


@style()
def _tiles(tiles: npt.NDArray, title: str, columns: int | None = None) -> Figure:
    columns = columns or min(8, len(tiles))
    rows = -(-len(tiles) // columns)
    width = "page" if columns > 4 else "column"
    figure, axes = new_figure(rows, columns, width=width, height=WIDTHS[width] / columns * rows + 0.3)
    for place in axes:
        place.set_axis_off()
    for place, tile in zip(axes, tiles, strict=False):
        place.imshow(tile, cmap="viridis")
    figure.suptitle(title, fontsize=8)
    return figure
