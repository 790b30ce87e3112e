"""A rule that the package does not have: triplet STDP, all-to-all (Pfister & Gerstner, J. Neuroscience 2006).

r1, r2: fast and slow traces of pre-synaptic spikes,  o1, o2: of post-synaptic ones, all before this millisecond
dW = S_post r1 (a2p + a3p o2) - S_pre o1 (a2m + a3m r2)         excitatory and input synapses; others stay
"""

import math

import torch

TAU = {"r1": 16.8, "r2": 101.0, "o1": 33.7, "o2": 125.0}  # ms


class TripletStdp:
    """Amplitudes of the visual cortex, relative to the learning rate."""

    name = "triplet-stdp"
    a2p, a3p, a2m, a3m = 0.1, 1.2, 0.4, 0.05

    def __init__(self, parameters):
        self.rate, self.decay = parameters.rate, parameters.rate_decay

    def start(self, wiring, samples, like):
        return {name: like.new_zeros(samples, wiring.neurons) for name in TAU} | {"rate": self.rate}

    def observe(self, memory, spikes):
        pass

    def change(self, memory, weights, spikes, wiring):
        pre, post = wiring.pre, wiring.post
        r1, r2, o1, o2 = (memory[name] for name in TAU)
        up = spikes[:, post] * r1[:, pre] * (self.a2p + self.a3p * o2[:, post])
        down = spikes[:, pre] * o1[:, post] * (self.a2m + self.a3m * r2[:, pre])
        change = torch.where(wiring.inhibitory, 0.0, memory["rate"] * (up - down))
        for name, tau in TAU.items():
            memory[name] = math.exp(-1 / tau) * (memory[name] + spikes)
        memory["rate"] *= self.decay
        return change
