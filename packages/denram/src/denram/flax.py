"""Layers of `denram.layer` as Flax (nnx) modules that can be stacked, trained with optax and saved (extra ``flax``).

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
    from flax import nnx
except ImportError as error:
    raise UserError("flax is not installed; pip install 'brainrules-denram[flax]' adds it.") from error


class Delays(nnx.Module):
    """Delay layer: `denram.layer.currents` of the input's steps; weights (bias last) and delays are trained."""

    def __init__(
        self, n_in: int, n_out: int, *, n_delays: int, max_delay: int, scale: float = 1.0, rngs: nnx.Rngs
    ) -> None:
        spec = NetworkSpec(
            n_in=n_in, n_delays=n_delays, n_out=n_out, max_delay=max_delay, distribution="uniform"
        )
        size = np.float32(scale / np.sqrt(spec.n_synapses))
        shape = (n_out, spec.n_synapses + 1)
        self.delays = nnx.Param(jnp.asarray(init(rngs.params(), spec).delays))
        self.weights = nnx.Param(jax.random.normal(rngs.params(), shape, jnp.float32) * size)
        self.max_delay = max_delay

    def __call__(self, x: jax.Array, sigma: float | jax.Array = 0.0) -> jax.Array:
        """Currents, (time, ..., n_out)."""
        weights, delays = self.weights[...], self.delays[...]
        return currents(weights, delays, x, max_delay=self.max_delay, sigma=sigma, steps=len(x))


class Threshold(nnx.Module):
    """Threshold neurons; with `recurrent`, also the trained weights between them."""

    def __init__(self, leak: float = 0.9, *, recurrent: int = 0, rngs: nnx.Rngs | None = None) -> None:
        if recurrent and rngs is None:
            raise UserError("rngs is None, but recurrent weights are random: give nnx.Rngs.")
        size = np.float32(0.5 / np.sqrt(max(1, recurrent)))
        self.leak = leak
        self.recurrent = (
            nnx.Param(jax.random.normal(rngs.params(), (recurrent, recurrent), jnp.float32) * size)
            if recurrent and rngs is not None
            else None
        )

    def __call__(self, x: jax.Array, sigma: float | jax.Array = 0.0) -> jax.Array:
        """Spikes, shape of the currents."""
        del sigma
        return threshold(x, self.leak, recurrent=None if self.recurrent is None else self.recurrent[...])


class Readout(nnx.Module):
    """Leaky integrators and their readout: peak, mean or last."""

    def __init__(self, leak: float = 0.9, kind: str = "peak") -> None:
        self.leak, self.kind = leak, kind

    def __call__(self, x: jax.Array, sigma: float | jax.Array = 0.0) -> jax.Array:
        """Scores, (..., output)."""
        del sigma
        return READOUTS[self.kind](integrate(x, self.leak))


class Stack(nnx.Module):
    """Layers, one after the other."""

    def __init__(self, *layers: nnx.Module) -> None:
        self.layers = nnx.List(layers)

    def __call__(self, x: jax.Array, sigma: float | jax.Array = 0.0) -> jax.Array:
        """The output of the last layer."""
        for layer in self.layers:
            x = layer(x, sigma)
        return x
