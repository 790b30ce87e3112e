"""The forward pass on a GPU: three Triton kernels for a chunk of positions, none of them launched per spike.

* `distributions`: a lane adds one position's components in order, in float64. Lanes are independent positions,
  neighbours read neighbouring pixels, and the order is the CPU's, so the cumulative distribution has its bits.
* `draw`: a program draws 512 spikes of one position: counters of Philox4x32-10 side by side, then as many binary
  searches in a table that fits the first-level cache. Integers and comparisons only: spikes are the CPU's bits.
* `follow`: a program iterates h of some positions over all spikes, in registers: one warp holds 128 neurons (four
  positions of 32), so the sum of a step is a few shuffles within the warp. Larger layers take more warps.

Spikes therefore equal the CPU's for the same image, bit for bit (`sbs.engines.agreement` counts them); h differs by
the order of sums, at most 5e-7. In a network that difference can move a spike of a later layer whose number lies next
to an edge of its distribution. On one GPU, results do not depend on the batch or on the chunks.

Memory, besides image and h: 4 bytes for each spike and component of a chunk, at most `SCRATCH` entries together
(128 MiB) unless one position needs more; spikes that are kept take 4 bytes each. The host waits once per call, at the
end, to learn whether the image held a bad value. Each launch says whether products and sums may be fused, for Triton's
default differs between versions.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from sbs.engines.call import Call, bad_input
from sbs.engines.geometry import Geometry

try:
    from sbs.engines import triton_kernels as kernels
except ImportError:
    kernels = None

SCRATCH = 1 << 25  # entries of spikes and distributions that exist at a time
LANES = 32  # positions per program that adds up patches
COUNTERS = 128  # counters per program that draws, four spikes each
WARP = 128  # neurons that a warp of `follow` holds in registers
LARGEST = 16384  # neurons of a layer


def missing(device: torch.device, components: int = 1, neurons: int = 1) -> str | None:
    """Return why the kernels cannot compute a layer on a CUDA or ROCm device, None if they can."""
    if kernels is None:
        return f"Triton is missing and the layer is on {device}; pip install triton (extra 'gpu')"
    if neurons > LARGEST or components * neurons >= 2**31:
        return (
            f"the layer on {device} has {components} components and {neurons} neurons; its GPU kernels take at most "
            f"{LARGEST} neurons and weights below 2^31 entries"
        )
    return None


def _present() -> Any:
    assert kernels is not None, "ask `missing` first"
    return kernels


def infer(image: Tensor, weights: Tensor, epsilon_xy: Tensor, call: Call) -> tuple[Tensor, Tensor | None]:
    """Draw spikes and iterate h; arguments and results are those of `sbs.engines.kernel.infer`."""
    geometry, samples = call.geometry, len(image)
    rows, columns = geometry.output_size((image.shape[2], image.shape[3]))
    positions, length = samples * rows * columns, len(call.epsilon_t)
    by_position = (0, 2, 3, 1)
    given = None if call.spikes is None else call.spikes.permute(by_position).to(torch.int32).contiguous()
    uniform = None if call.uniform is None else call.uniform.permute(by_position).float().contiguous()
    whole = given
    if call.keep_spikes and given is None:
        whole = torch.empty(samples, rows, columns, length, dtype=torch.int32, device=image.device)
    h = weights.new_empty(samples, rows, columns, weights.shape[1])
    totals = weights.new_empty(positions)
    forward = _Forward(image, weights, epsilon_xy, call, whole is not None)
    trains = None if whole is None else whole.view(positions, length)
    with on(image.device):
        for first in range(0, positions, forward.chunk):
            part = slice(first, min(first + forward.chunk, positions))
            forward.distributions(totals[part], first)
            spikes = forward.spikes if trains is None else trains[part]
            if given is None:
                numbers = None if uniform is None else uniform.view(positions, length)[part]
                forward.draw(totals[part], spikes, numbers, first)
            forward.follow(spikes, totals[part], h.view(positions, -1)[part], first)
    if bool(totals.isnan().any()):
        raise bad_input()
    if whole is None or not call.keep_spikes:
        return h, None
    kept = whole if given is None else torch.where(totals.view(samples, rows, columns, 1) > 0, whole, -1)
    return h, kept.permute(0, 3, 1, 2).contiguous()


def spikes(image: Tensor, call: Call) -> Tensor:
    """Draw spikes alone, int32 ``(sample, spike, X, Y)``, -1 where a patch is empty; they take 4 bytes each."""
    rows, columns = call.geometry.output_size((image.shape[2], image.shape[3]))
    kernel, area = call.geometry.kernel, rows * columns
    weights = image.new_empty(image.shape[1] * kernel[0] * kernel[1], 1)
    found = torch.empty(len(image) * area, len(call.epsilon_t), dtype=torch.int32, device=image.device)
    totals = image.new_empty(len(found))
    forward = _Forward(image, weights, image.new_empty(rows, columns), call, True)
    with on(image.device):
        for first in range(0, len(found), forward.chunk):
            part = slice(first, first + forward.chunk)
            forward.distributions(totals[part], first)
            forward.draw(totals[part], found[part], None, first)
    if bool(totals.isnan().any()):
        raise bad_input()
    return found.view(len(image), rows, columns, -1).permute(0, 3, 1, 2).contiguous()


def totals(image: Tensor, geometry: Geometry) -> Tensor:
    """Return the sum of every patch, float32 ``(position,)``; NaN if it holds a bad value."""
    rows, columns = geometry.output_size((image.shape[2], image.shape[3]))
    found = image.new_empty(len(image) * rows * columns)
    with on(image.device):
        _distributions(image, geometry, found, None, 0)
    return found


def on(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which Triton launches on a device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def geometry_numbers(image: Tensor, geometry: Geometry) -> list[int]:
    """Return the arguments that `triton_kernels.GEOMETRY` names."""
    size = (image.shape[2], image.shape[3])
    g = geometry
    return [*size, *g.output_size(size), *g.stride, *g.dilation, *g.padding, *image.stride()]


def _distributions(image: Tensor, geometry: Geometry, totals: Tensor, cdf: Tensor | None, first: int) -> None:
    count = len(totals)
    _present().distributions[(-(-count // LANES),)](
        image, totals, totals if cdf is None else cdf, first, count, image.shape[1],
        *geometry_numbers(image, geometry), *geometry.kernel, cdf is not None, LANES, num_warps=1,
        enable_fp_fusion=False,
    )  # fmt: skip


class _Forward:
    """One call: its constants, and scratch memory for a chunk of positions.

    Args:
        image: float32 ``(sample, channel, height, width)``.
        weights: float32 ``(component, neuron)``.
        epsilon_xy: float32 ``(X, Y)`` or ``(X, Y, k0, k1)``.
        call: Everything else.
        kept: Whether spikes are kept or given: then each has its component, and no scratch memory.
    """

    def __init__(self, image: Tensor, weights: Tensor, epsilon_xy: Tensor, call: Call, kept: bool) -> None:
        self.image, self.call = image, call
        self.weights, self.epsilon_xy = weights.contiguous(), epsilon_xy.contiguous()
        self.h_initial = call.h_initial.to(torch.float32).contiguous()
        self.epsilon_t = (call.epsilon_t * call.epsilon_0).to(torch.float32).contiguous()
        self.components, self.neurons = weights.shape
        self.area = epsilon_xy.shape[0] * epsilon_xy.shape[1]
        self.size = call.geometry.kernel[0] * call.geometry.kernel[1]
        self.width = epsilon_xy.numel() // self.area
        self.length = len(self.epsilon_t)
        self.pull = max(call.forgetting_offset, 0.0)
        self.pooled = call.one_hot and not self.pull
        # Pooling needs only the channel of a spike, unless its place in the kernel matters.
        self.stride = self.size if self.pooled and not kept and self.width == 1 else 1
        entries = self.components + (0 if kept else self.length)
        self.chunk = max(1, min(SCRATCH // entries, len(image) * self.area))
        self.cdf = image.new_empty(self.chunk, self.components)
        made = (0, 0) if kept else (self.chunk, self.length)
        self.spikes = torch.empty(made, dtype=torch.int32, device=image.device)

    def distributions(self, totals: Tensor, first: int) -> None:
        """Write the totals of the patches of a chunk, and its cumulative distributions where spikes are drawn."""
        cdf = self.cdf if self.call.spikes is None else None
        _distributions(self.image, self.call.geometry, totals, cdf, first)

    def draw(self, totals: Tensor, spikes: Tensor, uniform: Tensor | None, first: int) -> None:
        """Write the spikes of a chunk, int32 ``(position, spike)``."""
        call, choices = self.call, self.components // self.stride
        start = call.first_position + first
        words = [_signed(number >> shift) for number in (start, call.seed) for shift in (0, 32)]
        _present().draw[(len(totals), -(-self.length // (4 * COUNTERS)))](
            self.cdf, totals, totals if uniform is None else uniform, spikes, self.length,
            self.components, choices, *words, self.stride, choices.bit_length(), uniform is not None,
            call.rule == "lower", COUNTERS, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip

    def follow(self, spikes: Tensor, totals: Tensor, h: Tensor, first: int) -> None:
        """Write h of a chunk, ``(position, neuron)``."""
        block = _power(self.neurons)
        lanes, warps = max(1, WARP // block), max(1, min(block // (2 * WARP), 16))
        share = 1.0 / self.size if self.pooled else self.pull / self.neurons
        _present().follow[(-(-len(totals) // lanes),)](
            spikes, self.weights, self.h_initial, self.epsilon_t, self.epsilon_xy, totals, h, first, len(totals),
            self.area, self.length, self.pull, share, self.neurons, self.width, self.pooled,
            self.size // self.stride, self.pull > 0, lanes, block, num_warps=warps,
            enable_fp_fusion=True,
        )  # fmt: skip


def _signed(word: int) -> int:
    """Return the low 32 bits of a number as an int32, so that an argument's type never depends on its value."""
    return ((word & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def _power(number: int) -> int:
    """Return the smallest power of 2 that is at least ``number``."""
    return 1 << (number - 1).bit_length()
