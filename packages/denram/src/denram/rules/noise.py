r"""Read noise of the weight cells.

.. math:: \tilde W = W + \sigma \max|W|\, \varepsilon, \quad \varepsilon \sim \mathcal N(0, 1)

One amplitude for the whole matrix, bias included; exact zeros stay zero. The gradient with respect to
:math:`\tilde W` is used for :math:`W` unchanged (straight-through).
"""

import jax
import jax.numpy as jnp
import numpy as np
from reprokit import UserError


def noisy_weights(
    weights: np.ndarray | jax.Array, epsilon: np.ndarray | jax.Array, noise_std: float
) -> np.ndarray | jax.Array:
    """Weights as one reading of the devices gives them.

    Args:
        weights: clean weights, float32, shape (n_out, n_in * n_delays + 1).
        epsilon: standard normal draws, same shape.
        noise_std: noise amplitude relative to the largest absolute weight; 0 returns the weights unchanged.

    Returns:
        Noisy weights, same shape and dtype; a JAX array where ``weights`` is one, else a NumPy array.

    Raises:
        UserError: noise_std below 0 or not finite, or shapes that differ.
    """
    check_noise_std(noise_std)
    if np.shape(weights) != np.shape(epsilon):
        raise UserError(
            f"epsilon has shape {np.shape(epsilon)}; it must have the weights' {np.shape(weights)}."
        )
    if isinstance(weights, jax.Array):
        amplitude = jnp.max(jnp.abs(weights)) * jnp.float32(noise_std)
        return jnp.where(weights != 0, weights + amplitude * epsilon, weights)
    amplitude = np.max(np.abs(weights)) * np.float32(noise_std)
    return np.where(weights != 0, weights + np.asarray(epsilon) * amplitude, weights)


def check_noise_std(noise_std: float) -> None:
    """Raise `UserError` unless the amplitude is a finite number of at least 0."""
    if not (np.isfinite(noise_std) and noise_std >= 0):
        raise UserError(
            f"noise_std is {noise_std!r}; it must be a finite number of at least 0 (0.1 means 10 %)."
        )
