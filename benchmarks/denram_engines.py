"""DenRAM's engines against a plain network: every delayed input gathered at every time step, JAX's own gradient.

    python benchmarks/denram_engines.py [--repeats 5] [--density 0.053] [--data FOLDER] [--results FILE]

One thread, forward and backward pass of one batch of 64, 150 steps of input and 200 of delay line, the same weights,
noise and spikes on both sides; losses and gradients are compared before anything is timed. Times include building
what each engine needs from the spikes of the batch. The plain network keeps its gathered inputs as bytes.
"""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
from collections.abc import Callable
from pathlib import Path

import denram
import jax
import jax.numpy as jnp
import numpy as np
from denram.engines import fft
from reprokit import bench

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


def measure(name: str, batch: tuple[denram.EventBatch, np.ndarray], options: argparse.Namespace) -> None:
    spec = denram.NetworkSpec(**{**denram.PRESETS[name].settings(), "profile": "faithful"})
    parameters = denram.initialise(spec, 42)
    events, labels = batch
    _, epsilon = denram.next_normals(parameters.key, parameters.weights.shape)
    weights = np.asarray(denram.noisy_weights(parameters.weights, np.asarray(epsilon), 0.1))
    engines = {kind: denram.DelayNetwork(parameters.delays, spec, engine=kind) for kind in ("events", "fft")}
    plain = jax.jit(jax.value_and_grad(plain_network(engines["fft"])))
    spikes = events.dense().transpose(1, 0, 2)
    loss, gradient = plain(weights, spikes, labels)
    temporary = plain.lower(weights, spikes, labels).compile().memory_analysis()
    print(f"{name}: {events.density:.2%} of all cells hold a spike; plain network needs "
          f"{temporary.temp_size_in_bytes / 1e6:.0f} MB besides its arguments")  # fmt: skip
    memory = fft.loss_and_gradient.lower(
        jnp.asarray(weights), jnp.asarray(engines["fft"].lines.lags), events.dense(), labels.astype(np.int32),
        engines["fft"]._timing,
    ).compile().memory_analysis()  # fmt: skip
    print(f"  fft needs {memory.temp_size_in_bytes / 1e6:.0f} MB besides its arguments")
    for kind, network in engines.items():
        ours = network.loss_and_gradient(weights, events, labels)
        error = np.max(np.abs(np.asarray(ours.gradient) - gradient)) / np.max(np.abs(gradient))
        print(
            f"  {kind}: loss differs by {abs(ours.loss - float(loss)):.1e}, gradient by {error:.1e} of its largest"
        )
        case = f"{spec.n_in}x{spec.n_delays} batch {BATCH} forward+backward density {events.density:.3f}"
        comparison = bench.compare(
            "denram",
            case,
            kind,
            "plain jax",
            lambda network=network: jax.block_until_ready(
                network.loss_and_gradient(weights, events, labels).gradient
            ),
            lambda: jax.block_until_ready(plain(weights, spikes, labels)),
            repeats=options.repeats,
            results=options.results,
            packages=("jax", "numpy"),
        )
        print(f"  {comparison}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--density", type=float, default=0.053, help="share of all cells that hold a spike")
    parser.add_argument("--data", type=Path, default=None, help="folder with shd_train.h5: use its spikes")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--results", type=Path, default=bench.RESULTS)
    options = parser.parse_args()
    for name in options.networks:
        n_in = denram.PRESETS[name].n_in
        if options.data is None:
            measure(name, random_batch(n_in, NETWORKS[name], options.density), options)
        else:
            measure(name, recorded_batch(options.data, n_in), options)


if __name__ == "__main__":
    main()
