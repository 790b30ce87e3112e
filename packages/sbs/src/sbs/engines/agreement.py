"""Whether two engines draw the same spikes, and how many draws are so close to an edge that they need not.

A spike is found by comparing a number with the edges of a cumulative distribution. An engine that adds a patch in
another order, or whose division is not exact, moves an edge by a rounding or two; a number within 2 ulp of an edge may
then fall on its other side. The engines of this package add in the same order and divide exactly, so none should
differ; the counts show it on your device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sbs.engines import kernel, reference
from sbs.engines.call import Call
from sbs.engines.geometry import Geometry

NEAR = 2.0  # units in the last place of an edge


@dataclass(frozen=True)
class Agreement:
    """Counts of draws.

    Attributes:
        draws: Spikes of patches that are not empty.
        near: Draws within 2 ulp of an edge of their distribution.
        different: Draws for which the two engines have different spikes.
        unexplained: Different ones with an edge between the two spikes that is farther than 2 ulp from the draw.
    """

    draws: int
    near: int
    different: int
    unexplained: int


def compare_spikes(image: Tensor, call: Call, spikes: Tensor, others: Tensor) -> Agreement:
    """Compare the spikes that two engines drew from the same image with the same seed.

    Args:
        image: float32 ``(sample, channel, height, width)``.
        call: What both were asked for.
        spikes: int ``(sample, spike, X, Y)``, -1 where a patch is empty.
        others: The other engine's.

    Returns:
        Counts over all draws. A spike of an empty patch of one engine alone is unexplained.
    """
    cdf = reference.cumulative(call.geometry.patches(image.cpu().to(torch.float32)))
    one, other = (found.cpu().permute(0, 2, 3, 1).flatten(0, 2).long() for found in (spikes, others))
    u = reference.uniforms(call.seed, len(cdf), one.shape[1], call.first_position)
    seen = ~cdf[:, -1:].isnan()
    cdf = torch.where(seen, cdf, 1.0)
    above = torch.searchsorted(cdf, u, right=True)
    near = seen & (_near(cdf, u, above) | _near(cdf, u, above - 1))
    different = one != other
    low, high = torch.minimum(one, other), torch.maximum(one, other)
    explained = seen & (low >= 0) & _near(cdf, u, low) & _near(cdf, u, high - 1)
    return Agreement(
        int(seen.sum()) * one.shape[1],
        int(near.sum()),
        int(different.sum()),
        int((different & ~explained).sum()),
    )


def count_draws(device: torch.device | str, draws: int = 1_000_000, seed: int = 0) -> Agreement:
    """Draw spikes from random images on the CPU and with the GPU's kernels, and compare them.

    Args:
        device: Where the kernels run.
        draws: About how many spikes; they come from 16 patches of 32 components.
        seed: Seed of the images and of the spikes.
    """
    from sbs.engines import gpu

    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(16, 2, 4, 4, generator=generator, dtype=torch.float32) ** 2
    one = image.new_ones(1, 1)
    course = one[0].expand(-(-draws // 16))
    call = Call(Geometry((4, 4)), course, 1.0, one[0], seed=seed, keep_spikes=True)
    here = kernel.infer(image, one.expand(32, 1), one, call)[1]
    assert here is not None
    return compare_spikes(image, call, here, gpu.spikes(image.to(device), call))


def _near(cdf: Tensor, u: Tensor, index: Tensor) -> Tensor:
    """Return whether numbers lie within 2 ulp of the edges with the given indices; False where there is none."""
    edge = cdf.gather(1, index.clamp(0, cdf.shape[1] - 1))
    ulp = torch.nextafter(edge, torch.full_like(edge, 2.0)) - edge
    exists = (index >= 0) & (index < cdf.shape[1] - 1)  # the last edge is 1, which no number reaches
    return exists & ((edge - u).abs() <= NEAR * ulp)
