"""The Triton kernels of `nalsm.engines.gpu`, which says what they are for and how they are built.

A program shows samples one after another and walks time by itself: one launch, no host in between. Every sum is
taken in the order of the compiled core, products and sums are rounded one by one (launch with
``enable_fp_fusion=False``), divisions go through float64, and numbers below the normal range become 0, so results
have the core's bits. Numbers of samples times synapses need addresses of 64 bits.
"""

# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false
# (kernels are a language of their own, whose tensors have no Python types)

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]


@triton.jit
def flushed(x):
    """Return x with denormal numbers as 0, as the core computes."""
    return tl.where(tl.abs(x) < 1.1754943508222875e-38, 0.0, x)


@triton.jit
def clipped(x, low, high):
    """Return x within its bounds."""
    x = tl.where(x < low, low, x)
    return tl.where(high < x, high, x)


@triton.jit
def quotient(x, y):
    """Return x / y of float32, correctly rounded."""
    return (x.to(tl.float64) / y.to(tl.float64)).to(tl.float32)


@triton.jit
def gates(calcium, i, inside, theta, width, gated: tl.constexpr):
    """Return the gates of strengthening and weakening of neurons i, 0 or 1; without calcium always 1."""
    if gated:
        c = tl.load(calcium + i, mask=inside, other=0.0)
        up = (c > theta) & (c < theta + width)
        down = (c < theta) & (c > theta - width)
        return up.to(tl.float32), down.to(tl.float32)
    else:  # noqa: RET505 - each branch is compiled alone
        return tl.full(i.shape, 1.0, tl.float32), tl.full(i.shape, 1.0, tl.float32)


@triton.jit
def philox(block, channel, low, high, keys):
    """Return the four random words of Philox4x32-10, uint64 below 2**32; `keys`: int64 (round, 2)."""
    mask = 0xFFFFFFFF
    c0, c1, c2, c3 = block, channel, low, high
    for turn in range(10):
        k0, k1 = tl.load(keys + 2 * turn).to(tl.uint64), tl.load(keys + 2 * turn + 1).to(tl.uint64)
        a, b = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & mask, (a >> 32) ^ c3 ^ k1, a & mask
    return c0, c1, c2, c3


@triton.jit
def waited(t, word, scale, alive, events, channel, inputs, duration):
    """Return the time of the next event, t + 1 + floor(ln u / ln(1 - p)), and mark it if it is in time."""
    u = (word.to(tl.float64) + 1.0) * 2.3283064365386963e-10  # 2^-32
    t = tl.where(alive, t + 1.0 + tl.floor(tl.log(u) * scale), t)
    inside = alive & (t < duration)
    ones = tl.full(t.shape, 1, tl.uint8)
    tl.store(events + tl.where(inside, t, 0.0).to(tl.int64) * inputs + channel, ones, mask=inside)
    return t, inside


@triton.jit(do_not_specialize=["inputs", "duration"])
def draw(scale, sample, keys, events, inputs, duration, block: tl.constexpr):
    """Draw the events of `block` channels of a sample, as `nalsm.data.sources.Rates.events`.

    `scale` is 1 / ln(1 - p), 0 at p = 1 and 1 at p = 0, float64 (sample, input); `sample` holds the numbers that key
    the samples, int64 (sample,), and `keys` the keys of the rounds, int64 (10, 2); `events`, uint8 (sample, duration,
    input), is 0 before.
    """
    row = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1).to(tl.int64) * block + tl.arange(0, block)
    scale_now = tl.load(scale + row * inputs + channel, mask=channel < inputs, other=1.0)
    number = tl.load(sample + row).to(tl.uint64)
    low = tl.zeros((block,), tl.uint64) + (number & 0xFFFFFFFF)
    high = tl.zeros((block,), tl.uint64) + (number >> 32)
    events += row * duration * inputs
    t = tl.full((block,), -1.0, tl.float64)
    counter = tl.zeros((block,), tl.uint64)
    alive = scale_now <= 0.0
    while tl.max(alive.to(tl.int32), 0) > 0:
        w0, w1, w2, w3 = philox(counter, channel.to(tl.uint64), low, high, keys)
        t, alive = waited(t, w0, scale_now, alive, events, channel, inputs, duration)
        t, alive = waited(t, w1, scale_now, alive, events, channel, inputs, duration)
        t, alive = waited(t, w2, scale_now, alive, events, channel, inputs, duration)
        t, alive = waited(t, w3, scale_now, alive, events, channel, inputs, duration)
        counter += 1


@triton.jit(do_not_specialize=["liquid", "inputs", "synapses"])
def list_used(
    row,
    first_input,
    pre,
    used,
    places,
    held,
    liquid,
    inputs,
    synapses,
    rows: tl.constexpr,
    block: tl.constexpr,
):
    """List the input synapses of each neuron whose channel a sample uses, in order.

    The core leaves the others out, and its sums run over this shorter list. `used` is uint8 (sample, input). The list
    of neuron i begins at place first_input[i] of `places`, int32 (sample, synapse), and `held`, int32 (sample, liquid),
    says how long it is. A program handles `rows` neurons, `block` synapses of each at a time.
    """
    sample = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * rows + tl.arange(0, rows)
    begin = tl.load(first_input + i, mask=i < liquid, other=0)
    count = tl.load(row + i + 1, mask=i < liquid, other=0) - begin
    used += sample * inputs
    places += sample * synapses
    found = tl.zeros((rows,), tl.int32)
    for k in range(0, tl.max(count, 0), block):
        offset = k + tl.arange(0, block)
        inside = offset[None, :] < count[:, None]
        synapse = begin[:, None] + offset[None, :]
        channel = tl.load(pre + synapse, mask=inside, other=0) - liquid
        taken = (tl.load(used + channel, mask=inside, other=0) > 0).to(tl.int32)
        place = begin[:, None] + found[:, None] + tl.cumsum(taken, 1) - 1
        tl.store(places + place, synapse, mask=taken > 0)
        found += tl.sum(taken, 1)
    tl.store(held + sample * liquid + i, found, mask=i < liquid)


@triton.jit
def update_run(
    weights, pre, places, trace, residue, begin, count, rate, gate, both, low, high, gain,
    rows: tl.constexpr, listed: tl.constexpr,
):  # fmt: skip
    """Change the weights of one run of synapses of each of `rows` neurons that fired; return sum dw r_j of each.

    As `update_run` of the core: eight lanes k mod 8, then pairwise, whatever the machine.
    """
    sums = tl.zeros((rows, 8), tl.float32)
    for k in range(0, tl.max(count, 0), 8):
        offset = k + tl.arange(0, 8)
        inside = offset[None, :] < count[:, None]
        synapse = begin[:, None] + offset[None, :]
        if listed:
            synapse = tl.load(places + synapse, mask=inside, other=0)
        j = tl.load(pre + synapse, mask=inside, other=0)
        r = tl.load(residue + j, mask=inside, other=0.0)
        term = tl.load(trace + j, mask=inside, other=0.0) * rate
        before = tl.load(weights + synapse, mask=inside, other=0.0)
        change = gate[:, None] * term + tl.where(r == gain, both[:, None], 0.0)
        after = clipped(before + change, low, high)
        tl.store(weights + synapse, after, mask=inside)
        sums += tl.where(inside, (after - before) * r, 0.0)
    fours = tl.sum(tl.reshape(sums, (rows, 2, 4)), 1)  # two numbers each: one addition, in whatever order
    twos = tl.sum(tl.reshape(fours, (rows, 2, 2)), 1)
    return tl.sum(twos, 1)


@triton.jit(
    do_not_specialize=["excitatory", "liquid", "neurons", "synapses", "duration", "presentations", "most"]
)
def present(
    row, first_inhibitory, first_input, pre, table, weights, places, held, state, trace, calcium, spikes, jumps,
    events, counts, raster, rates, constants,
    excitatory, liquid, neurons, synapses, duration, presentations, most,
    width: tl.constexpr, plastic: tl.constexpr, astrocyte: tl.constexpr, gated: tl.constexpr,
    listed: tl.constexpr, carry: tl.constexpr, record: tl.constexpr, block: tl.constexpr, rows: tl.constexpr,
):  # fmt: skip
    """Show `presentations` samples, one after another, from weights that the program keeps.

    Neurons are the liquid's, then inputs; synapses are sorted by (post, pre). In memory:

    - row: int32 (liquid + 1), where the synapses onto each neuron begin; first_inhibitory and first_input: int32
      (liquid,), where those from inhibitory and from input neurons begin; pre: int32 (synapse,).
    - table: (neuron, width). Fixed liquids: float32, the weights, 0 where there is no synapse; plastic ones: an
      integer, the place of the synapse in its row, -1 where there is none.
    - weights: float32 (program, synapse), changed in place, plastic liquids only; places and held: as of `list_used`,
      with a program for a sample, where `listed`.
    - state: float32 (program, 3 * neuron + 2 * liquid), room for potentials, refractory times and residues of all
      neurons, then currents and later currents of the liquid.
    - trace and calcium: float32 (program, neuron), changed in place.
    - spikes and jumps: int32 and float32 (program, neuron), room for the spikes of a millisecond.
    - events: whole numbers (program, presentation, duration, input), at most `most`.
    - counts: int32 (program, presentation, liquid), 0 before; raster: uint8 (program, presentation, duration, neuron),
      where `record`; rates: float32 (program, presentation, duration), L- after each millisecond.
    - constants: float32, in the order of `nalsm.engines.gpu.CONSTANTS`.

    `plastic`, `astrocyte` and `gated` say which rule. `carry`: the trace is not reset at the start of a presentation.
    `width` is the liquid, rounded up to a multiple of `block`, the neurons at a time; `rows` fired ones at a time.
    """
    program = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, block)
    inputs = neurons - liquid
    threshold, leak, decay, gain = (
        tl.load(constants), tl.load(constants + 1), tl.load(constants + 2), tl.load(constants + 3)
    )  # fmt: skip
    input_current, pause, increment, trace_decay = (
        tl.load(constants + 4), tl.load(constants + 5), tl.load(constants + 8), tl.load(constants + 9)
    )  # fmt: skip
    limit, rate_decay, astrocyte_tau = (
        tl.load(constants + 10), tl.load(constants + 11), tl.load(constants + 14)
    )  # fmt: skip
    calcium_tau, theta, window = (
        tl.load(constants + 15), tl.load(constants + 16), tl.load(constants + 17)
    )  # fmt: skip
    potential = state + program * (3 * neurons.to(tl.int64) + 2 * liquid)
    refractory, residue = potential + neurons, potential + 2 * neurons
    current = potential + 3 * neurons
    later = current + liquid
    weights += program * synapses
    places += program * synapses
    held += program * liquid
    trace += program * neurons
    calcium += program * neurons
    spikes += program * neurons
    jumps += program * neurons
    for k in range(presentations):
        shown = program * presentations + k
        up, down = tl.load(constants + 6), tl.load(constants + 7)
        weight, bias = tl.load(constants + 12), tl.load(constants + 13)
        if astrocyte:
            down = bias
        for b in range(0, neurons, block):
            n = b + lane
            inside = n < neurons
            tl.store(potential + n, tl.zeros((block,), tl.float32), mask=inside)
            # below 0: nobody has just fired, whatever the refractory time
            tl.store(refractory + n, tl.full((block,), -1.0, tl.float32), mask=inside)
            tl.store(residue + n, tl.zeros((block,), tl.float32), mask=inside)
            if not carry:
                tl.store(trace + n, tl.zeros((block,), tl.float32), mask=inside)
        for b in range(0, liquid, block):
            i = b + lane
            tl.store(current + i, tl.zeros((block,), tl.float32), mask=i < liquid)
            tl.store(later + i, tl.zeros((block,), tl.float32), mask=i < liquid)
        tl.debug_barrier()
        for t in range(duration):
            # 1: traces and residues of the last millisecond, then the spikes of this one, listed in order
            count, liquid_count = 0, 0
            faded = tl.where(t > 0, trace_decay, 1.0)
            for b in range(0, neurons, block):
                n = b + lane
                inside = n < neurons
                v = tl.load(potential + n, mask=inside, other=0.0)
                r = tl.load(refractory + n, mask=inside, other=1.0)
                z = flushed(tl.load(residue + n, mask=inside, other=0.0) * decay)
                if plastic:
                    x = tl.load(trace + n, mask=inside, other=0.0)
                    tl.store(trace + n, flushed(tl.where(r == pause, x + increment, x) * faded), mask=inside)
                fires = inside & (v >= threshold) & (r <= 0.0)
                one = fires.to(tl.int32)
                place = count + tl.cumsum(one, 0) - 1
                tl.store(spikes + place, n, mask=fires)
                tl.store(jumps + place, gain - z, mask=fires)
                count += tl.sum(one, 0)
                liquid_count += tl.sum((fires & (n < liquid)).to(tl.int32), 0)
                tl.store(potential + n, tl.where(fires, 0.0, v), mask=inside)
                tl.store(refractory + n, tl.where(fires, pause, r - 1.0), mask=inside)
                tl.store(residue + n, tl.where(fires, gain, z), mask=inside)
                if gated:
                    c = tl.load(calcium + n, mask=inside, other=0.0)
                    c = c - quotient(c, calcium_tau) + fires.to(tl.float32)
                    tl.store(calcium + n, c, mask=inside)
                if record:
                    at = (shown * duration + t) * neurons + n
                    tl.store(raster + at, fires.to(tl.uint8), mask=inside)
                mine = fires & (n < liquid)
                before = tl.load(counts + shown * liquid + n, mask=mine, other=0)
                tl.store(counts + shown * liquid + n, before + 1, mask=mine)
            tl.debug_barrier()
            # 2: currents of the synapses that leave neurons which fired, weaker ones then, and potentials
            for b in range(0, width, block):
                i = b + lane
                inside = i < liquid
                c = tl.load(current + i, mask=inside, other=0.0) + tl.load(later + i, mask=inside, other=0.0)
                c = flushed(c * decay)
                if plastic:
                    x = tl.load(trace + i, mask=inside, other=0.0)
                    fired = tl.load(refractory + i, mask=inside, other=-1.0) == pause
                    gate_up, gate_down = gates(calcium, i, inside, theta, window, gated)
                    weaker = tl.where(fired, 0.0, -down * gate_down * x)
                    stronger = tl.where(fired, 0.0, up * gate_up * x)
                    begin = tl.load(row + i, mask=inside, other=0)
                    more = tl.zeros((block,), tl.float32)
                    for s in range(count):
                        j = tl.load(spikes + s)
                        jump = tl.load(jumps + s)
                        place = tl.load(table + j.to(tl.int64) * width + i).to(tl.int32)
                        there = place >= 0
                        w = tl.load(weights + begin + place, mask=there, other=0.0)
                        inhibitory = (j >= excitatory) & (j < liquid)
                        low = tl.where(j < excitatory, 0.0, -limit)
                        high = tl.where(inhibitory, 0.0, limit)
                        after = clipped(w + tl.where(inhibitory, stronger, weaker), low, high)
                        c += w * jump
                        more += tl.where(there, (after - w) * gain, 0.0)
                        tl.store(weights + begin + place, after, mask=there)
                    tl.store(later + i, more, mask=inside)
                else:
                    for s in range(count):
                        j = tl.load(spikes + s)
                        jump = tl.load(jumps + s)
                        c += tl.load(table + j.to(tl.int64) * width + i) * jump
                tl.store(current + i, c, mask=inside)
                v = tl.load(potential + i, mask=inside, other=0.0)
                tl.store(potential + i, flushed(v + c - v * leak), mask=inside)
            for b in range(0, inputs, block):
                m = b + lane
                inside = m < inputs
                v = tl.load(potential + liquid + m, mask=inside, other=0.0)
                v = flushed(v - v * leak)
                e = tl.load(events + (shown * duration + t) * inputs + m, mask=inside, other=0).to(tl.int32)
                for q in range(most):
                    v = tl.where(e > q, v + input_current, v)
                tl.store(potential + liquid + m, v, mask=inside)
            if plastic:
                tl.debug_barrier()
                # 3: synapses that lead to neurons of the liquid which fired
                for s in range(0, liquid_count, rows):
                    slot = s + tl.arange(0, rows)
                    inside = slot < liquid_count
                    i = tl.load(spikes + slot, mask=inside, other=0)
                    x = tl.load(trace + i, mask=inside, other=0.0)
                    gate_up, gate_down = gates(calcium, i, inside, theta, window, gated)
                    weaker, stronger = -down * gate_down * x, up * gate_up * x
                    begin = tl.load(row + i, mask=inside, other=0)
                    middle = tl.load(first_inhibitory + i, mask=inside, other=0)
                    last = tl.load(first_input + i, mask=inside, other=0)
                    if listed:
                        given = tl.load(held + i, mask=inside, other=0)
                    else:
                        given = tl.load(row + i + 1, mask=inside, other=0) - last
                    more = tl.load(later + i, mask=inside, other=0.0)
                    more += update_run(
                        weights, pre, places, trace, residue, begin, middle - begin, up, gate_up, weaker,
                        0.0, limit, gain, rows, False,
                    )  # fmt: skip
                    more += update_run(
                        weights, pre, places, trace, residue, middle, last - middle, -down, gate_down, stronger,
                        -limit, 0.0, gain, rows, False,
                    )  # fmt: skip
                    more += update_run(
                        weights, pre, places, trace, residue, last, given, up, gate_up, weaker,
                        -limit, limit, gain, rows, listed,
                    )  # fmt: skip
                    tl.store(later + i, more, mask=inside)
                if astrocyte:
                    difference = (2 * liquid_count - count).to(tl.float32)
                    down += quotient(weight * difference + bias - down, astrocyte_tau)
                    weight *= rate_decay
                    bias *= rate_decay
                down *= rate_decay
                up *= rate_decay
            tl.store(rates + shown * duration + t, down)
            tl.debug_barrier()
        if plastic:
            for b in range(0, neurons, block):
                n = b + lane
                inside = n < neurons
                x = tl.load(trace + n, mask=inside, other=0.0)
                fired = tl.load(refractory + n, mask=inside, other=-1.0) == pause
                x = tl.where(fired, x + increment, x)
                tl.store(trace + n, flushed(x * trace_decay), mask=inside)
            tl.debug_barrier()
