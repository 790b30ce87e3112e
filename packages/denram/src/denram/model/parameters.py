"""Initial weights and delays of a network."""

from typing import NamedTuple

import numpy as np

from denram.model.delays import draw_delays
from denram.randomness import draw_normals, drawing, initial_key, split_key
from denram.spec import NetworkSpec


class Parameters(NamedTuple):
    """Weights and delays of one network.

    Attributes:
        weights: float32, shape (n_out, n_in * n_delays + 1); the last column is the bias.
        delays: whole steps as float32, shape (n_out, n_in * n_delays); never trained.
        key: uint32 of shape (2,), the generator's state after the initial draws; noise continues from it.
    """

    weights: np.ndarray
    delays: np.ndarray
    key: np.ndarray


def initialise(spec: NetworkSpec, seed: int) -> Parameters:
    """Draw the initial state of a network.

    Weights are ``|N(0, 1)| * weight_scale / sqrt(n_in)`` (positive at the start only), the bias is
    ``N(0, 1) * weight_scale / sqrt(n_in)``. Draws come in the original's order (weights, delays, bias) and in
    JAX's legacy layout, so one seed gives the original's network under any JAX version and on any device, in both
    profiles.

    Args:
        spec: the network.
        seed: seed of the run.

    Returns:
        The parameters and the key to continue with.
    """
    key = initial_key(seed)
    with drawing():
        key, use = split_key(key)
        weights = np.abs(draw_normals(use, (spec.n_out, spec.n_synapses)))
        key, use = split_key(key)
        delays = draw_delays(use, spec)
        key, use = split_key(key)
        bias = draw_normals(use, (spec.n_out, 1))
    return Parameters(np.hstack([scale_weights(weights, spec), scale_weights(bias, spec)]), delays, key)


def scale_weights(normals: np.ndarray, spec: NetworkSpec) -> np.ndarray:
    """Standard normals as initial weights: times ``weight_scale / sqrt(n_in)``, in float32."""
    return np.asarray(normals, np.float32) * np.float32(spec.weight_scale) / np.sqrt(np.float32(spec.n_in))
