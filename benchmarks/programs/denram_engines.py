"""DenRAM's engines against a plain network: every delayed input gathered at every time step, JAX's own gradient.

One thread, forward and backward pass of one batch of 64, 150 steps of input and 200 of delay line, the same weights,
noise and spikes on both sides; losses and gradients are compared before anything is timed. Times include building
what each engine needs from the spikes of the batch. The plain network keeps its gathered inputs as bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import denram
import jax
import jax.numpy as jnp
import numpy as np

BATCH, STEPS_IN = 64, 150
NETWORKS = {"D2": 234, "D1": 700}  # channels that carry spikes: every third of 700, and all


def plain_network(network: denram.DelayNetwork) -> Callable[..., jax.Array]:
    """Mean loss as a function of (weights, spikes (sample, time, channel), labels)."""
    spec = network.spec
    lags = jnp.asarray(np.hstack([network.lines.lags, np.zeros((spec.n_out, 1), np.int32)]))
    channel = jnp.asarray(np.r_[np.repeat(np.arange(spec.n_in), spec.n_delays), spec.n_in])
    leak = spec.leak
    # Keeping the bytes and multiplying again in the backward pass takes a quarter of the memory of keeping floats.
    weighted = jax.checkpoint(
        lambda weights, taken: jnp.einsum("ok,ok->o", weights, taken.astype(jnp.float32))
    )

    def score(weights: jax.Array, spikes: jax.Array) -> jax.Array:
        with_bias = jnp.concatenate([spikes, jnp.ones((STEPS_IN, 1), spikes.dtype)], axis=1)
        inputs = jnp.concatenate([with_bias, jnp.zeros((network.lines.depth, spec.n_in + 1), spikes.dtype)])

        def step(
            state: tuple[jax.Array, jax.Array], now: jax.Array
        ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            line, potential = state
            line = jnp.concatenate([now[None], line[:-1]])
            potential = jnp.maximum(0, leak * potential + weighted(weights, line[lags, channel]))
            return (line, potential), potential

        start = (jnp.zeros((network.lines.depth, spec.n_in + 1), spikes.dtype), jnp.zeros(spec.n_out))
        return jnp.max(jax.lax.scan(step, start, inputs)[1], axis=0)

    def loss(weights: jax.Array, spikes: jax.Array, labels: jax.Array) -> jax.Array:
        scores = jax.vmap(score, in_axes=(None, 0))(weights, spikes)
        return -jnp.mean(jnp.log(jax.nn.softmax(scores))[jnp.arange(len(labels)), labels])

    return loss


def random_batch(n_in: int, live: int, density: float, seed: int = 0) -> tuple[denram.EventBatch, np.ndarray]:
    """Independent spikes at the given density of the live channels; step 0 is empty as in binned recordings."""
    rng = np.random.default_rng(seed)
    spikes = np.zeros((BATCH, STEPS_IN, n_in), np.uint8)
    spikes[:, 1:, :live] = rng.random((BATCH, STEPS_IN - 1, live)) < density * n_in / live
    return denram.EventBatch.from_dense(spikes), rng.integers(0, 20, BATCH)


def recorded_batch(folder: Path, n_in: int) -> tuple[denram.EventBatch, np.ndarray]:
    """The first training recordings of a folder in the layout of the Spiking Heidelberg Digits."""
    from denram.data.loading import load_data
    from denram.spec import Binning

    samples = load_data(folder, Binning(n_in=n_in)).train
    chosen = np.arange(BATCH)
    return samples.events.take(chosen), np.asarray(samples.labels)[chosen]


class Engines:
    """One network of Fig. 4d, one batch, the same weights and noise for all engines.

    Args:
        name: "D1" or "D2".
        data: Folder with shd_train.h5, whose first recordings are used; None: independent spikes.
        density: Share of all cells that hold a spike.
    """

    def __init__(self, name: str, data: Path | None, density: float) -> None:
        self.spec = denram.NetworkSpec(**{**denram.PRESETS[name].settings(), "profile": "faithful"})
        n_in = self.spec.n_in
        self.events, self.labels = (
            recorded_batch(data, n_in) if data else random_batch(n_in, NETWORKS[name], density)
        )
        parameters = denram.initialise(self.spec, 42)
        _, epsilon = denram.next_normals(parameters.key, parameters.weights.shape)
        self.weights = np.asarray(denram.noisy_weights(parameters.weights, np.asarray(epsilon), 0.1))
        self.delays = parameters.delays

    def ours(self, engine: str, threads: int = 1) -> Callable[[], tuple[float, np.ndarray]]:
        """Return mean loss and gradient by one of the engines."""
        network = denram.DelayNetwork(self.delays, self.spec, engine=engine, threads=threads)

        def run() -> tuple[float, np.ndarray]:
            out = network.loss_and_gradient(self.weights, self.events, self.labels)
            return float(out.loss), np.asarray(jax.block_until_ready(out.gradient))

        return run

    def plain(self) -> Callable[[], tuple[float, np.ndarray]]:
        """Return mean loss and gradient of the plain network."""
        network = denram.DelayNetwork(self.delays, self.spec, engine="fft")
        compiled = jax.jit(jax.value_and_grad(plain_network(network)))
        spikes = self.events.dense().transpose(1, 0, 2)

        def run() -> tuple[float, np.ndarray]:
            loss, gradient = jax.block_until_ready(compiled(self.weights, spikes, self.labels))
            return float(loss), np.asarray(gradient)

        return run
