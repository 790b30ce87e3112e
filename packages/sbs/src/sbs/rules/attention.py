"""Alpha iterations: a spatial attention that weighs positions by how well they explain the whole image."""

import torch
from torch import Tensor

from sbs.engines.geometry import Geometry

FLOOR = 1000 * torch.finfo(torch.float32).eps


def alpha(image: Tensor, h: Tensor, weights: Tensor, geometry: Geometry, iterations: int) -> Tensor:
    """Return the attention of every position.

    With R_i(p) = sum_j W_ij h_j(p), alpha starts uniform; repeated: t_i = alpha R_i, divided by its sum over
    positions; z = sum_c image_c fold(t)_c; alpha = z summed over each kernel window + 1000 float32 eps,
    divided by its sum over positions. 0 / 0 counts as 0.

    Args:
        image: Input ``(sample, channel, height, width)``.
        h: ``(sample, X, Y, neuron)``.
        weights: ``(component, neuron)``.
        geometry: Kernel geometry.
        iterations: Number of repetitions, at least 1.

    Returns:
        ``(sample, X, Y, 1)``, sums to 1 over X and Y.
    """
    samples, columns, rows, _ = h.shape
    size = (image.shape[2], image.shape[3])
    r = h.flatten(1, 2) @ weights.T
    value = h.new_full((samples, columns * rows, 1), 1.0 / (columns * rows))
    for _ in range(iterations):
        t = value * r
        t = torch.nan_to_num(t / t.sum(1, keepdim=True), nan=0.0, posinf=0.0)
        z = (geometry.fold(t.flatten(0, 1), samples, size) * image).sum(1, keepdim=True)
        value = geometry.patches(z).sum(1).view(samples, columns * rows, 1) + FLOOR
        value = value / value.sum(1, keepdim=True)
    return value.view(samples, columns, rows, 1)
