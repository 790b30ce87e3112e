r"""Adam with the original's learning-rate schedule.

.. math::

    m \leftarrow .9 m + .1 g, \quad v \leftarrow .999 v + .001 g^2, \quad
    W \leftarrow W - lr(e) \frac{m / (1 - .9^{n})}{\sqrt{v / (1 - .999^{n})} + 10^{-8}}

``fixed``: n counts the updates (optax's Adam). ``faithful`` (DEV-3): n is the number of the epoch, from
1, as in the original, which passes its epoch index where a step counter belongs.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from reprokit import UserError

from denram.randomness import refuse_forked
from denram.spec import Profile

FIRST_DECAY, FIRST_FACTOR = 33, 5  # after this epoch the rate is divided by this
SECOND_DECAY, SECOND_FACTOR = 66, 20
B1, B2, EPSILON = 0.9, 0.999, 1e-8


@partial(jax.tree_util.register_dataclass, data_fields=["first", "second", "count"], meta_fields=[])
@dataclass(frozen=True)
class AdamState:
    """Moments of the gradient (float32, shape of the weights) and the number of updates made; a pytree of JAX."""

    first: jax.Array
    second: jax.Array
    count: int | jax.Array


def learning_rate(epoch: int, base: float = 2e-4) -> float:
    """Rate of an epoch (from 0): base up to epoch 33, base / 5 up to 66, base / 20 from 67 on.

    Raises:
        UserError: a negative epoch, or a base that is not a positive number.
    """
    if epoch < 0:
        raise UserError(f"epoch is {epoch}; epochs count from 0.")
    if not 0 < base < np.inf:
        raise UserError(f"the learning rate is {base!r}; it must be a positive number.")
    if epoch <= FIRST_DECAY:
        return base
    return base / FIRST_FACTOR if epoch <= SECOND_DECAY else base / SECOND_FACTOR


def initial_state(weights: np.ndarray | jax.Array) -> AdamState:
    """Zero moments for the given weights."""
    zeros = jnp.zeros(np.shape(weights), jnp.float32)
    return AdamState(zeros, zeros, 0)


def update(
    weights: np.ndarray | jax.Array,
    gradient: np.ndarray | jax.Array,
    state: AdamState,
    *,
    epoch: int,
    profile: Profile,
    base_rate: float = 2e-4,
) -> tuple[jax.Array, AdamState]:
    """One update of the weights; also under ``jax.jit`` or ``jax.lax.scan``, with epoch and rate given as numbers.

    Args:
        weights: float32.
        gradient: float32, same shape.
        state: from `initial_state` or the previous update.
        epoch: epoch index from 0; sets the learning rate and, in ``faithful``, the bias correction.
        profile: ``fixed`` or ``faithful``.
        base_rate: learning rate of the first epochs.

    Returns:
        The new weights and the new state.

    Raises:
        UserError: shapes that differ, a negative epoch, or an invalid rate.
    """
    refuse_forked()
    shapes = {np.shape(values) for values in (weights, gradient, state.first, state.second)}
    if len(shapes) > 1:
        raise UserError(
            f"weights have shape {np.shape(weights)}, the gradient {np.shape(gradient)} and the moments "
            f"{np.shape(state.first)}; they must be equal."
        )
    counter = epoch if profile == "faithful" else state.count
    rate = np.float32(learning_rate(epoch, base_rate))
    made = np.int32(counter) if isinstance(counter, int) else jnp.asarray(counter, jnp.int32)
    return moved(weights, gradient, state, made, rate, profile)


def moved(
    weights: np.ndarray | jax.Array,
    gradient: np.ndarray | jax.Array,
    state: AdamState,
    made: jax.Array | np.integer,
    rate: jax.Array | np.floating,
    profile: Profile,
) -> tuple[jax.Array, AdamState]:
    """`update` without checks, for programs that compute several networks at once.

    Args:
        weights: float32.
        gradient: float32, same shape.
        state: moments, and the number of updates made.
        made: int32 scalar that the bias correction uses: updates made, or in ``faithful`` the index of the epoch.
        rate: float32 scalar, the learning rate of this update.
        profile: as in `update`.
    """
    step = _epoch_counting if profile == "faithful" else _step_counting
    updated, first, second = step(weights, gradient, state.first, state.second, made, rate)
    return updated, AdamState(first, second, state.count + 1)


@jax.jit
def _epoch_counting(
    weights: jax.Array,
    gradient: jax.Array,
    first: jax.Array,
    second: jax.Array,
    epoch: jax.Array,
    rate: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    first, second = _moments(gradient, first, second)
    scale = jnp.sqrt(second / _correction(B2, epoch)) + EPSILON
    return weights - rate * (first / _correction(B1, epoch)) / scale, first, second


@jax.jit
def _step_counting(
    weights: jax.Array,
    gradient: jax.Array,
    first: jax.Array,
    second: jax.Array,
    count: jax.Array,
    rate: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    first, second = _moments(gradient, first, second)
    direction = (first / _correction(B1, count)) / (jnp.sqrt(second / _correction(B2, count)) + EPSILON)
    return weights - rate * direction, first, second


def _moments(gradient: jax.Array, first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    return (1 - B1) * gradient + B1 * first, (1 - B2) * jnp.square(gradient) + B2 * second


def _correction(decay: float, count: jax.Array) -> jax.Array:
    """``1 - decay^(count + 1)`` in float32, whatever JAX's default types are."""
    return 1 - jnp.asarray(decay, jnp.float32) ** (count + 1).astype(jnp.float32)
