"""A liquid in Brian 2 (Cython runtime); runs in its own environment.

The model is the same millisecond by millisecond: nearest-spike currents, refractory time, pair STDP with one trace a
neuron. Two things differ: Brian applies the depressing and the potentiating term one after another, each with its
own clip, where NALSM adds both before one clip; and it draws no events, they are supplied ready.
"""

from collections.abc import Callable

import brian2 as b
import numpy as np

NEURON = """
V : 1
I : 1
later : 1
r : 1
x : 1
n : 1
rate : 1 (shared)
"""
STEP = """
V = V + I - V / 64
I = (I + later) * exp(-1)
later = 0
r = r * exp(-1)
x = x * 0.9047744744744745
"""
INPUT_STEP = "V = V + I - V / 64\nI = 0\nr = r * exp(-1)\nx = x * 0.9047744744744745"
RESET = "V = 0\nr = 1\nx += 0.1\nn += 1"
STATIC = "I_post += w * (1 - r_pre)"
PAIR = """
before = w
w = clip(w + {sign} * rate_post * x_{side}, low, high)
later_post += (w - before) * {residue}
"""


class Liquid:
    """One Brian network, presented sample after sample within one run."""

    def __init__(self, case: dict[str, np.ndarray]) -> None:
        b.prefs.codegen.target = "cython"
        b.prefs.core.default_float_dtype = np.float32
        b.defaultclock.dt = 1 * b.ms
        exc, liquid, inputs = (int(case[k]) for k in ("excitatory", "liquid", "inputs"))
        self.case, self.plastic = case, bool(case["plastic"])
        self.duration, self.samples = int(case["duration"]), int(case["samples"])
        self.neurons = self._group(liquid, STEP)
        self.input = self._group(inputs, INPUT_STEP)
        self.events = b.SpikeGeneratorGroup(inputs, case["channel"], case["time"] * b.ms)
        entry = b.Synapses(self.events, self.input, on_pre="I_post += 100")
        entry.connect(j="i")
        self.synapses, self.start = [], []
        pre, post, weight = case["pre"], case["post"], case["weight"]
        for source, low, high, begin, end in (
            (self.neurons[:exc], 0, 3, 0, exc),
            (self.neurons[exc:], -3, 0, exc, liquid),
            (self.input, -3, 3, liquid, liquid + inputs),
        ):
            chosen = (pre >= begin) & (pre < end)
            self.synapses.append(
                self._synapses(source, pre[chosen] - begin, post[chosen], low, high, begin == exc)
            )
            self.start.append(weight[chosen])
        decay = self.neurons.run_regularly("rate = rate * 0.99", when="end")
        again = b.NetworkOperation(self._restart, dt=self.duration * b.ms, when="before_start")
        objects = [self.neurons, self.input, self.events, entry, *self.synapses, decay, again]
        self.network = b.Network(*objects)
        # the original's order of a millisecond: spikes are detected before currents are integrated
        self.network.schedule = ["start", "thresholds", "synapses", "resets", "groups", "end"]
        self.counts: list[np.ndarray] = []

    def _group(self, size: int, step: str) -> b.NeuronGroup:
        group = b.NeuronGroup(size, NEURON, threshold="V >= 20", reset=RESET, refractory=2 * b.ms)
        group.run_regularly(step, when="groups")
        return group

    def _synapses(
        self, source: object, pre: np.ndarray, post: np.ndarray, low: int, high: int, inhibitory: bool
    ) -> b.Synapses:
        arrival, departure = ("-1", "+1") if inhibitory else ("+1", "-1")
        on_pre, on_post = STATIC, None
        if self.plastic:
            on_pre += PAIR.format(sign=departure, side="post", residue="1")
            residue = "r_pre"
            on_post = PAIR.format(sign=arrival, side="pre", residue=residue)
        synapses = b.Synapses(
            source,
            self.neurons,
            "w : 1",
            on_pre=on_pre,
            on_post=on_post,
            namespace={"low": low, "high": high},
        )
        synapses.connect(i=pre, j=post)
        return synapses

    def _restart(self) -> None:
        """Keep the counts of the last sample and start the next from the same weights."""
        self.counts.append(np.array(self.neurons.n[:]))
        for group in (self.neurons, self.input):
            for name in ("V", "I", "later", "r", "x", "n"):
                getattr(group, name)[:] = 0
            group.lastspike[:] = -1e4 * b.second
            group.not_refractory[:] = True
        self.neurons.rate = 0.15
        if self.plastic or len(self.counts) == 1:
            for synapses, weight in zip(self.synapses, self.start, strict=True):
                synapses.w[:] = weight

    def present(self) -> np.ndarray:
        """Present all samples and return spike counts (sample, liquid)."""
        self.counts = []
        start = float(self.network.t / b.ms)
        self.events.set_spikes(self.case["channel"], (self.case["time"] + start) * b.ms)
        self.network.run(self.samples * self.duration * b.ms, namespace={})
        self.counts.append(np.array(self.neurons.n[:]))
        return np.stack(self.counts[1:])


def present(**case: np.ndarray) -> Callable[[], dict[str, np.ndarray]]:
    """Return what presents all samples once and gives the spike counts.

    Args:
        **case: Arrays of the network and its events, as `benchmarks.nalsm` writes them.
    """
    liquid = Liquid(case)
    return lambda: {"counts": liquid.present().astype(np.int64)}
