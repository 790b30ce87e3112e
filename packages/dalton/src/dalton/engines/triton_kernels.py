"""The Triton kernels of :mod:`dalton.engines.gpu`: `count` neurons, `steps` time-steps, addresses of 64 bits.

A program keeps the state of `block` neurons in registers and loops over time.
"""

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]


@triton.jit(do_not_specialize=["count", "steps"])
def fire(currents, u, spikes, v, c, constants, count, steps, hard: tl.constexpr, block: tl.constexpr):
    """Run neurons forward: u, spikes; v and c are replaced by their final values."""
    place = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = place < count
    decay, threshold = tl.load(constants), tl.load(constants + 1)
    v_now, c_now = tl.load(v + place, mask=inside), tl.load(c + place, mask=inside)
    at = place
    for _ in range(steps):
        c_now = c_now * decay + tl.load(currents + at, mask=inside)
        potential = v_now + c_now
        clipped = tl.where(potential < 0, 0.0, potential)
        fired = clipped > threshold
        v_now = tl.where(fired, 0.0, clipped) if hard else tl.where(fired, clipped - threshold, clipped)
        tl.store(u + at, potential, mask=inside)
        tl.store(spikes + at, fired.to(spikes.dtype.element_ty), mask=inside)
        at += count
    tl.store(v + place, v_now, mask=inside)
    tl.store(c + place, c_now, mask=inside)


@triton.jit(do_not_specialize=["count", "steps"])
def back(u, gradient, errors, constants, count, steps, hard: tl.constexpr, block: tl.constexpr):
    """Run neurons backward: e from u and g."""
    place = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = place < count
    decay, threshold, scale = tl.load(constants), tl.load(constants + 1), tl.load(constants + 2)
    at = place + (steps - 1) * count.to(tl.int64)
    b = tl.zeros((block,), errors.dtype.element_ty)
    e = tl.zeros((block,), errors.dtype.element_ty)
    for _ in range(steps):
        potential = tl.load(u + at, mask=inside)
        delta = tl.where(potential < 0, 0.0, potential) - threshold
        slope = tl.abs(delta) * scale + 1.0
        carried = tl.where(delta > 0, 0.0, b) if hard else b
        b = tl.load(gradient + at, mask=inside) / (slope * slope) + carried
        b = tl.where(potential < 0, 0.0, b)
        e = b + e * decay
        tl.store(errors + at, e, mask=inside)
        at -= count


@triton.jit(do_not_specialize=["count", "steps"])
def encode(drive, spikes, a, count, steps, held: tl.constexpr, block: tl.constexpr):
    """Run encoder units forward: spikes; a is replaced by its final value."""
    place = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = place < count
    voltage, at = tl.load(a + place, mask=inside), place
    for _ in range(steps):
        voltage += tl.load(drive + (place if held else at), mask=inside)
        fired = voltage > 1.0
        tl.store(spikes + at, fired.to(spikes.dtype.element_ty), mask=inside)
        voltage = tl.where(fired, 0.0, voltage)
        at += count
    tl.store(a + place, voltage, mask=inside)
