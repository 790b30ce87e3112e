"""The Triton kernels of :mod:`sbs.engines.gpu`: from an image to distributions, to spikes, to h.

Positions ``first ... first + count - 1`` are worked on; arrays that a chunk of positions owns start at its first one.
A position is (sample, x, y) with y fastest, a component ``i = (c * k0 + a) * k1 + b``. Addresses of positions have 64
bits. Numbers of 32 bits that must not be rounded or signed (the words of a seed) come as int32 of the same bits.
"""

# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

# Geometry of a layer as a kernel takes it: sizes first, then the image's strides in elements.
GEOMETRY = [
    "height", "width", "rows", "columns", "stride0", "stride1", "dilation0", "dilation1", "padding0", "padding1",
    "by_sample", "by_channel", "by_row", "by_column",
]  # fmt: skip


@triton.jit
def corner(
    image, position, rows, columns, stride0, stride1, padding0, padding1, by_sample, by_row, by_column
):
    """Return the address of a patch's first element, its row and its column; padding makes these negative."""
    area = rows * columns
    place = (position % area).to(tl.int32)
    row = place // columns * stride0 - padding0
    column = place % columns * stride1 - padding1
    first = image + position // area * by_sample + row.to(tl.int64) * by_row + column.to(tl.int64) * by_column
    return first, row, column


@triton.jit(do_not_specialize=["first", "count", "channels", *GEOMETRY])
def distributions(
    image, totals, cdf, first, count, channels,
    height, width, rows, columns, stride0, stride1, dilation0, dilation1, padding0, padding1,
    by_sample, by_channel, by_row, by_column,
    kernel0: tl.constexpr, kernel1: tl.constexpr, divided: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Add up patches: totals (position), NaN if a patch holds a bad value; if `divided`, cdf (position, component).

    A lane adds one position's components in their order, in float64, as the CPU core does: cdf has the same bits.
    """
    lane = tl.program_id(0) * block + tl.arange(0, block)
    inside = lane < count
    corners, row, column = corner(
        image, first + lane.to(tl.int64), rows, columns, stride0, stride1, padding0, padding1, by_sample, by_row,
        by_column,
    )  # fmt: skip
    total = tl.zeros((block,), tl.float64)
    bad = tl.zeros((block,), tl.int32)
    plane = corners
    for _ in range(channels):
        for a in range(kernel0):
            for b in range(kernel1):
                r, q = row + a * dilation0, column + b * dilation1
                seen = inside & (r >= 0) & (q >= 0) & (r < height) & (q < width)
                at = plane + (a * dilation0 * by_row + b * dilation1 * by_column)
                value = tl.load(at, mask=seen, other=0.0)
                bad += tl.where(value >= 0, 0, 1)
                total += value.to(tl.float64)
        plane += by_channel
    last = total.to(tl.float32)
    bad += tl.where(last <= 3.4028234663852886e38, 0, 1)
    tl.store(totals + lane, tl.where(bad > 0, float("nan"), last), mask=inside)
    if divided:
        divisor = tl.where(last > 0, last, 1.0)
        total = tl.zeros((block,), tl.float64)
        entry = cdf + lane.to(tl.int64) * (channels * kernel0 * kernel1)
        plane = corners
        for _ in range(channels):
            for a in range(kernel0):
                for b in range(kernel1):
                    r, q = row + a * dilation0, column + b * dilation1
                    seen = inside & (r >= 0) & (q >= 0) & (r < height) & (q < width)
                    at = plane + (a * dilation0 * by_row + b * dilation1 * by_column)
                    total += tl.load(at, mask=seen, other=0.0).to(tl.float64)
                    tl.store(entry, tl.div_rn(total.to(tl.float32), divisor), mask=inside)
                    entry += 1
            plane += by_channel


@triton.jit
def search(table, u, choices, stride: tl.constexpr, depth: tl.constexpr, lower: tl.constexpr):
    """Return the first k with cdf[k] > u (`lower`: >= u), where cdf[k] is entry (k + 1) stride - 1 of the table."""
    low = tl.zeros(u.shape, tl.int32)
    high = tl.zeros(u.shape, tl.int32) + choices
    for _ in tl.static_range(depth):
        middle = (low + high) // 2
        open_ = low < high
        edge = tl.load(table + ((middle + 1) * stride - 1), mask=open_, other=0.0)
        right = open_ & ((edge < u) if lower else (edge <= u))
        high = tl.where(open_ & (right == 0), middle, high)
        low = tl.where(right, middle + 1, low)
    return tl.minimum(low, choices - 1)


@triton.jit(do_not_specialize=["length", "components", "choices", "start0", "start1", "key0", "key1"])
def draw(
    cdf, totals, uniform, spikes, length, components, choices, start0, start1, key0, key1,
    stride: tl.constexpr, depth: tl.constexpr, given: tl.constexpr, lower: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Draw spikes (position, spike): 4 block of one position; -1 where the patch is empty.

    Word w of counter 16 k + l of Philox4x32-10 is spike 64 k + 16 w + l, as in `sbs.engines.reference.uniforms`.
    `given`: the numbers are read from uniform (position, spike) instead.
    """
    position = tl.program_id(0).to(tl.int64)
    table, row = cdf + position * components, position * length
    empty = tl.load(totals + position) <= 0
    counter = tl.program_id(1) * block + tl.arange(0, block)
    first = counter // 16 * 64 + counter % 16
    zero = tl.zeros((block,), tl.uint32)
    place = position + start0.to(tl.uint32, bitcast=True).to(tl.int64)
    c0 = zero + (place & 0xFFFFFFFF).to(tl.uint32)
    c1 = zero + ((place >> 32).to(tl.uint32) + start1.to(tl.uint32, bitcast=True))
    c2 = counter.to(tl.uint32)
    c3 = zero
    if not given:
        k0, k1 = zero + key0.to(tl.uint32, bitcast=True), zero + key1.to(tl.uint32, bitcast=True)
        m0, m1 = zero + 0xD2511F53, zero + 0xCD9E8D57
        for _ in tl.static_range(10):
            high0, high1 = tl.umulhi(m0, c0), tl.umulhi(m1, c2)
            low0, low1 = m0 * c0, m1 * c2
            c0, c2 = high1 ^ c1 ^ k0, high0 ^ c3 ^ k1
            c1, c3 = low1, low0
            k0, k1 = k0 + 0x9E3779B9, k1 + 0xBB67AE85
    for w in tl.static_range(4):
        spike = first + 16 * w
        inside = spike < length
        if given:
            u = tl.load(uniform + row + spike, mask=inside, other=0.0)
        else:
            word = c0 if w == 0 else (c1 if w == 1 else (c2 if w == 2 else c3))
            u = (word >> 8).to(tl.float32) * 5.9604644775390625e-08
        found = search(table, u, choices, stride, depth, lower)
        tl.store(spikes + row + spike, tl.where(empty, -1, found), mask=inside)


@triton.jit
def likelihoods(weights, spike, j, here, neurons: tl.constexpr, pooled: tl.constexpr, size: tl.constexpr):
    """Return the rows of the weights that spikes name (position, neuron); 0 for no spike."""
    known = here & (spike >= 0)[:, None]
    if pooled:
        row = tl.where(known & ((spike // size)[:, None] == j), 1.0, 0.0)
    else:
        row = tl.load(weights + spike[:, None] * neurons + j, mask=known, other=0.0)
    return row


@triton.jit(do_not_specialize=["first", "count", "area", "length", "forgetting", "share"])
def follow(
    spikes, weights, h_initial, epsilon_t, epsilon_xy, totals, h, first, count, area, length, forgetting, share,
    neurons: tl.constexpr, width: tl.constexpr, pooled: tl.constexpr, size: tl.constexpr, forget: tl.constexpr,
    lanes: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Iterate h (position, neuron) over all spikes of `lanes` positions, in registers.

    u = h * scale is kept instead of h, see `sbs.engines.reference.dynamics`. Weights are read one spike ahead and
    spikes two, so that no step waits for its own. `pooled`: weights are one-hot, spike // size names the neuron, and
    weight = 1 / size (then `share` is that weight; else it is forgetting / J).
    """
    lane = tl.program_id(0) * lanes + tl.arange(0, lanes)
    inside = lane < count
    position = lane.to(tl.int64)
    j = tl.arange(0, block)[None, :]
    here = inside[:, None] & (j < neurons)
    train = spikes + position * length
    epsilon = epsilon_xy + (first + position) % area * width
    start = tl.load(h_initial + j, mask=j < neurons, other=0.0)
    u = tl.zeros((lanes, block), tl.float32) + start
    scale = tl.zeros((lanes,), tl.float32) + 1.0
    reach = tl.where(inside, length, 0)
    alive = inside.to(tl.int32)
    step_here = tl.load(epsilon, mask=inside, other=0.0)
    now = tl.load(train, mask=inside, other=-1)
    then = tl.load(train + 1, mask=reach > 1, other=-1)
    w = likelihoods(weights, now, j, here, neurons, pooled, size)
    for t in range(length):
        after = tl.load(train + (t + 2), mask=reach > t + 2, other=-1)
        w_then = likelihoods(weights, then, j, here, neurons, pooled, size)
        alive = tl.where(now >= 0, alive, 0)
        if tl.max(scale, 0) > 1e10:
            u = tl.where((scale > 1e10)[:, None], tl.div_rn(u, tl.zeros_like(u) + scale[:, None]), u)
            scale = tl.where(scale > 1e10, 1.0, scale)
        d = tl.sum(u * w, 1)
        if width > 1:
            step_here = tl.load(epsilon + now % width, mask=inside & (now >= 0), other=0.0)
        step = scale * (step_here * tl.load(epsilon_t + t))
        if pooled:
            used = (alive > 0) & (d * share > 1e-10)
            step = tl.where(used, step, 0.0)
            u += w * step[:, None]
            scale += step
        else:
            used = (alive > 0) & (d > 1e-10)
            step = tl.where(used, step, 0.0)
            change = tl.div_rn(step, tl.where(used, d, 1.0))
            grown = u + u * (w * change[:, None])
            if forget:
                u = grown + tl.where(here, step[:, None] * share, 0.0)
                scale += step * (1.0 + forgetting)
            else:
                u = grown
                scale += step
        now = then
        then = after
        w = w_then
    mass = tl.sum(u, 1)
    result = tl.div_rn(u, tl.zeros_like(u) + tl.where(inside, mass, 1.0)[:, None])
    empty = tl.load(totals + lane, mask=inside, other=0.0) <= 0
    tl.store(h + position[:, None] * neurons + j, tl.where(empty[:, None], start, result), mask=here)
