"""A rule that the package does not have: triplet STDP, all-to-all (Pfister & Gerstner, J. Neuroscience 2006).

r1, r2: fast and slow traces of pre-synaptic spikes,  o1, o2: of post-synaptic ones, all before this millisecond
dW = S_post r1 (a2p + a3p o2) - S_pre o1 (a2m + a3m r2)         excitatory and input synapses; others stay
"""

import math

import torch

FAST_PRE, SLOW_PRE, FAST_POST, SLOW_POST = (math.exp(-1 / tau) for tau in (16.8, 101.0, 33.7, 125.0))  # ms


class TripletStdp:
    """Amplitudes are those of the visual cortex, relative to the rate of a phase."""

    name = "triplet-stdp"
    a2p, a3p, a2m, a3m = 0.1, 1.2, 0.4, 0.05

    def __init__(self, parameters):
        self.rate, self.decay = parameters.rate, parameters.rate_decay

    def start(self, wiring, samples, like):
        traces = {name: like.new_zeros(samples, wiring.neurons) for name in ("r1", "r2", "o1", "o2")}
        return traces | {"rate": self.rate}

    def observe(self, memory, spikes):
        pass

    def change(self, memory, weights, spikes, wiring):
        pre, post = wiring.pre, wiring.post
        r1, r2, o1, o2 = (memory[name] for name in ("r1", "r2", "o1", "o2"))
        up = spikes[:, post] * r1[:, pre] * (self.a2p + self.a3p * o2[:, post])
        down = spikes[:, pre] * o1[:, post] * (self.a2m + self.a3m * r2[:, pre])
        change = torch.where(wiring.inhibitory, 0.0, memory["rate"] * (up - down))
        for name, decay in zip(memory, (FAST_PRE, SLOW_PRE, FAST_POST, SLOW_POST), strict=False):
            memory[name] = decay * (memory[name] + spikes)
        memory["rate"] *= self.decay
        return change
