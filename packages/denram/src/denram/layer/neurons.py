r"""Neurons driven by a layer's currents, all steps at once.

Leaky integrator, threshold neuron with reset by subtraction, and the latter with recurrent weights R:

.. math::

    V_t = \alpha V_{t-1} + I_t; \qquad
    V_t = \alpha (V_{t-1} - \theta z_{t-1}) + I_t + R z_{t-1}, \quad z_t = [V_t \ge \theta]

The step of a spike has the derivative of a fast sigmoid, :math:`1 / (1 + \beta |V_t - \theta|)^2`.

Source of the surrogate: Zenke & Ganguli, *SuperSpike*, Neural Computation 30 (2018), equation 5.
"""

from functools import partial

import jax
import jax.numpy as jnp
from reprokit import UserError

STEEPNESS = 5.0  # beta


def integrate(currents: jax.Array, leak: float | jax.Array, *, rectified: bool = False) -> jax.Array:
    """Potential of leaky integrators at every step.

    Args:
        currents: shape (time, ..., neuron).
        leak: decay per step, alpha = exp(-dt / tau); a number, or one for each neuron.
        rectified: whether the potential cannot go below 0 (DenRAM's membrane).

    Returns:
        Shape and dtype of the currents.
    """
    currents = _checked(currents)
    decay = jnp.asarray(leak).astype(currents.dtype)

    def step(potential: jax.Array, current: jax.Array) -> tuple[jax.Array, jax.Array]:
        potential = decay * potential + current
        potential = jnp.maximum(potential, 0) if rectified else potential
        return potential, potential

    return jax.lax.scan(step, jnp.zeros_like(currents[0]), currents)[1]


def threshold(
    currents: jax.Array,
    leak: float | jax.Array,
    *,
    level: float | jax.Array = 1.0,
    recurrent: jax.Array | None = None,
    steepness: float = STEEPNESS,
) -> jax.Array:
    """Spikes of threshold neurons at every step, with a surrogate gradient.

    Args:
        currents: shape (time, ..., neuron).
        leak: decay per step, as for `integrate`.
        level: the threshold.
        recurrent: weights from the spikes of one step to the currents of the next, shape (neuron, neuron), row:
            to, column: from; None: no recurrence.
        steepness: beta of the surrogate.

    Returns:
        0 or 1, shape and dtype of the currents.

    Raises:
        UserError: Currents that are not floats, or recurrent weights of the wrong shape.
    """
    currents = _checked(currents)
    decay, bar = (jnp.asarray(value).astype(currents.dtype) for value in (leak, level))
    n_neurons = currents.shape[-1]
    if recurrent is not None and recurrent.shape != (n_neurons, n_neurons):
        raise UserError(f"recurrent has shape {recurrent.shape}; needed is {(n_neurons, n_neurons)}.")
    back = None if recurrent is None else recurrent.astype(currents.dtype).T

    def step(
        state: tuple[jax.Array, jax.Array], current: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        potential, spikes = state
        potential = decay * (potential - bar * spikes) + current
        if back is not None:
            potential = potential + jnp.matmul(spikes, back)
        spikes = fires(potential - bar, steepness)
        return (potential, spikes), spikes

    silent = jnp.zeros_like(currents[0])
    return jax.lax.scan(step, (silent, silent), currents)[1]


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def fires(above: jax.Array, steepness: float = STEEPNESS) -> jax.Array:  # noqa: ARG001 (its derivative needs it)
    """1 where the potential is at or above its threshold, else 0; `above` is the difference of the two."""
    return (above >= 0).astype(above.dtype)


@fires.defjvp
def _fires_slope(
    steepness: float, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (above,), (change,) = primals, tangents
    return fires(above, steepness), change / jnp.square(1 + steepness * jnp.abs(above))


def _checked(currents: jax.Array) -> jax.Array:
    currents = jnp.asarray(currents)
    if currents.ndim < 2 or not jnp.issubdtype(currents.dtype, jnp.floating):
        raise UserError(
            f"currents is {currents.dtype} of shape {currents.shape}; needed are floats, (time, ..., neuron)."
        )
    return currents
