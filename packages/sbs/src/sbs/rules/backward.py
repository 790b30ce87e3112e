"""The custom backward rule as four matrix products.

The output h is treated as a fixed point of one expected update (no back-propagation through the spikes).
With g = dL/dh, the normalised patch x, R = h W^T, Q = ((h * g) W^T) / R, A = x / R and E = epsilon_xy epsilon_0::

    grad_W       = A^T (h * g) - (A * Q)^T h                              summed over all positions
    grad_x       = Q E / (1 + E)                     "v1", "v1.1";   Q    "v2"
    grad_epsilon = sum_sample epsilon_0 / (1 + E)^2 (sum_i x_i Q_i - sum_j h_j g_j)        epsilon_xy (X, Y)
                 = sum_sample,channel epsilon_0 / (1 + E)^2 (x_i Q_i - sum_j h_j g_j)      (X, Y, k0, k1)

The derivative through the normalisation of x is left out, as in the original. g is centred first, g - sum_j h_j
g_j / sum_j h_j, which does not change the results but saves float32 digits that would cancel.
No value is ever replaced by 1e300, as in the original (DEV-4): x / R is 0 where x or R vanishes, and an
empty patch has gradient zero. Rows are processed in chunks, so memory stays at a few activations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

TINY = (
    1e-20  # added to R in float32, as in every recorded run; in float64 the lower bound of R, exact above it
)
CHUNK = 1 << 17  # entries of the largest temporary


@dataclass
class Gradients:
    """The results of the rule; None if not requested.

    Attributes:
        patches: dL/dx, ``(position, component)``.
        weights: ``(component, neuron)``.
        epsilon: Shape of epsilon_xy.
    """

    patches: Tensor | None = None
    weights: Tensor | None = None
    epsilon: Tensor | None = None


@dataclass(frozen=True)
class Request:
    """How and what to differentiate.

    Attributes:
        patches: Whether dL/dx is needed.
        weights: Whether dL/dW is needed.
        epsilon: Whether dL/depsilon_xy is needed.
        damped: Multiply dL/dx by E / (1 + E), the rule of "v1" and "v1.1".
        one_hot: Weights are those of a pooling layer, so Q_i is g of the channel of i.
        normalised: h sums to 1 at every position (false after alpha iterations).
        local: Learn weights locally, see `local_weights`.
    """

    patches: bool = True
    weights: bool = True
    epsilon: bool = True
    damped: bool = True
    one_hot: bool = False
    normalised: bool = True
    local: bool = False


def backward_rule(
    patches: Tensor,
    weights: Tensor,
    h: Tensor,
    grad_output: Tensor,
    epsilon_xy: Tensor,
    epsilon_0: float,
    request: Request | None = None,
    target: Tensor | None = None,
) -> Gradients:
    """Apply the rule to N = samples * X * Y positions.

    Args:
        patches: ``(position, component)``, 0 or more, not normalised.
        weights: ``(component, neuron)``.
        h: Output of the layer, ``(position, neuron)``.
        grad_output: dL/dh, ``(position, neuron)``.
        epsilon_xy: ``(X, Y)`` or ``(X, Y, k0, k1)``.
        epsilon_0: Global factor of the step.
        request: How and what to differentiate.
        target: With ``local``: replaces h, ``(position, neuron)``.
    """
    request = request or Request()
    count, components = patches.shape
    step = (epsilon_xy.detach().to(patches.dtype) * epsilon_0).reshape(
        epsilon_xy.shape[0] * epsilon_xy.shape[1], -1
    )
    result = Gradients()
    if request.patches:
        result.patches = patches.new_empty(count, components)
    if request.weights:
        result.weights = torch.zeros_like(weights)
    pull = patches.new_zeros(count, step.shape[1]) if request.epsilon else None
    rows = max(16, CHUNK // components)
    for first in range(0, count, rows):
        part = slice(first, min(first + rows, count))
        place = torch.arange(part.start, part.stop, device=patches.device) % len(step)
        _Chunk(patches[part], weights, h[part], grad_output[part], step[place], request).into(
            result, pull, part, None if target is None else target[part]
        )
    if pull is not None:
        samples = count // len(step)
        summed = pull.view(samples, *step.shape).sum(0) * (epsilon_0 / (1.0 + step) ** 2)
        result.epsilon = summed.view(epsilon_xy.shape)
    return result


class _Chunk:
    """The products of the rule for some positions."""

    def __init__(
        self, patches: Tensor, weights: Tensor, h: Tensor, grad: Tensor, step: Tensor, request: Request
    ) -> None:
        total = patches.sum(1, keepdim=True)
        self.seen = total > 0
        self.all_seen = bool(self.seen.all())
        self.x = patches / (total if self.all_seen else torch.where(self.seen, total, 1.0))
        self.weights, self.h, self.step, self.request = weights, h, step, request
        mass = h.sum(1, keepdim=True)
        self.mean = (h * grad).sum(1, keepdim=True) / torch.where(mass > 0, mass, 1.0)
        self.centred = grad - self.mean
        self.hg = h * self.centred

    def into(self, result: Gradients, pull: Tensor | None, part: slice, target: Tensor | None) -> None:
        """Add this chunk to the results."""
        request, r = self.request, None
        if request.weights or not request.one_hot:
            r = self.h @ self.weights.T
            r = r.add_(TINY) if r.dtype == torch.float32 else r.clamp_(min=TINY)
        if request.one_hot:
            q = self.centred.repeat_interleave(self.weights.shape[0] // self.weights.shape[1], 1)
        else:
            assert r is not None
            q = (self.hg @ self.weights.T).div_(r)
        if pull is not None:
            pull[part] = self._epsilon(q)
        if result.patches is not None:
            self._patches(q, result.patches[part])
        if result.weights is not None:
            assert r is not None
            if request.local:
                result.weights += local_weights(self.x, r * self.seen, self.h if target is None else target)
            else:
                self._weights(q, r, result.weights)

    def _weights(self, q: Tensor, r: Tensor, into: Tensor) -> None:
        """Add A^T (h * g) - (A * Q)^T h; overwrites x and q."""
        a = self.x.div_(r).masked_fill_(r <= 2 * TINY, 0.0)
        into.addmm_(a.T, self.hg)
        into.addmm_(q.mul_(a).T, self.h, alpha=-1.0)

    def _patches(self, q: Tensor, into: Tensor) -> None:
        torch.add(q, self.mean, out=into)
        if self.request.damped:
            factor = self.step / (1.0 + self.step)
            into *= factor.repeat(1, q.shape[1] // factor.shape[1]) if factor.shape[1] > 1 else factor
        if not self.all_seen:
            into *= self.seen

    def _epsilon(self, q: Tensor) -> Tensor:
        inner = self.hg.sum(1, keepdim=True)
        if self.step.shape[1] == 1:
            value = torch.linalg.vecdot(self.x, q).unsqueeze(1) - inner
            if not self.request.normalised:
                value += self.mean * (self.x.sum(1, keepdim=True) - self.h.sum(1, keepdim=True))
            return value * self.seen
        inner = inner + self.mean * self.h.sum(1, keepdim=True)
        terms = (self.x * (q + self.mean) - inner) * self.seen
        return terms.view(len(terms), -1, self.step.shape[1]).sum(1)


def local_weights(x: Tensor, r: Tensor, h: Tensor) -> Tensor:
    """Return V2's local rule, grad_W = -2 sum_p (x_i - R_i) h_j; in the output layer h is the target.

    Args:
        x: ``(position, component)``, rows sum to 1.
        r: Reconstruction W h, ``(position, component)``.
        h: ``(position, neuron)``.
    """
    return (x - r).T @ h * -2.0
