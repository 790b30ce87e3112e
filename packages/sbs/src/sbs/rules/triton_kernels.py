"""The Triton kernels of :mod:`sbs.rules.backward_gpu`: the products of the backward rule, in float32 throughout.

Matrix products are written out here, not left to cuBLAS, because PyTorch's switch for TF32 would reach it: the gradient
of the weights is a difference of nearly equal numbers, which ten bits of mantissa do not hold.
"""

# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

from sbs.engines.triton_kernels import GEOMETRY, corner


@triton.jit(do_not_specialize=["count", "components", *GEOMETRY])
def explain(
    image, totals, weights, h, grad, mean, factor, ratio, weighted, patch_gradient, terms, count, components,
    height, width, rows, columns, stride0, stride1, dilation0, dilation1, padding0, padding1,
    by_sample, by_channel, by_row, by_column,
    kernel0: tl.constexpr, kernel1: tl.constexpr, neurons: tl.constexpr, elements: tl.constexpr,
    for_weights: tl.constexpr, for_patches: tl.constexpr, for_epsilon: tl.constexpr,
    pooled: tl.constexpr, damped: tl.constexpr, local: tl.constexpr,
    block_p: tl.constexpr, block_i: tl.constexpr, block_j: tl.constexpr,
):  # fmt: skip
    """Compute R = h W^T and Q = ((h * g) W^T) / R for some positions and components, and what follows from them.

    Writes A = x / R (`local`: x - R) to ratio and A * Q to weighted, dL/dx to patch_gradient, and the terms of
    dL/depsilon: x Q, or x (Q + mean) if epsilon has `elements` > 1 per position. Each is (position, component).
    """
    p = tl.program_id(0) * block_p + tl.arange(0, block_p)
    i = tl.program_id(1) * block_i + tl.arange(0, block_i)
    inside, known = p < count, i < components
    position = p.to(tl.int64)
    both = inside[:, None] & known[None, :]
    channel, element = i // (kernel0 * kernel1), i % (kernel0 * kernel1)
    down, right = element // kernel1 * dilation0, element % kernel1 * dilation1
    corners, row, column = corner(
        image, position, rows, columns, stride0, stride1, padding0, padding1, by_sample, by_row, by_column
    )
    y, z = row[:, None] + down[None, :], column[:, None] + right[None, :]
    seen = both & (y >= 0) & (z >= 0) & (y < height) & (z < width)
    offset = channel.to(tl.int64) * by_channel + down.to(tl.int64) * by_row + right * by_column
    total = tl.load(totals + p, mask=inside, other=0.0)
    there = (total > 0)[:, None]
    x = tl.load(corners[:, None] + offset[None, :], mask=seen, other=0.0)
    x = tl.div_rn(x, tl.zeros_like(x) + tl.where(total > 0, total, 1.0)[:, None])
    centre = tl.load(mean + p, mask=inside, other=0.0)[:, None]
    r = tl.zeros((block_p, block_i), tl.float32)
    s = tl.zeros((block_p, block_i), tl.float32)
    if for_weights or not pooled:
        for first in range(0, neurons, block_j):
            j = first + tl.arange(0, block_j)
            some = j < neurons
            at = position[:, None] * neurons + j[None, :]
            hs = tl.load(h + at, mask=inside[:, None] & some[None, :], other=0.0)
            w = tl.load(
                weights + i[:, None] * neurons + j[None, :], mask=known[:, None] & some[None, :], other=0.0
            )
            w = tl.trans(w)
            r = tl.dot(hs, w, r, input_precision="ieee")
            if not pooled:
                gs = tl.load(grad + at, mask=inside[:, None] & some[None, :], other=0.0)
                s = tl.dot(hs * (gs - centre), w, s, input_precision="ieee")
    r += 1e-20
    if pooled:
        q = tl.load(grad + position[:, None] * neurons + channel[None, :], mask=both, other=0.0) - centre
    else:
        q = tl.div_rn(s, r)
    out = position[:, None] * components + i[None, :]
    if for_epsilon:
        term = x * (q + centre) if elements > 1 else x * q
        tl.store(terms + out, tl.where(there, term, 0.0), mask=both)
    if for_patches:
        gradient = q + centre
        if damped:
            place = (position % (rows * columns)) * elements
            if elements > 1:
                gradient *= tl.load(factor + place[:, None] + element[None, :], mask=both, other=0.0)
            else:
                gradient *= tl.load(factor + place, mask=inside, other=0.0)[:, None]
        tl.store(patch_gradient + out, tl.where(there, gradient, 0.0), mask=both)
    if for_weights:
        if local:
            tl.store(ratio + out, x - tl.where(there, r, 0.0), mask=both)
        else:
            a = tl.where(r <= 2e-20, 0.0, tl.div_rn(x, r))
            tl.store(ratio + out, a, mask=both)
            tl.store(weighted + out, a * q, mask=both)


@triton.jit(do_not_specialize=["count", "components", "span"])
def products(
    ratio, weighted, h, grad, mean, partial, count, components, span,
    neurons: tl.constexpr, local: tl.constexpr,
    block_p: tl.constexpr, block_i: tl.constexpr, block_j: tl.constexpr,
):  # fmt: skip
    """Add A^T (h * g) - (A * Q)^T h over `span` positions into partial (part, component, neuron); `local`: A^T h.

    A part is written by one program, and the parts are added afterwards: the same sum every time, without atomics.
    """
    i = tl.program_id(0) * block_i + tl.arange(0, block_i)
    j = tl.program_id(1) * block_j + tl.arange(0, block_j)
    part = tl.program_id(2)
    known, some = i < components, j < neurons
    total = tl.zeros((block_i, block_j), tl.float32)
    for first in range(0, span, block_p):
        p = part * span + first + tl.arange(0, block_p)
        inside = p < count
        position = p.to(tl.int64)
        at = position[:, None] * components + i[None, :]
        a = tl.load(ratio + at, mask=inside[:, None] & known[None, :], other=0.0)
        here = position[:, None] * neurons + j[None, :]
        hs = tl.load(h + here, mask=inside[:, None] & some[None, :], other=0.0)
        if local:
            total = tl.dot(tl.trans(a), hs, total, input_precision="ieee")
        else:
            gs = tl.load(grad + here, mask=inside[:, None] & some[None, :], other=0.0)
            centre = tl.load(mean + p, mask=inside, other=0.0)[:, None]
            aq = tl.load(weighted + at, mask=inside[:, None] & known[None, :], other=0.0)
            total = tl.dot(tl.trans(a), hs * (gs - centre), total, input_precision="ieee")
            total = tl.dot(tl.trans(aq), -hs, total, input_precision="ieee")
    target = partial + (part.to(tl.int64) * components + i[:, None]) * neurons + j[None, :]
    tl.store(target, total, mask=known[:, None] & some[None, :])
