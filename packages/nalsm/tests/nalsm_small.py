"""Small networks and inputs for the tests."""

from __future__ import annotations

import numpy as np
from nalsm import LiquidNetwork, NetworkSpec, Rates, generate


def small_network(seed: int = 3, inputs: int = 40) -> LiquidNetwork:
    """Return a 4 x 4 x 4 liquid."""
    return generate(NetworkSpec((4, 4, 4), inputs, seed, input_density=0.4))


def small_rates(samples: int, inputs: int = 40, seed: int = 0) -> Rates:
    """Return firing probabilities up to 0.3, with silent and certain channels."""
    stream = np.random.default_rng(seed)
    probability = stream.random((samples, inputs)) * 0.3
    probability[:, 0], probability[:, 1] = 0.0, 1.0
    return Rates(probability, np.arange(samples), 11)
