"""The layer's maths in plain torch: oracle of the kernel, slow substitute, and a form that autograd can check.

Notation: N positions (sample, x, y), I input components, J neurons, S spikes. Every function works on any
device and in float32 or float64. One position p sees the patch x_i, draws spikes s_t from P(i) = x_i / sum x
and updates h, the distribution over its neurons::

    d = sum_j h_j W[s_t, j]
    h_j <- (h_j + eps_t (h_j W[s_t, j] / d + f / J)) / (1 + eps_t (1 + f))     if d > threshold, else h stays

Nothing here needs the compiled module.
"""

from typing import Literal

import torch
from torch import Tensor

Rule = Literal["lower", "upper"]

SMALL = 1e-20  # added to R, so that a patch without likelihood divides by no zero
THRESHOLD = 1e-10  # smallest likelihood of a spike that still changes h, for the scaled h
RESCALE = 1e10  # the scaled h is converted back to h when its scale exceeds this
WORD = 0xFFFFFFFF
NARROW = ("mps",)  # devices without float64
BLOCK = 64  # spikes from 16 counters of the generator, 4 words each


def uniforms(
    seed: int, positions: int, spikes: int, first_position: int = 0, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the numbers that the kernel draws: Philox4x32-10 with key = seed and counter = (position, block).

    Word w of counter ``16 k + l`` belongs to spike ``64 k + 16 w + l``; u = (word >> 8) 2^-24, so a number
    depends only on the seed, the position and the spike.

    Args:
        seed: 0 ... 2^64 - 1.
        positions: N.
        spikes: S.
        first_position: Number of the first position.
        device: Device of the computation.

    Returns:
        float32 ``(position, spike)`` in [0, 1).
    """
    blocks = -(-spikes // BLOCK)
    place = torch.arange(first_position, first_position + positions, device=device).view(-1, 1)
    block = torch.arange(16 * blocks, device=device).view(1, -1)
    zero = torch.zeros(positions, 16 * blocks, dtype=torch.int64, device=device)
    words = philox(zero + (place & WORD), zero + (place >> 32 & WORD), zero + block, zero, seed)
    drawn = torch.stack([word.view(positions, blocks, 16) for word in words], 2)
    return (drawn.flatten(1)[:, :spikes] >> 8).to(torch.float32) * 2.0**-24


def philox(c0: Tensor, c1: Tensor, c2: Tensor, c3: Tensor, key: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Apply ten rounds of Philox4x32 to counters held as int64 (Salmon et al. 2011, doi 10.1145/2063384.2063405)."""
    k0, k1 = key & WORD, key >> 32 & WORD
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32 & WORD) ^ c1 ^ k0, p1 & WORD, (p0 >> 32 & WORD) ^ c3 ^ k1, p0 & WORD
        k0, k1 = k0 + 0x9E3779B9 & WORD, k1 + 0xBB67AE85 & WORD
    return c0, c1, c2, c3


def cumulative(patches: Tensor) -> Tensor:
    """Return the cumulative distribution of every patch, rounded as the original does.

    Sums are computed in float64 and rounded to float32; the division by the last one is in float32. An empty
    patch gives NaN.

    Args:
        patches: ``(position, component)``, 0 or more.

    Returns:
        float32 ``(position, component)``.
    """
    there = patches.to(torch.float32)
    here = there.cpu() if there.device.type in NARROW else there
    total = here.to(torch.float64).cumsum(1).to(torch.float32).to(there.device)
    return total / total[:, -1:]


def spikes_from_uniforms(cdf: Tensor, uniform: Tensor, rule: Rule = "upper") -> Tensor:
    """Turn numbers in [0, 1) into spikes.

    ``upper``: the first k with cdf[k] > u, which never takes a component of probability 0. ``lower``: the
    first k with cdf[k] >= u, the original's rule (DEV-2).

    Args:
        cdf: float32 ``(position, component)``.
        uniform: float32 ``(position, spike)``.
        rule: The comparison.

    Returns:
        int64 ``(position, spike)``; -1 if the patch is empty.
    """
    found = torch.searchsorted(cdf.contiguous(), uniform.contiguous(), right=rule == "upper")
    return torch.where(cdf[:, -1:].isnan(), -1, found.clamp(max=cdf.shape[1] - 1))


def dynamics(
    spikes: Tensor, weights: Tensor, epsilon: Tensor, h_initial: Tensor, forgetting_offset: float = 0.0
) -> Tensor:
    """Apply all spikes one after another.

    u = h * scale is stored instead of h, so no vector is divided at each spike. The result is divided by its
    own sum, which is 1 in exact arithmetic (DEV-3).

    Args:
        spikes: int ``(position, spike)``; a negative one ends the position's spike train.
        weights: ``(component, neuron)``, columns sum to 1.
        epsilon: Step of every spike, ``(position or 1, spike)``.
        h_initial: ``(neuron,)``, sums to 1.
        forgetting_offset: Pull f towards the uniform distribution; 0 or less is off.

    Returns:
        h, ``(position, neuron)``.
    """
    pull = max(forgetting_offset, 0.0)
    u = h_initial.to(weights.dtype).expand(len(spikes), -1).clone()
    scale = torch.ones(len(spikes), 1, dtype=weights.dtype, device=weights.device)
    alive = (spikes >= 0).cumprod(1).bool()
    rows = spikes.clamp(min=0).long()
    for time in range(spikes.shape[1]):
        large = scale > RESCALE
        if bool(large.any()):
            u = torch.where(large, u / scale, u)
            scale = torch.where(large, 1.0, scale)
        q = u * weights[rows[:, time]]
        d = q.sum(1, keepdim=True)
        used = (d > THRESHOLD) & alive[:, time : time + 1]
        step = scale * epsilon[:, time : time + 1].to(weights.dtype)
        change = q * (step / torch.where(used, d, 1.0)) + step * (pull / u.shape[1])
        u = torch.where(used, u + change, u)
        scale = torch.where(used, scale + step * (1.0 + pull), scale)
    return u / u.sum(1, keepdim=True)


def expected(
    patches: Tensor,
    weights: Tensor,
    epsilon: Tensor,
    epsilon_t: Tensor,
    h_initial: Tensor,
    forgetting_offset: float = 0.0,
) -> Tensor:
    """Replace every spike by its expectation over the patch.

    With e_i = epsilon_i epsilon_t and a_i = 1 / (1 + e_i (1 + f)), one step is::

        h_j <- h_j sum_i x_i a_i + h_j sum_i W_ij x_i a_i e_i / R_i + f / J sum_i x_i a_i e_i

    which is h <- (h + e (h * W^T(x / R) + f / J)) / (1 + e (1 + f)) if epsilon is the same for all components.

    Args:
        patches: ``(position, component)``, 0 or more; an empty patch keeps h_initial.
        weights: ``(component, neuron)``.
        epsilon: ``(position or 1, component or 1)``.
        epsilon_t: ``(step,)``.
        h_initial: ``(neuron,)``.
        forgetting_offset: As in `dynamics`.

    Returns:
        h, ``(position, neuron)``.
    """
    pull = max(forgetting_offset, 0.0)
    total = patches.sum(1, keepdim=True)
    x = patches / torch.where(total > 0, total, 1.0)
    start = h_initial.to(weights.dtype).expand(len(x), -1)
    h, gain = start.clone(), torch.empty_like(start, memory_format=torch.contiguous_format)
    moved, r = torch.empty_like(x), torch.empty_like(x)  # no other array of this size is made in a step
    for rate in epsilon_t:
        step = (epsilon * rate).to(weights.dtype)
        kept = torch.div(x, 1.0 + step * (1.0 + pull), out=moved).sum(1, keepdim=True)
        uniform = moved.mul_(step).sum(1, keepdim=True) * (pull / h.shape[1])
        torch.mm(h, weights.T, out=r)
        torch.mm(torch.div(moved, r.add_(SMALL), out=r), weights, out=gain)
        gain.mul_(h)  # with the line above `fixed_point_update`, in place
        h.mul_(kept).add_(gain).add_(uniform)
    return torch.where(total > 0, h / h.sum(1, keepdim=True), start)


def fixed_point_update(x: Tensor, weights: Tensor, h: Tensor) -> Tensor:
    """Return sum_i x_i W_ij h_j / R_i with R = W h, the update that the backward rule differentiates.

    Autograd of this function with respect to ``weights`` and ``x``, h held fixed, is the custom rule.

    Args:
        x: ``(position, component)``; rows sum to 1.
        weights: ``(component, neuron)``.
        h: ``(position, neuron)``.

    Returns:
        ``(position, neuron)``.
    """
    r = h @ weights.T
    return h * (torch.where(x > 0, x / (r + SMALL), 0.0) @ weights)
