"""The rule of `sbs.rules.backward` on a GPU: two Triton kernels for some samples at a time.

* `explain`: a program takes 64 positions and 32 components, reads their pixels straight from the image, and computes
  R, Q and what follows from them; no patches are cut out.
* `products`: a program adds one tile of dL/dW over a span of positions; spans run side by side and are added
  in a fixed order, so a gradient has the same bits every time.

Products are in float32 whatever PyTorch's setting for TF32 is. Gradients equal the CPU's up to the order of sums: 1e-5
of the largest entry.

Memory: one array of `SCRATCH` entries (64 MiB) or one sample's patches, whichever is more, for each of dL/dx, A,
A * Q and the terms of epsilon that are needed; and parts of dL/dW of at most as many entries, or one part.
"""

from typing import Any

import torch
from torch import Tensor

from sbs.engines import gpu
from sbs.engines.geometry import Geometry
from sbs.rules.backward import Gradients, Request

try:
    from sbs.rules import triton_kernels as kernels
except ImportError:
    kernels = None

SCRATCH = 1 << 24  # entries of the largest temporary
POSITIONS, COMPONENTS, NEURONS = 64, 32, 32  # a program's tile
SPAN = 1024  # positions that one program adds up, more if the parts of a large dL/dW took more than SCRATCH entries


def _present() -> Any:
    assert kernels is not None, "ask `sbs.engines.gpu.missing` first"
    return kernels


def backward_rule_on_gpu(
    image: Tensor,
    geometry: Geometry,
    weights: Tensor,
    h: Tensor,
    grad_output: Tensor,
    epsilon_xy: Tensor,
    epsilon_0: float,
    request: Request,
    target: Tensor | None = None,
) -> Gradients:
    """Apply the rule to the positions of some samples.

    Args:
        image: float32 ``(sample, channel, height, width)``, 0 or more.
        geometry: Kernel geometry.
        weights: float32 ``(component, neuron)``.
        h: Output of the layer, ``(position, neuron)``.
        grad_output: dL/dh, ``(position, neuron)``.
        epsilon_xy: ``(X, Y)`` or ``(X, Y, k0, k1)``.
        epsilon_0: Global factor of the step.
        request: How and what to differentiate.
        target: With ``local``: replaces h, ``(position, neuron)``.

    Returns:
        Gradients as those of `sbs.rules.backward.backward_rule`: ``patches`` are ``(position, component)``.
    """
    count, components = len(h), weights.shape[0]
    area = epsilon_xy.shape[0] * epsilon_xy.shape[1]
    step = (epsilon_xy.detach().to(torch.float32) * epsilon_0).reshape(area, -1)
    weights, h, grad = weights.contiguous(), h.contiguous(), grad_output.contiguous()
    mass = h.sum(1)
    mean = (h * grad).sum(1) / torch.where(mass > 0, mass, 1.0)
    totals = gpu.totals(image, geometry)

    def made(wanted: bool) -> Tensor:
        return weights.new_empty((count, components) if wanted else (0,))

    ratio, weighted = made(request.weights), made(request.weights and not request.local)
    patches, terms = made(request.patches), made(request.epsilon)
    tiles = (-(-count // POSITIONS), -(-components // COMPONENTS))
    with gpu.on(image.device):
        _present().explain[tiles](
            image, totals, weights, h, grad, mean, step / (1.0 + step), ratio, weighted, patches, terms, count,
            components, *gpu.geometry_numbers(image, geometry), *geometry.kernel, weights.shape[1], step.shape[1],
            request.weights, request.patches, request.epsilon, request.one_hot, request.damped, request.local,
            POSITIONS, COMPONENTS, NEURONS, num_warps=4, num_stages=2, enable_fp_fusion=True,
        )  # fmt: skip
    result = Gradients(patches if request.patches else None)
    if request.weights:
        source = h if target is None or not request.local else target.contiguous()
        result.weights = _products(ratio, weighted, source, grad, mean, request.local)
    if request.epsilon:
        pull = _epsilon(terms, h, grad, mean, mass, totals, request.normalised, step.shape[1])
        result.epsilon = (
            pull.view(-1, *step.shape).sum(0) * (epsilon_0 / (1.0 + step) ** 2)
        ).view(epsilon_xy.shape)  # fmt: skip
    return result


def _products(ratio: Tensor, weighted: Tensor, h: Tensor, grad: Tensor, mean: Tensor, local: bool) -> Tensor:
    """Return dL/dW, ``(component, neuron)``."""
    (count, components), neurons = ratio.shape, h.shape[1]
    most = max(1, SCRATCH // (components * neurons))
    span = max(SPAN, -(-count // most))
    parts = -(-count // span)
    partial = h.new_empty(parts, components, neurons)
    with gpu.on(h.device):
        _present().products[(-(-components // COMPONENTS), -(-neurons // NEURONS), parts)](
            ratio, weighted, h, grad, mean, partial, count, components, span, neurons, local,
            POSITIONS, COMPONENTS, NEURONS, num_warps=4, num_stages=1, enable_fp_fusion=True,
        )  # fmt: skip
    total = partial.sum(0)
    return total * -2.0 if local else total


def _epsilon(
    terms: Tensor,
    h: Tensor,
    grad: Tensor,
    mean: Tensor,
    mass: Tensor,
    totals: Tensor,
    normalised: bool,
    width: int,
) -> Tensor:
    """Return dL/depsilon of every position, without its factor, ``(position, width)``."""
    inner = (h * (grad - mean.unsqueeze(1))).sum(1)
    seen = totals > 0
    if width == 1:
        value = terms.sum(1) - inner
        if not normalised:
            value += mean * (seen.to(mass.dtype) - mass)
        return (value * seen).unsqueeze(1)
    summed = terms.view(len(terms), -1, width)
    return (summed.sum(1) - summed.shape[1] * (inner + mean * mass).unsqueeze(1)) * seen.unsqueeze(1)
