"""Layers of `denram.layer` as Equinox modules that can be stacked, trained with optax and saved (extra ``equinox``).

Arrays over time are time-major, (time, sample, channel). A model is a `Stack` of layers called with spikes and, while
delays learn, with the width of their Gaussian: ``model(x, sigma)``.
"""

import jax
import jax.numpy as jnp
import numpy as np
from reprokit import UserError

from denram.layer import READOUTS, currents, init, integrate, threshold
from denram.spec import NetworkSpec

try:
    import equinox as eqx
except ImportError as error:
    raise UserError("equinox is not installed; pip install 'brainrules-denram[equinox]' adds it.") from error


class Delays(eqx.Module):
    """Delay layer: `denram.layer.currents` of the input's steps; weights (bias last) and delays are trained."""

    weights: jax.Array
    delays: jax.Array
    max_delay: int = eqx.field(static=True)

    def __init__(
        self, n_in: int, n_out: int, *, n_delays: int, max_delay: int, scale: float = 1.0, key: jax.Array
    ) -> None:
        spec = NetworkSpec(
            n_in=n_in, n_delays=n_delays, n_out=n_out, max_delay=max_delay, distribution="uniform"
        )
        for_delays, for_weights = jax.random.split(key)
        size = np.float32(scale / np.sqrt(spec.n_synapses))
        self.delays, self.max_delay = jnp.asarray(init(for_delays, spec).delays), max_delay
        self.weights = jax.random.normal(for_weights, (n_out, spec.n_synapses + 1), jnp.float32) * size

    def __call__(self, x: jax.Array, sigma: float | jax.Array = 0.0) -> jax.Array:
        """Currents, (time, ..., n_out)."""
        return currents(self.weights, self.delays, x, max_delay=self.max_delay, sigma=sigma, steps=len(x))


class Threshold(eqx.Module):
    """Threshold neurons; with `recurrent`, also the trained weights between them."""

    recurrent: jax.Array | None
    leak: float = eqx.field(static=True)

    def __init__(self, leak: float = 0.9, *, recurrent: int = 0, key: jax.Array | None = None) -> None:
        self.recurrent, self.leak = None, leak
        if recurrent:
            if key is None:
                raise UserError("key is None, but recurrent weights are random: give a JAX key.")
            size = np.float32(0.5 / np.sqrt(recurrent))
            self.recurrent = jax.random.normal(key, (recurrent, recurrent), jnp.float32) * size

    def __call__(self, x: jax.Array, sigma: float | jax.Array = 0.0) -> jax.Array:
        """Spikes, shape of the currents."""
        del sigma
        return threshold(x, self.leak, recurrent=self.recurrent)


class Readout(eqx.Module):
    """Leaky integrators and their readout: peak, mean or last."""

    leak: float = eqx.field(static=True, default=0.9)
    kind: str = eqx.field(static=True, default="peak")

    def __call__(self, x: jax.Array, sigma: float | jax.Array = 0.0) -> jax.Array:
        """Scores, (..., output)."""
        del sigma
        return READOUTS[self.kind](integrate(x, self.leak))


class Stack(eqx.Module):
    """Layers, one after the other."""

    layers: tuple[eqx.Module, ...]

    def __init__(self, *layers: eqx.Module) -> None:
        self.layers = layers

    def __call__(self, x: jax.Array, sigma: float | jax.Array = 0.0) -> jax.Array:
        """The output of the last layer."""
        for layer in self.layers:
            x = layer(x, sigma)  # type: ignore[operator]
        return x
