"""The layer as a function with its own gradient: an engine draws spikes, the rule is the backward pass.

`alpha` is the optional spatial attention, which weighs positions by how well they explain the whole image.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sbs.engines import kernel
from sbs.engines.call import Call
from sbs.engines.geometry import Geometry
from sbs.rules.backward import CHUNK, Gradients, Request, backward_rule

Variant = Literal["v1", "v1.1", "v2"]
ALPHA_FLOOR = 1000 * torch.finfo(torch.float32).eps


@dataclass
class GradientScale:
    """V2's divisor of dL/dh: the running maximum of |dL/dh|, frozen after the first ``updates`` backward passes.

    Attributes:
        updates: Backward passes during which the maximum still grows; 0 switches the scale off.
        seen: Backward passes so far.
        largest: The maximum.
    """

    updates: int = 0
    seen: int = 0
    largest: float = 0.0

    def apply(self, grad: Tensor) -> Tensor:
        """Return dL/dh divided by the scale, and update the scale while it is not frozen."""
        if self.updates <= 0:
            return grad
        if self.seen < self.updates:
            self.seen += 1
            self.largest = max(self.largest, float(grad.abs().max()))
        return grad / self.largest if self.largest > 0 else grad


@dataclass
class Learning:
    """How gradients are formed.

    Attributes:
        variant: Version of the original: "v1" and "v1.1" damp dL/dx by E / (1 + E), "v2" does not.
        local: Use V2's local rule for the weights.
        scale: V2's gradient scale.
        contributions: Number of positions whose gradients were added to the weights' since it was last set to 0.
    """

    variant: Variant = "v1"
    local: bool = False
    scale: GradientScale = field(default_factory=GradientScale)
    contributions: int = 0


def sbs_inference(
    image: Tensor,
    weights: Tensor,
    epsilon_xy: Tensor,
    call: Call,
    learning: Learning | None = None,
    alpha_iterations: int = 0,
    target: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Draw spikes at every position, iterate h, and attach the custom gradient.

    Args:
        image: Intensities ``(sample, channel, height, width)``, float32 or float64, 0 or more.
        weights: ``(component, neuron)``, columns sum to 1.
        epsilon_xy: ``(X, Y)`` or ``(X, Y, k0, k1)``.
        call: Geometry, time course, seed and engine.
        learning: How gradients are formed.
        alpha_iterations: Iterations of spatial attention; 0 is off.
        target: With local learning in an output layer: the desired output, ``(sample, neuron, X, Y)``.

    Returns:
        h ``(sample, neuron, X, Y)`` in the image's dtype, computed in float32 and stored channels-last; and
        the spikes int32 ``(sample, spike, X, Y)`` if ``call.keep_spikes``, else None.
    """
    return _Inference.apply(
        image, weights, epsilon_xy, call, learning or Learning(), alpha_iterations, target
    )  # type: ignore[no-any-return]


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
        value = geometry.patches(z).sum(1).view(samples, columns * rows, 1) + ALPHA_FLOOR
        value = value / value.sum(1, keepdim=True)
    return value.view(samples, columns, rows, 1)


class _Inference(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        image: Tensor,
        weights: Tensor,
        epsilon_xy: Tensor,
        call: Call,
        learning: Learning,
        alpha_iterations: int,
        target: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        single = image.detach().to(torch.float32)
        w, e = weights.detach().to(torch.float32), epsilon_xy.detach().to(torch.float32)
        h, spikes = kernel.infer(single, w, e, call)
        if alpha_iterations:
            h = h * alpha(single, h, w, call.geometry, alpha_iterations)
        ctx.save_for_backward(image, weights, epsilon_xy, h)
        ctx.call, ctx.learning, ctx.normalised, ctx.target = call, learning, not alpha_iterations, target
        if spikes is not None:
            ctx.mark_non_differentiable(spikes)
        return h.permute(0, 3, 1, 2).to(image.dtype), spikes

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, grad: Tensor, _: Any
    ) -> tuple[Tensor | None, ...]:
        image, weights, epsilon_xy, h = ctx.saved_tensors
        learning: Learning = ctx.learning
        needs_image, needs_weights, needs_epsilon = ctx.needs_input_grad[:3]
        grad = learning.scale.apply(grad)
        if needs_weights:
            learning.contributions += h.shape[0] * h.shape[1] * h.shape[2]
        request = Request(
            patches=needs_image,
            weights=needs_weights,
            epsilon=needs_epsilon,
            damped=learning.variant != "v2",
            one_hot=ctx.call.one_hot,
            normalised=ctx.normalised,
            local=learning.local,
        )
        with torch.autocast(grad.device.type, enabled=False):
            result = _by_samples(ctx, image.detach(), weights.detach(), h, grad, epsilon_xy, request)
        return (
            None if result.patches is None else result.patches.to(image.dtype),
            None if result.weights is None else result.weights.to(weights.dtype),
            None if result.epsilon is None else result.epsilon.to(epsilon_xy.dtype),
            None,
            None,
            None,
            None,
        )


def _by_samples(
    ctx: Any, image: Tensor, weights: Tensor, h: Tensor, grad: Tensor, epsilon_xy: Tensor, request: Request
) -> Gradients:
    """Apply the rule to some samples at a time, so that the patches of a large batch never exist at once.

    Returns:
        Gradients whose ``patches`` are those of the image, ``(sample, channel, height, width)``.
    """
    call: Call = ctx.call
    per_sample = h.shape[1] * h.shape[2] * weights.shape[0]
    size = (image.shape[2], image.shape[3])
    total = Gradients(
        torch.empty(image.shape, dtype=torch.float32, device=image.device) if request.patches else None
    )
    gpu = _gpu_rule(call, image, weights)
    entries = CHUNK if gpu is None else gpu.SCRATCH
    for first in range(0, len(image), step := max(1, entries // per_sample)):
        part = slice(first, first + step)
        some, grads = image[part].to(torch.float32), _rows(grad[part])
        target = None if ctx.target is None else _rows(ctx.target[part])
        shared = (
            weights.to(torch.float32),
            h[part].flatten(0, 2),
            grads,
            epsilon_xy,
            call.epsilon_0,
            request,
        )
        if gpu is not None:
            result = gpu.backward_rule_on_gpu(some, call.geometry, *shared, target)
        else:
            cut = kernel.patches(some, call.geometry, call.engine, call.threads)
            result = backward_rule(cut, *shared, target)
        if total.patches is not None and result.patches is not None:
            total.patches[part] = call.geometry.fold(result.patches, len(some), size)
        total.weights = _added(total.weights, result.weights)
        total.epsilon = _added(total.epsilon, result.epsilon)
    return total


def _gpu_rule(call: Call, image: Tensor, weights: Tensor) -> Any:
    """Return the module `sbs.rules.backward_gpu` if it computes the gradient, else None."""
    # The forward pass has refused the engine "kernel" where it cannot run, unless it took expectations.
    if not kernel.on_gpu("reference" if call.engine == "reference" else "auto", image.device, weights.shape):
        return None
    from sbs.rules import backward_gpu

    return backward_gpu


def _added(total: Tensor | None, part: Tensor | None) -> Tensor | None:
    return part if total is None or part is None else total.add_(part)


def _rows(maps: Tensor) -> Tensor:
    return maps.to(torch.float32).permute(0, 2, 3, 1).flatten(0, 2)
