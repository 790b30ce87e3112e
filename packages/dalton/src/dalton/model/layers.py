"""The linear part of a layer, I = Pool(A x), its adjoint and its weight gradient, without Jacobians.

Functions work on arrays (sample, ...), where a sample is one image at one time-step. They are the plain form,
convolution and then pooling; the compiled engine computes the same sums faster.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from dalton.model.architectures import LayerSpec
from dalton.model.precision import reduced
from dalton.names import Convolution


def current(
    spec: LayerSpec, x: Tensor, weight: Tensor, convolution: Convolution = "full"
) -> tuple[Tensor, Tensor | None]:
    """Return input currents (sample, *output_shape), and the switches of a max-pool or None.

    Args:
        spec: The layer.
        x: Spikes of the layer below (sample, *input_shape).
        weight: (out, in, kernel, kernel) or (out, in).
        convolution: Digits of a convolution, see :mod:`dalton.model.precision`.
    """
    if spec.kind == "dense":
        return x.flatten(1) @ weight.T, None
    maps = reduced(lambda a, b: F.conv2d(a, b, stride=spec.stride), convolution, x, weight)
    if spec.pool == 1:
        return maps, None
    if spec.pool_type == "avg":
        return F.avg_pool2d(maps, spec.pool), None
    pooled, switches = F.max_pool2d(maps, spec.pool, return_indices=True)
    return pooled, switches


def map_size(spec: LayerSpec) -> tuple[int, ...]:
    """Return the (height, width) of a convolution before pooling."""
    return tuple((n - spec.weight_shape[2]) // spec.stride + 1 for n in spec.input_shape[1:])


def unpool(spec: LayerSpec, error: Tensor, switches: Tensor | None) -> Tensor:
    """Return Pool^T e, (sample, channel, height, width) of the maps before pooling."""
    if spec.pool == 1:
        return error
    size = map_size(spec)
    if switches is not None:
        maps = error.new_zeros((*error.shape[:2], size[0] * size[1]))
        maps.scatter_(2, switches.flatten(2), error.flatten(2))
        return maps.view(*error.shape[:2], *size)
    spread = (error / spec.pool**2).repeat_interleave(spec.pool, 2).repeat_interleave(spec.pool, 3)
    return F.pad(spread, (0, size[1] - spread.shape[3], 0, size[0] - spread.shape[2]))


def adjoint(
    spec: LayerSpec, error: Tensor, weight: Tensor, switches: Tensor | None, convolution: Convolution = "full"
) -> Tensor:
    """Return A^T Pool^T e (sample, *input_shape) for errors e of the currents (sample, *output_shape)."""
    if spec.kind == "dense":
        return (error @ weight).view(len(error), *spec.input_shape)
    maps = unpool(spec, error, switches)
    shape = (len(error), *spec.input_shape)
    return reduced(lambda a, b: conv2d_input(shape, a, b, stride=spec.stride), convolution, weight, maps)


def weight_gradient(
    spec: LayerSpec, x: Tensor, error: Tensor, switches: Tensor | None, convolution: Convolution = "full"
) -> Tensor:
    """Return corr(x, Pool^T e), the gradient of the weight, for inputs x and errors e of the currents."""
    if spec.kind == "dense":
        return error.T @ x.flatten(1)
    maps = unpool(spec, error, switches)
    return reduced(
        lambda a, b: conv2d_weight(a, spec.weight_shape, b, stride=spec.stride), convolution, x, maps
    )
