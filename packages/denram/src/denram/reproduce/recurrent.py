r"""The competitor in the heartbeat study: a small recurrent network of spiking neurons, trained through time.

.. math::

    V_t = \alpha V_{t-1} (1 - s_{t-1}) + W x_t + R s_{t-1} + b, \quad s_t = [V_t \ge 1], \qquad
    O_t = \alpha O_{t-1} + U s_t + c, \quad score = \max_t O_t

The step's derivative is replaced by :math:`1 / (1 + 5 |V - 1|)^2` (surrogate gradient). Time constant, input, readout
by the maximum, noise (relative to the largest absolute weight of each matrix, straight-through), split, batches
and choice of the epoch are those of the DenRAM networks it is compared with; the optimiser is Adam.

Parameters: :math:`n_{in} H + H^2 + H + H n_{out} + n_{out}`, all counted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from denram.data.binning import Samples
from denram.data.loading import DataSet
from denram.data.splits import make_order
from denram.training.trainer import Selection

STEEPNESS = 5.0
AT_ONCE, FEW = (
    640,
    64,
)  # samples tested together: at most this many, and a multiple of these, to compile few programs


@dataclass(frozen=True)
class RecurrentConfig:
    """Settings of one recurrent network.

    Args:
        hidden: Recurrent neurons.
        seed: Seed of weights, split, shuffles and noise.
        noise_std: Noise relative to the largest absolute weight of each matrix.
        nb_epochs: Epochs to train.
        lr: Learning rate of Adam.
        batch_size: Samples per batch; the last partial batch of an epoch is left out.
        tau_mem: Time constant of neurons and readout, seconds.
        dt: Time step, seconds.
        devices: Noise draws of the test.
        validation: Share of the training samples used for validation.
    """

    hidden: int
    seed: int
    noise_std: float = 0.0
    nb_epochs: int = 40
    lr: float = 1e-2
    batch_size: int = 64
    tau_mem: float = 20e-3
    dt: float = 5e-3
    devices: int = 10
    validation: float = 0.2


class Weights(NamedTuple):
    """Float32 arrays of one network: `(n_in, H)`, `(H, H)`, `(H,)`, `(H, n_out)`, `(n_out,)`."""

    inward: jax.Array
    loop: jax.Array
    bias: jax.Array
    outward: jax.Array
    offset: jax.Array


def _key(seed: int) -> jax.Array:
    """The key of a seed, whatever JAX's default generator is."""
    return jax.random.key(seed, impl="threefry2x32")


@jax.custom_vjp
def fires(potential: jax.Array) -> jax.Array:
    """1 where a potential has reached the threshold, else 0, with the surrogate gradient."""
    return (potential >= 1).astype(jnp.float32)


fires.defvjp(
    lambda potential: (fires(potential), potential),
    lambda potential, gradient: (gradient / jnp.square(1 + STEEPNESS * jnp.abs(potential - 1)),),
)


def initial(key: jax.Array, n_in: int, hidden: int, n_out: int) -> Weights:
    """Normal weights of standard deviation 1 / sqrt(inputs of the neuron), biases 0."""
    shapes = ((n_in, hidden), (hidden, hidden), (hidden, n_out))
    inward, loop, outward = (
        jax.random.normal(part, shape, jnp.float32) / np.float32(np.sqrt(shape[0]))
        for part, shape in zip(jax.random.split(key, 3), shapes, strict=True)
    )
    return Weights(inward, loop, jnp.zeros(hidden, jnp.float32), outward, jnp.zeros(n_out, jnp.float32))


@partial(jax.jit, static_argnames=("n_in", "hidden", "n_out"))
def draws(key: jax.Array, n_in: int, hidden: int, n_out: int) -> Weights:
    """Standard normal values with the shapes of the weights: one reading of the devices."""
    shapes = ((n_in, hidden), (hidden, hidden), (hidden,), (hidden, n_out), (n_out,))
    parts = zip(jax.random.split(key, len(shapes)), shapes, strict=True)
    return Weights(*(jax.random.normal(part, shape, jnp.float32) for part, shape in parts))


def noisy(weights: Weights, epsilon: Weights, noise_std: float | jax.Array) -> Weights:
    """Weights as read once from the devices; gradients pass straight through."""

    def read(array: jax.Array, normals: jax.Array) -> jax.Array:
        return array + jax.lax.stop_gradient(jnp.max(jnp.abs(array))) * noise_std * normals

    return Weights(*map(read, weights, epsilon))


def scores(weights: Weights, spikes: jax.Array, leak: float) -> jax.Array:
    """Largest value of each output, float32 `(sample, n_out)`, of spikes `(time, sample, n_in)`."""
    n_samples, (hidden, n_out) = spikes.shape[1], weights.outward.shape

    def step(state: tuple[jax.Array, ...], x: jax.Array) -> tuple[tuple[jax.Array, ...], None]:
        potential, spiked, output, top = state
        potential = (
            leak * potential * (1 - spiked) + x @ weights.inward + spiked @ weights.loop + weights.bias
        )
        spiked = fires(potential)
        output = leak * output + spiked @ weights.outward + weights.offset
        return (potential, spiked, output, jnp.maximum(top, output)), None

    silent = jnp.zeros((n_samples, hidden), jnp.float32)
    nothing = jnp.zeros((n_samples, n_out), jnp.float32)
    start = (silent, silent, nothing, jnp.full_like(nothing, -jnp.inf))
    return jax.lax.scan(step, start, spikes.astype(jnp.float32))[0][3]


@partial(jax.jit, static_argnames=("rate", "leak"))  # one program for all seeds, noise levels and data
def _step(
    weights: Weights,
    state: optax.OptState,
    epsilon: Weights,
    spikes: jax.Array,
    labels: jax.Array,
    noise_std: float,
    *,
    rate: float,
    leak: float,
) -> tuple[Weights, optax.OptState, jax.Array]:
    """Update once; returns weights, optimiser and the share of correctly classified samples in the batch."""

    def loss(found: Weights) -> tuple[jax.Array, jax.Array]:
        outputs = scores(noisy(found, epsilon, noise_std), spikes, leak)
        right = jnp.mean(jnp.argmax(outputs, axis=-1) == labels)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean(), right

    gradient, right = jax.grad(loss, has_aux=True)(weights)
    updates, state = optax.adam(rate).update(gradient, state)
    return cast(Weights, optax.apply_updates(weights, updates)), state, right


@partial(jax.jit, static_argnames="leak")
def _classes(
    weights: Weights, epsilon: Weights, spikes: jax.Array, noise_std: float, *, leak: float
) -> jax.Array:
    return jnp.argmax(scores(noisy(weights, epsilon, noise_std), spikes, leak), axis=-1)


def train_recurrent(config: RecurrentConfig, data: DataSet) -> Mapping[str, Any]:
    """Train one network and test its best epoch on `devices` noisy copies; returns the numbers of a ledger row."""
    started = time.perf_counter()
    order = make_order(
        faithful=False,
        n_train=len(data.train),
        n_test=len(data.test),
        speakers=data.train.speakers,
        seed=config.seed,
        batch_size=config.batch_size,
        validation=config.validation,
        n_validation=data.n_validation,
    )
    samples, leak = data.train, float(np.exp(-config.dt / config.tau_mem))
    test = partial(_accuracy, noise_std=config.noise_std, leak=leak)
    key, use = jax.random.split(_key(config.seed))
    sizes = samples.events.n_in, config.hidden, data.classes
    weights = initial(use, *sizes)
    state, selection, best = optax.adam(config.lr).init(weights), Selection(False, config.nb_epochs), weights
    for epoch in range(config.nb_epochs):
        key, check, *noise = jax.random.split(key, 2 + len(order.train) // config.batch_size)
        right = []
        for batch, read in zip(order.epoch(epoch)[0], noise, strict=False):
            spikes, labels = samples.events.take(batch).dense(), samples.labels[batch].astype(np.int32)
            weights, state, share = _step(
                weights,
                state,
                draws(read, *sizes),
                spikes,
                labels,
                config.noise_std,
                rate=config.lr,
                leak=leak,
            )
            right.append(share)
        if selection.offer(
            epoch, test(weights, draws(check, *sizes), samples, order.validation), float(np.mean(right))
        ):
            best = weights
    devices, everything = config.devices if config.noise_std else 1, np.arange(len(data.test))
    found = [test(best, draws(_key(device), *sizes), data.test, everything) for device in range(devices)]
    return {
        "test_acc": float(np.mean(found)),
        "val_acc": selection.best,
        "train_acc": selection.train_acc,
        "best_epoch": selection.epoch,
        "epochs": config.nb_epochs,
        "n_parameters": sum(int(array.size) for array in weights),
        "seconds": time.perf_counter() - started,
    }


def _accuracy(
    weights: Weights, epsilon: Weights, samples: Samples, which: np.ndarray, *, noise_std: float, leak: float
) -> float:
    """Share of samples that one noisy copy classifies correctly, in parts of equal size, the last one padded."""
    right, size = 0, min(AT_ONCE, -(-len(which) // FEW) * FEW)
    for first in range(0, len(which), size):
        part = which[first : first + size]
        spikes = samples.events.take(np.resize(part, size)).dense()
        classes = np.asarray(_classes(weights, epsilon, spikes, noise_std, leak=leak))[: len(part)]
        right += int(np.sum(classes == samples.labels[part]))
    return right / len(which)
