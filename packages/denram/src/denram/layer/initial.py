"""Initial weights and delays inside JAX: traceable, and one network per key under ``jax.vmap``."""

import jax
import jax.numpy as jnp
import numpy as np

from denram.model.delays import log_resistance_mean
from denram.model.parameters import Parameters
from denram.spec import NetworkSpec


def init(key: jax.Array, spec: NetworkSpec) -> Parameters:
    """Draw weights and delays as `denram.initialise` defines them, with JAX's own layout of random numbers.

    The delay line always has the length in the specification (`spec.max_delay` steps), so networks of many keys
    have one shape: ``jax.vmap(lambda key: init(key, spec))(keys)``. `denram.initialise` gives the
    original's network of a seed instead, outside of JAX.

    Args:
        key: a JAX key of any generator.
        spec: the network.

    Returns:
        `Parameters` of JAX arrays: weights, float32 `(n_out, n_in * n_delays + 1)`, the bias last; delays in whole
        steps, float32 `(n_out, n_in * n_delays)`; and a key to continue with.
    """
    key, for_weights, for_delays, for_bias = jax.random.split(key, 4)
    shape = (spec.n_out, spec.n_synapses)
    scale = np.float32(spec.weight_scale / np.sqrt(spec.n_in))
    weights = jnp.abs(jax.random.normal(for_weights, shape, jnp.float32)) * scale
    bias = jax.random.normal(for_bias, (spec.n_out, 1), jnp.float32) * scale
    return Parameters(jnp.concatenate([weights, bias], axis=1), _delays(for_delays, spec), key)  # type: ignore[arg-type]


def _delays(key: jax.Array, spec: NetworkSpec) -> jax.Array:
    shape = (spec.n_out, spec.n_synapses)
    if spec.distribution == "pattern":
        taps = np.rint(np.arange(spec.n_delays, dtype=np.float32) * spec.max_delay / spec.n_delays)
        return jnp.broadcast_to(jnp.asarray(np.tile(taps.astype(np.float32), spec.n_in)), shape)
    if spec.distribution == "uniform":
        return jax.random.randint(key, shape, 0, spec.max_delay + 1, jnp.int32).astype(jnp.float32)
    return delays_of_normals(jax.random.normal(key, shape, jnp.float32), spec)


def delays_of_normals(normals: jax.Array, spec: NetworkSpec) -> jax.Array:
    """Delays in steps of log-normal resistances, from standard normals (`denram.model.delays`)."""
    mean = log_resistance_mean(spec.r_mu, spec.r_std)
    ohm = jnp.exp(mean + np.float32(spec.r_std) * normals.astype(jnp.float32))
    steps = jnp.round(np.float32(spec.capacitance) * ohm * np.float32(1 / spec.dt))
    return jnp.clip(steps, np.float32(0), np.float32(spec.max_delay))
