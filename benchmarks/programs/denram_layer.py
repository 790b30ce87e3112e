"""DenRAM's layer inside of compiled JAX programs, and the same in the imperative network, plain JAX and PyTorch.

One thread, forward and backward pass of one batch: mean loss and gradient of the weights, the batch an argument. The
networks of Fig. 4d have 64 samples, 150 steps of input and 200 of delay line. `tiny` (8 x 2 synapses for each of 3
outputs, 4 samples) shows what a call costs; `small` is 64 x 4 for 5 outputs and 16 samples; `middle` (64 x 8, 20
outputs, 16 samples) is the size at which the peers end in reasonable time:

* plain JAX gathers every delayed input at every time step;
* PyTorch convolves over time with a dense kernel that holds the weights at their delays, as DCLS does once positions
  are whole numbers (its `Dcls1d` builds that kernel and calls the same convolution).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import denram
import jax
import jax.numpy as jnp
import numpy as np
from denram.layer import Spikes, scores

SIZES = {  # network, samples, channels that carry spikes
    "tiny": (denram.NetworkSpec(n_in=8, n_delays=2, n_out=3, steps_in=20, max_delay=10, r_mu=25e9), 4, 8),
    "small": (denram.NetworkSpec(n_in=64, n_delays=4, n_out=5, steps_in=50, max_delay=30, r_mu=75e9), 16, 64),
    "middle": (denram.NetworkSpec(n_in=64, n_delays=8, n_out=20), 16, 64),
    "D2": (denram.PRESETS["D2"], 64, 234),
    "D1": (denram.PRESETS["D1"], 64, 700),
}


class Case(NamedTuple):
    """One network and one batch."""

    name: str
    network: denram.DelayNetwork
    weights: np.ndarray
    events: denram.EventBatch
    labels: np.ndarray


def make(name: str, density: float) -> Case:
    """Return one of the networks and a batch of independent spikes at this density."""
    spec, samples, live = SIZES[name]
    rng, drawn = np.random.default_rng(0), denram.initialise(spec, 42)
    dense = np.zeros((samples, spec.steps_in, spec.n_in), np.uint8)
    dense[:, 1:, :live] = rng.random((samples, spec.steps_in - 1, live)) < density * spec.n_in / live
    network = denram.DelayNetwork(drawn.delays, spec, engine="events")
    return Case(
        name,
        network,
        drawn.weights,
        denram.EventBatch.from_dense(dense),
        rng.integers(0, spec.n_out, samples),
    )


def mean_loss(score: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean cross-entropy."""
    return -jnp.mean(jax.nn.log_softmax(score)[jnp.arange(score.shape[0]), labels])


def layer(case: Case, engine: str = "events") -> Callable[[], tuple[jax.Array, jax.Array]]:
    """A compiled step that takes the batch as an argument."""
    lags, depth, leak = jnp.asarray(case.network.lines.lags), case.network.lines.depth, case.network.spec.leak

    @jax.jit
    def step(weights: jax.Array, spikes: Spikes, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.value_and_grad(
            lambda w: mean_loss(scores(w, lags, spikes, max_delay=depth, leak=leak, engine=engine), labels)
        )(weights)

    weights, labels = jnp.asarray(case.weights), jnp.asarray(case.labels, jnp.int32)
    spikes = jax.tree.map(jnp.asarray, Spikes.from_events(case.events))
    return lambda: jax.block_until_ready(step(weights, spikes, labels))


def imperative(case: Case) -> Callable[[], tuple[float, np.ndarray]]:
    """The network's own call, weights on JAX's side as in training."""
    weights = jnp.asarray(case.weights)

    def run() -> tuple[float, np.ndarray]:
        out = case.network.loss_and_gradient(weights, case.events, case.labels)
        return out.loss, np.asarray(out.gradient)

    return run


def gather(case: Case) -> Callable[[], tuple[jax.Array, jax.Array]]:
    """Plain JAX: every delayed input gathered at every step."""
    lags, spec, lines = jnp.asarray(case.network.lines.lags), case.network.spec, case.network.lines
    channel = jnp.repeat(jnp.arange(spec.n_in), spec.n_delays)

    def score(weights: jax.Array, spikes: jax.Array) -> jax.Array:
        padded = jnp.pad(spikes, ((0, 0), (0, lines.depth), (0, 0)))

        def step(potential: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
            at = t - lags
            delayed = jnp.where(at >= 0, padded[:, jnp.maximum(at, 0), channel], 0)
            current = jnp.einsum("bok,ok->bo", delayed, weights[:, :-1])
            current += jnp.where(t < lines.bias_steps, weights[:, -1], 0)
            potential = jnp.maximum(0, spec.leak * potential + current)
            return potential, potential

        start = jnp.zeros((spikes.shape[0], spec.n_out))
        return jnp.max(jax.lax.scan(step, start, jnp.arange(lines.steps))[1], axis=0)

    step = jax.jit(jax.value_and_grad(lambda w, s, y: mean_loss(score(w, s), y)))
    weights, labels = jnp.asarray(case.weights), jnp.asarray(case.labels)
    spikes = jnp.asarray(case.events.dense().transpose(1, 0, 2), jnp.float32)
    return lambda: jax.block_until_ready(step(weights, spikes, labels))


def convolution(case: Case) -> Callable[[], tuple[float, np.ndarray]]:
    """PyTorch: a dense kernel over time, and the integrator step by step."""
    import torch

    torch.set_num_threads(1)
    spec, lines = case.network.spec, case.network.lines
    shape = (spec.n_out, spec.n_in, spec.n_delays)
    places = torch.from_numpy(lines.depth - lines.lags.reshape(shape).astype(np.int64))
    spikes = torch.from_numpy(case.events.dense().transpose(1, 2, 0).astype(np.float32))
    spikes = torch.nn.functional.pad(spikes, (lines.depth, lines.depth))
    flows = (torch.arange(lines.steps) < lines.bias_steps).float()
    labels, weights = torch.from_numpy(case.labels), torch.from_numpy(case.weights).requires_grad_()

    def run() -> tuple[float, np.ndarray]:
        weights.grad = None
        kernel = torch.zeros((spec.n_out, spec.n_in, lines.depth + 1))
        kernel = kernel.scatter_add(2, places, weights[:, :-1].reshape(shape))
        current = torch.nn.functional.conv1d(spikes, kernel) + weights[:, -1:] * flows
        potential, best = torch.zeros(len(labels), spec.n_out), torch.zeros(len(labels), spec.n_out)
        for now in current.unbind(2):
            potential = torch.relu(spec.leak * potential + now)
            best = torch.maximum(best, potential)
        loss = torch.nn.functional.cross_entropy(best, labels)
        loss.backward()
        assert weights.grad is not None
        return float(loss.detach()), weights.grad.numpy()

    return run
