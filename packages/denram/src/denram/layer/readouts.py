"""Scores from potentials or spikes over time, shape (time, ..., output) -> (..., output)."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp


def peak(values: jax.Array) -> jax.Array:
    """Largest value of each output, DenRAM's score; equal maxima share the gradient."""
    return jnp.max(values, axis=0)


def mean(values: jax.Array) -> jax.Array:
    """Mean over time of each output; for spikes, the rate per step."""
    return jnp.mean(values, axis=0)


def last(values: jax.Array) -> jax.Array:
    """Value of each output at the last step."""
    return values[-1]


READOUTS: Mapping[str, Callable[[jax.Array], jax.Array]] = {"peak": peak, "mean": mean, "last": last}
