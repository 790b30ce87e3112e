"""Figures of a network: filters, h maps, the reconstruction W h, accuracy against the number of spikes.

Needs matplotlib, the extra ``plot``. Nothing is shown on a screen; every function returns a Figure to be
saved.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from reprokit import UserError
from reprokit.files import write_file
from torch import Tensor, nn

from sbs.model.layer import SbSLayer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def filters(layer: SbSLayer, limit: int = 64) -> Figure:
    """Draw p(i | j) of the first ``limit`` neurons, summed over input channels.

    Args:
        layer: An SbS layer with weights (I, J), I = C k0 k1.
        limit: Largest number of neurons drawn.
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
        limit: Largest number of neurons drawn.
    """
    figures = []
    for output, title in zip(outputs, titles, strict=True):
        maps = output.detach().cpu().reshape(-1, *output.shape[-2:]).numpy()[:limit]
        figures.append(_tiles(maps, title))
    return figures


def reconstruction(layer: SbSLayer, h: Tensor, size: tuple[int, int]) -> Tensor:
    """Return what the layer expects to see, R_i = sum_j W_ij h_j, laid back into the image.

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


def spikes_curve(counts: Sequence[int], accuracies: Sequence[float], title: str) -> Figure:
    """Draw accuracy in percent against the number of spikes, on a logarithmic axis.

    Args:
        counts: Numbers of spikes.
        accuracies: Accuracy in percent for each.
        title: Heading.
    """
    figure = _figure(5.0, 3.5)
    axes = figure.add_subplot()
    axes.plot(counts, accuracies, "o-")
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("spikes per position and layer")
    axes.set_ylabel("correct test images in percent")
    axes.set_title(title)
    axes.grid(alpha=0.3)
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


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure, complete or not at all; the format follows the suffix (.png, .svg, .pdf).

    Raises:
        UserError: The suffix names no format matplotlib can write.
    """
    path = Path(path)
    buffer = io.BytesIO()
    kinds = figure.canvas.get_supported_filetypes()
    kind = path.suffix.lstrip(".") or "png"
    if kind not in kinds:
        raise UserError(f"{path}: cannot draw {path.suffix!r} files; use one of {', '.join(sorted(kinds))}")
    figure.savefig(buffer, format=kind, dpi=120, bbox_inches="tight")
    return write_file(path, buffer.getvalue())


def _tiles(tiles: npt.NDArray, title: str, columns: int | None = None) -> Figure:
    columns = columns or min(8, len(tiles))
    rows = -(-len(tiles) // columns)
    figure = _figure(0.9 * columns, 0.9 * rows + 0.4)
    for index, tile in enumerate(tiles):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.imshow(tile, cmap="viridis")
        axes.set_axis_off()
    figure.suptitle(title, fontsize=9)
    return figure


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("figures need matplotlib; install the extra: pip install 'sbs[plot]'") from error
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure
