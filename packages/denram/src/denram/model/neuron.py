r"""Leaky integrator that cannot go below zero, read out by its maximum.

.. math::

    V_t = \max(0, y_t), \quad y_t = \alpha V_{t-1} + I_t, \quad V_{-1} = 0, \qquad score = \max_t V_t

There is no threshold and no reset. All arrays are time-major: (time, sample, output).

The gradient follows the conventions of the original's automatic differentiation: the rectifier has slope 1
above zero, 0 below and 0.5 at exactly zero; the maximum divides its gradient equally among equal
maxima.

Both recursions are computed step by step, or, ``parallel``, by combining ever longer stretches of time. A step is
the map :math:`V \mapsto \max(c, a V + b)` with :math:`a = \alpha, b = I_t, c = 0`, and two of them make a third:

.. math::

    (a_2, b_2, c_2) \circ (a_1, b_1, c_1) = (a_2 a_1,\; a_2 b_1 + b_2,\; \max(c_2, a_2 c_1 + b_2))

An accelerator then needs about two passes for each doubling of the number of steps, instead of starting a kernel for
every step. The same sums are added in another order, so results are equal to rounding; zeros that follow from silent
inputs stay exact.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float32


@partial(jax.jit, static_argnames="parallel")
def membrane(
    currents: Float32[jax.Array, "time sample n_out"], leak: float | jax.Array, parallel: bool = False
) -> Float32[jax.Array, "time sample n_out"]:
    """Membrane potential after leak, input and clamp at every step.

    Args:
        currents: input current per step.
        leak: decay per step, alpha.
        parallel: whether stretches of time are combined, for accelerators; equal to rounding.
    """
    if parallel:
        decay = jnp.full((len(currents), 1, 1), leak, currents.dtype)
        _, reached, least = jax.lax.associative_scan(
            _after, (decay, currents, jnp.zeros_like(currents)), axis=0
        )
        return jnp.maximum(least, reached)  # from a potential of 0

    def step(potential: jax.Array, current: jax.Array) -> tuple[jax.Array, jax.Array]:
        potential = jnp.maximum(0, leak * potential + current)
        return potential, potential

    return jax.lax.scan(step, jnp.zeros_like(currents[0]), currents)[1]


def _after(first: tuple[jax.Array, ...], second: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Two stretches of time as one, see the module's docstring."""
    (a1, b1, c1), (a2, b2, c2) = first, second
    return a2 * a1, a2 * b1 + b2, jnp.maximum(c2, a2 * c1 + b2)


@partial(jax.jit, static_argnames=("tolerance", "parallel"))
def current_gradient(
    currents: Float32[jax.Array, "time sample n_out"],
    potential: Float32[jax.Array, "time sample n_out"],
    leak: float | jax.Array,
    tolerance: float = 0.0,
    parallel: bool = False,
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
        parallel: as in `membrane`.
    """
    top = jnp.max(potential, axis=0)
    maxima = potential >= top * (1 - tolerance)
    share = maxima.astype(jnp.float32) / jnp.sum(maxima, axis=0, dtype=jnp.float32)
    earlier = jnp.concatenate([jnp.zeros_like(potential[:1]), potential[:-1]])
    drive = leak * earlier + currents
    slope = jnp.where(drive > 0, 1.0, jnp.where(drive < 0, 0.0, 0.5)).astype(jnp.float32)

    if parallel:
        return jax.lax.associative_scan(_before, (leak * slope, slope * share), axis=0, reverse=True)[1]

    def step(later: jax.Array, here: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        slope_here, share_here = here
        gradient = slope_here * (share_here + leak * later)
        return gradient, gradient

    return jax.lax.scan(step, jnp.zeros_like(top), (slope, share), reverse=True)[1]


def _before(later: tuple[jax.Array, ...], earlier: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Two stretches of the gradient ``q + p * gradient of the next step`` as one."""
    (p1, q1), (p2, q2) = later, earlier
    return p2 * p1, p2 * q1 + q2
