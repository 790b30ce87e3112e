"""The leaky integrator of spyx behind a linear layer of as many weights, without delays."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.programs.denram_layer import make, mean_loss


def step(size: str, density: float) -> Callable[[], dict[str, np.ndarray]]:
    """Return mean loss and gradient of one batch; the call returns how many weights there are.

    Args:
        size: One of `benchmarks.programs.denram_layer.SIZES`.
        density: Share of all cells that hold a spike.
    """
    from flax import nnx
    from spyx.nn import LI

    case = make(size, density)
    spec = case.network.spec
    dense = case.events.dense().transpose(1, 0, 2).astype(np.float32)
    inputs = jnp.asarray(np.repeat(dense, spec.n_delays, axis=2))
    inputs = jnp.pad(inputs, ((0, 0), (0, case.network.lines.depth), (0, 0)))
    readout, labels = LI((spec.n_out,), rngs=nnx.Rngs(0)), jnp.asarray(case.labels)
    graph, state = nnx.split(readout)

    def loss(weights: jax.Array, state: nnx.State) -> jax.Array:
        neuron = nnx.merge(graph, state)
        currents = inputs @ weights

        def advance(potential: jax.Array, current: jax.Array) -> tuple[jax.Array, jax.Array]:
            out, potential = neuron(current, potential)
            return potential, out

        start = jnp.zeros((inputs.shape[0], spec.n_out))
        return mean_loss(jnp.max(jax.lax.scan(advance, start, currents.swapaxes(0, 1))[1], axis=0), labels)

    compiled = jax.jit(jax.value_and_grad(loss))
    weights = jnp.asarray(case.weights[:, :-1].T)

    def run() -> dict[str, np.ndarray]:
        jax.block_until_ready(compiled(weights, state))
        return {"weights": np.array(weights.size)}

    return run
