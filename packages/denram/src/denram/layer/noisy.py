r"""The paper's read noise as a JAX function.

.. math:: \tilde W = W + \sigma\, \max|W|\, \varepsilon, \qquad \varepsilon \sim \mathcal N(0, 1)

The gradient is straight-through: :math:`\partial L / \partial \tilde W` is used for :math:`W` unchanged, so nothing
flows through :math:`\max|W|`. Exact zeros stay zero.

Source: D'Agostino et al. 2024 and the original program (EIS-Hub/DenRAM).
"""

import jax
import jax.numpy as jnp
from jax.core import Tracer
from reprokit import UserError


def noisy(weights: jax.Array, key: jax.Array, std: float | jax.Array) -> jax.Array:
    """Weights as read once from the devices.

    Args:
        weights: floats of any shape; a bias among them gets noise too.
        key: a JAX key of any generator; one key is one device.
        std: noise amplitude relative to the largest absolute weight (0.1: 10 %); may be traced.

    Returns:
        Noisy weights, same shape and dtype.

    Raises:
        UserError: Weights that are not floats, or a negative or infinite `std`.
    """
    weights = jnp.asarray(weights)
    if not jnp.issubdtype(weights.dtype, jnp.floating):
        raise UserError(f"weights is {weights.dtype}; it must be floats.")
    if not isinstance(std, Tracer) and not 0 <= float(std) < float("inf"):
        raise UserError(f"std is {std!r}; it must be a finite number of at least 0 (0.1 means 10 %).")
    return disturbed(weights, jax.random.normal(key, weights.shape, weights.dtype), std)


def disturbed(weights: jax.Array, epsilon: jax.Array, std: float | jax.Array) -> jax.Array:
    """Weights with given standard normal draws as their noise; `epsilon` has their shape."""
    amplitude = jax.lax.stop_gradient(jnp.max(jnp.abs(weights))) * jnp.asarray(std).astype(weights.dtype)
    return jnp.where(weights != 0, weights + amplitude * epsilon.astype(weights.dtype), weights)
