r"""Leaky integrator that cannot go below zero, read out by its maximum.

.. math::

    V_t = \max(0, y_t), \quad y_t = \alpha V_{t-1} + I_t, \quad V_{-1} = 0, \qquad score = \max_t V_t

There is no threshold and no reset. All arrays are time-major: (time, sample, output).

The gradient follows the conventions of the original's automatic differentiation: the rectifier has slope 1
above zero, 0 below and 0.5 at exactly zero; the maximum divides its gradient equally among equal
maxima.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float32


@jax.jit
def membrane(
    currents: Float32[jax.Array, "time sample n_out"], leak: float | jax.Array
) -> Float32[jax.Array, "time sample n_out"]:
    """Membrane potential after leak, input and clamp at every step.

    Args:
        currents: input current per step.
        leak: decay per step, alpha.
    """

    def step(potential: jax.Array, current: jax.Array) -> tuple[jax.Array, jax.Array]:
        potential = jnp.maximum(0, leak * potential + current)
        return potential, potential

    return jax.lax.scan(step, jnp.zeros_like(currents[0]), currents)[1]


@partial(jax.jit, static_argnames="tolerance")
def current_gradient(
    currents: Float32[jax.Array, "time sample n_out"],
    potential: Float32[jax.Array, "time sample n_out"],
    leak: float | jax.Array,
    tolerance: float = 0.0,
) -> Float32[jax.Array, "time sample n_out"]:
    r"""Derivative of the score with respect to the current of every step.

    .. math:: \frac{\partial s}{\partial I_t} = h(y_t)\,(m_t / n + \alpha\, \partial s / \partial I_{t+1})

    with h the rectifier's slope and m marking the n maxima.

    Args:
        currents: input current per step.
        potential: the result of `membrane`.
        leak: decay per step.
        tolerance: potentials this close to the maximum, relative to it, count as equal to it. 0 means exactly
            equal, the original's rule; an engine whose currents carry rounding noise needs more.
    """
    top = jnp.max(potential, axis=0)
    maxima = potential >= top * (1 - tolerance)
    share = maxima.astype(jnp.float32) / jnp.sum(maxima, axis=0, dtype=jnp.float32)
    earlier = jnp.concatenate([jnp.zeros_like(potential[:1]), potential[:-1]])
    drive = leak * earlier + currents
    slope = jnp.where(drive > 0, 1.0, jnp.where(drive < 0, 0.0, 0.5)).astype(jnp.float32)

    def step(later: jax.Array, here: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        slope_here, share_here = here
        gradient = slope_here * (share_here + leak * later)
        return gradient, gradient

    return jax.lax.scan(step, jnp.zeros_like(top), (slope, share), reverse=True)[1]
