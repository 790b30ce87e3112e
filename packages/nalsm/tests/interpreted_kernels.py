"""Runs the Triton kernels in Triton's interpreter and prints, as JSON, where they differ from the compiled engine.

A process of its own: the interpreter must be chosen before anything imports Triton.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch
import triton
import triton.language as tl
from nalsm.data.sources import Events, Rates
from nalsm.engines import gpu
from nalsm.engines.reference import Presentation
from nalsm.engines.simulator import Simulator
from nalsm.engines.triton_kernels import update_run
from nalsm.model.network import NetworkSpec, generate
from nalsm.parameters import NeuronParameters, PlasticityParameters

gpu.BLOCK, gpu.ROWS = 16, 2  # several blocks and several groups of rows, in a small network
FIELDS = ("counts", "raster", "depression", "weights", "trace", "calcium")
NETWORK = generate(NetworkSpec((3, 3, 2), 40, 1, input_density=0.8))
STREAM = np.random.default_rng(0)


def rates(samples: int) -> Rates:
    """Return probabilities up to 0.4, with a silent and a certain channel."""
    probability = STREAM.random((samples, 40)) * 0.4
    probability[:, 0], probability[:, 1] = 0.0, 1.0
    return Rates(probability, 2**33 + np.arange(samples), 2**40 + 7)


def events(samples: int, duration: int) -> Events:
    """Return event lists in which channels occur up to three times a millisecond, and half of them never."""
    raster = STREAM.integers(0, 4, (samples, 40, duration)) * (STREAM.random((samples, 40, duration)) < 0.3)
    raster[:, ::2] = 0
    return Events.from_raster(raster)


def compare(name: str, found: Presentation, wanted: Presentation) -> None:
    """Print which fields differ."""
    fields = {field: (getattr(found, field), getattr(wanted, field)) for field in FIELDS}
    same = {field: np.array_equal(a, b) for field, (a, b) in fields.items() if b is not None}
    kinds = [field for field, (a, b) in fields.items() if b is not None and a.dtype != b.dtype]
    differ = [field for field in same if not same[field]]
    print(json.dumps({"case": name, "differ": differ, "kinds": kinds, "spikes": int(wanted.counts.sum())}))


@contextmanager
def watched() -> Iterator[list[np.ndarray]]:
    """Keep the state that programs leave behind."""
    states, kernel = [], gpu.kernels.present

    class Watched:
        def __getitem__(self, grid):
            def launch(*arguments, **options):
                kernel[grid](*arguments, **options)
                states.append(arguments[8].numpy())

            return launch

    gpu.kernels.present = Watched()
    try:
        yield states
    finally:
        gpu.kernels.present = kernel


def lists_differ(liquid: gpu.GpuLiquid) -> list[str]:
    """Compare the lists of input synapses that samples use with those of a plain loop."""
    shown, trace = events(2, 5), torch.zeros(2, NETWORK.neurons)
    trace[1, NETWORK.liquid] = 0.1  # a channel without events
    places, held = (a.numpy() for a in liquid._listed(liquid._events(shown, 5)[0][:, None], trace))
    pre, post = (a[NETWORK.active] for a in (NETWORK.pre, NETWORK.post))
    found = []
    for k in range(2):
        used = set(shown.channels[shown.first[k, 0] : shown.first[k, -1]] + NETWORK.liquid)
        used |= {NETWORK.liquid} if k else set()
        for i in range(NETWORK.liquid):
            begin = int(((post < i) | ((post == i) & (pre < NETWORK.liquid))).sum())
            wanted = [s for s in np.flatnonzero((post == i) & (pre >= NETWORK.liquid)) if pre[s] in used]
            found += [f"{k} {i}"] if wanted != list(places[k, begin : begin + held[k, i]]) else []
    return found


@triton.jit
def update_once(weights, pre, trace, residue, begin, count, gate, both, sums, rows: tl.constexpr):
    """Call `update_run` for runs 0 to rows - 1 of excitatory synapses; `sums` receives what it returns."""
    k = tl.arange(0, rows)
    values = [tl.load(pointer + k) for pointer in (begin, count, gate, both)]
    found = update_run(
        weights,
        pre,
        pre,
        trace,
        residue,
        values[0],
        values[1],
        0.7,
        values[2],
        values[3],
        0.0,
        3.0,
        1.0,
        rows,
        False,
    )
    tl.store(sums + k, found)


def run_differs() -> list[str]:
    """Compare the sums and weights of long runs with eight lanes, then pairs, one addition after another."""
    count, pre = np.array([37, 24, 50, 5], np.int32), STREAM.integers(0, 60, 116).astype(np.int32)
    begin = (np.cumsum(count) - count).astype(np.int32)
    weights, trace, gate, both = (STREAM.random(n).astype(np.float32) * 3 for n in (116, 60, 4, 4))
    residue = np.where(STREAM.random(60) < 0.3, 1.0, STREAM.random(60)).astype(np.float32)
    after, sums = weights.copy(), np.zeros(4, np.float32)
    for i in range(4):
        lanes = np.zeros(8, np.float32)
        for k in range(count[i]):
            s, j = begin[i] + k, pre[begin[i] + k]
            change = gate[i] * (trace[j] * np.float32(0.7)) + (both[i] if residue[j] == 1 else np.float32(0))
            after[s] = min(max(weights[s] + change, np.float32(0)), np.float32(3))
            lanes[k % 8] += (after[s] - weights[s]) * residue[j]
        four = lanes[:4] + lanes[4:]
        sums[i] = (four[0] + four[2]) + (four[1] + four[3])
    found, total = torch.from_numpy(weights.copy()), torch.zeros(4)
    arrays = (torch.from_numpy(a) for a in (pre, trace, residue, begin, count, gate, both))
    update_once[(1,)](found, *arrays, total, 4)
    pairs = {"weights": (found.numpy(), after), "sums": (total.numpy(), sums)}
    return [name for name, (a, b) in pairs.items() if not np.array_equal(a, b)]


def main() -> None:
    """Show every kind of liquid to both engines."""
    neuron = NeuronParameters(threshold=4.0, refractory=1)
    ours, theirs = (Simulator(NETWORK, neuron, engine=engine) for engine in ("triton", "events"))
    trace = STREAM.random((2, NETWORK.neurons)).astype(np.float32) * (STREAM.random(NETWORK.neurons) < 0.7)
    fixed = (NETWORK.start_weights(4.0), PlasticityParameters())
    plain = ours._gpu._at_once
    ours._gpu._at_once = lambda *found: min(plain(*found), 1)  # part after part
    for name, source in (("none", rates(2)), ("nothing", rates(0))):
        compare(
            name, *(s.present_independent(source, *fixed, duration=8, record=True) for s in (ours, theirs))
        )
    ours._gpu._at_once = plain
    learns = PlasticityParameters(rule="astrocyte", rate=0.5, rate_decay=0.99, astrocyte_weight=0.1)
    source, start = events(2, 8), NETWORK.start_weights(2.2)
    compare("astrocyte", *(
        s.present_independent(source, start, learns, duration=8, record=True, keep_weights=True, trace=trace)
        for s in (ours, theirs)
    ))  # fmt: skip
    for rule, carry in (("calcium", False), ("stdp", True)):
        learns = PlasticityParameters(rule=rule, rate=0.5, calcium_threshold=1.5, calcium_range=1.5)
        with watched() as states:
            found = ours.present_in_sequence(source, start, learns, duration=4, trace=trace[0], calcium=trace[1],
                                             carry_trace=carry, record=True)  # fmt: skip
        wanted = theirs.present_in_sequence(source, start, learns, duration=4, trace=trace[0], calcium=trace[1],
                                            carry_trace=carry, record=True)  # fmt: skip
        compare(rule, found, wanted)
    first = theirs.present_in_sequence(
        source[:1], start, learns, duration=4, trace=trace[0], carry_trace=True
    )
    stream = theirs.start(first.weights, learns, trace=first.trace)
    spikes = int(stream.run(source[1:2].events(4)).counts.sum())
    currents = states[0][0, 3 * NETWORK.neurons :].reshape(2, NETWORK.liquid).sum(0) * np.float32(
        np.exp(-1.0)
    )
    wanted = stream.state()
    differ = [
        name
        for name, values in (("potential", states[0][0, : NETWORK.neurons]), ("current", currents))
        if not np.array_equal(values, wanted[name])
    ]
    print(json.dumps({"case": "state", "differ": differ, "kinds": [], "spikes": spikes}))
    print(json.dumps({"case": "run", "differ": run_differs(), "kinds": [], "spikes": 4}))
    print(json.dumps({"case": "used", "differ": lists_differ(ours._gpu), "kinds": [], "spikes": spikes}))
    drawn = Rates(STREAM.random((2, 50)) ** 3, np.array([3, 2**40]), 2**63 + 5)
    found, most = gpu.GpuLiquid(generate(NetworkSpec((2, 2, 2), 50)), torch.device("cpu"))._events(drawn, 30)
    wanted = np.stack([drawn.events(30).at(t) for t in range(30)], 1)
    differ = [] if most == 1 and np.array_equal(found.numpy(), wanted) else ["events"]
    print(json.dumps({"case": "draw", "differ": differ, "kinds": [], "spikes": int(wanted.sum())}))


if __name__ == "__main__":
    main()
