r"""The paper's rule for several networks of one size at once: whole passes as one compiled program.

The rule is that of `denram.rules.noise_aware`: noise for each batch from each network's own stream, the
straight-through gradient, Adam. A pass is a `jax.lax.scan` over batches of the step of one network, and `jax.vmap` over
networks; the host gives the sample indices and gets the losses at the end of the pass. For which numbers are equal to
those of networks trained one by one, see `denram.engines.together`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from denram.engines.fft import Timing
from denram.engines.together import Batches, BatchResult, Resident, differentiated, evaluated
from denram.layer.noisy import disturbed
from denram.randomness import carried_normals, legacy_layout
from denram.rules.adam import AdamState, moved
from denram.rules.noise_aware import Learner, PassResult, average

LOST, SILENT = "lost", "silent"  # what can be wrong with a network's pass


class Pass:
    """One pass of all networks, as the host sees it.

    Args:
        results: For each batch, arrays of shape (network, batch).
        batches: The batches.
        finite: Whether loss and gradient were finite, (network, batch); None for an evaluation.
    """

    def __init__(self, results: BatchResult, batches: Batches, finite: np.ndarray | None = None) -> None:
        self.results = BatchResult(*(np.asarray(values) for values in results))
        self.sizes, self.finite = batches.sizes, finite

    def mean(self, network: int, weighted: bool) -> PassResult:
        """Loss and accuracy of one network, batches weighted by size or all alike."""
        used = self.sizes[network] > 0
        pairs = zip(self.results.loss[network][used], self.results.accuracy[network][used], strict=True)
        return average([PassResult(*pair) for pair in pairs], self.sizes[network][used] if weighted else None)

    def fault(self, network: int, faithful: bool) -> str:
        """What stopped a network from learning: `LOST`, `SILENT`, or nothing."""
        used = self.sizes[network] > 0
        if not used.any():
            return ""
        loss = self.results.loss[network][used]
        sound = ~np.isnan(loss) if faithful else np.isfinite(loss)
        if not (sound.all() and (self.finite is None or self.finite[network][used].all())):
            return LOST
        return "" if (self.results.top[network][used] > 0).any() else SILENT


def train_passes(
    learners: Sequence[Learner],
    lags: jax.Array,
    noise: np.ndarray,
    rates: np.ndarray,
    epochs: np.ndarray,
    data: Resident,
    batches: Batches,
    timing: Timing,
) -> tuple[list[Learner], Pass]:
    """Train all networks for one pass.

    Args:
        learners: Weights, optimiser and noise stream of each network.
        lags: int32, shape (network, n_out, n_in * n_delays).
        noise: Noise amplitudes, float32 (network,).
        rates: Learning rates of this pass, float32 (network,).
        epochs: Index of each network's epoch, int32 (network,).
        data: The samples.
        batches: Their indices for each network; a network without batches is returned as it was.
        timing: Sizes and constants, `denram.engines.together.timing_of`.

    Returns:
        The learners after the pass, as NumPy arrays, and the losses.
    """
    state = jax.tree.map(lambda *values: jnp.stack([jnp.asarray(v) for v in values]), *map(_plain, learners))
    with legacy_layout():  # the draws are part of the program
        state, (results, finite) = _train(
            state, lags, jnp.asarray(noise, jnp.float32), rates, epochs, *batches, data, timing=timing
        )
    weights, first, second, count, key = (np.asarray(values) for values in state)
    after = [
        Learner(weights[r], AdamState(first[r], second[r], int(count[r])), key[r])
        for r in range(len(learners))
    ]
    return after, Pass(results, batches, np.asarray(finite))


def evaluate_passes(
    weights: Sequence[Any],
    keys: Sequence[np.ndarray],
    lags: jax.Array,
    noise: np.ndarray,
    data: Resident,
    batches: Batches,
    timing: Timing,
    *,
    fresh: bool,
) -> tuple[np.ndarray, Pass]:
    """Evaluate all networks; arguments as in `train_passes`.

    Args:
        weights: Clean weights of each network.
        keys: Noise stream of each network.
        lags: As in `train_passes`.
        noise: As in `train_passes`.
        data: As in `train_passes`.
        batches: As in `train_passes`.
        timing: As in `train_passes`.
        fresh: Whether each batch has its own noise draw (`noise_aware.noisy_pass`) or all share one
            (`noise_aware.device_pass`).

    Returns:
        The streams after the pass, uint32 (network, 2), and the losses.
    """
    stacked = jnp.stack([jnp.asarray(values) for values in weights])
    with legacy_layout():
        after, results = _evaluate(
            stacked, np.stack(keys), lags, jnp.asarray(noise, jnp.float32), *batches, data,
            timing=timing, fresh=fresh,
        )  # fmt: skip
    return np.asarray(after), Pass(results, batches)


def _plain(learner: Learner) -> tuple[Any, ...]:
    adam = learner.adam
    return learner.weights, adam.first, adam.second, np.int32(adam.count), learner.key


def _drawn(weights: jax.Array, key: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The weights with the next noise of the stream, and the stream after it."""
    key, normals = carried_normals(key, weights.shape)
    return disturbed(weights, normals, noise), key


@partial(jax.jit, static_argnames="timing")
def _train(
    state: tuple[jax.Array, ...],
    lags: jax.Array,
    noise: jax.Array,
    rates: jax.Array,
    epochs: jax.Array,
    samples: jax.Array,
    sizes: jax.Array,
    data: Resident,
    timing: Timing,
) -> Any:
    def network(state: Any, lags: Any, noise: Any, rate: Any, epoch: Any, samples: Any, sizes: Any) -> Any:
        def step(state: Any, batch: Any) -> Any:
            weights, first, second, count, key = state
            rows, size = batch
            noisy, key = _drawn(weights, key, noise)
            result, gradient = differentiated(noisy, lags, data, rows, size, timing)
            made = epoch if timing.profile == "faithful" else count
            adam = AdamState(first, second, count)
            weights, adam = moved(weights, gradient, adam, made, rate, timing.profile)
            after = (weights, adam.first, adam.second, adam.count, key)
            kept = jax.tree.map(lambda new, old: jnp.where(size > 0, new, old), after, state)
            return kept, (result, jnp.all(jnp.isfinite(gradient)))

        return jax.lax.scan(step, state, (samples, sizes))

    return jax.vmap(network)(state, lags, noise, rates, epochs, samples, sizes)


@partial(jax.jit, static_argnames=("timing", "fresh"))
def _evaluate(
    weights: jax.Array,
    keys: jax.Array,
    lags: jax.Array,
    noise: jax.Array,
    samples: jax.Array,
    sizes: jax.Array,
    data: Resident,
    timing: Timing,
    fresh: bool,
) -> Any:
    def network(weights: Any, key: Any, lags: Any, noise: Any, samples: Any, sizes: Any) -> Any:
        noisy, used = _drawn(weights, key, noise)

        def step(key: Any, batch: Any) -> Any:
            rows, size = batch
            here, later = _drawn(weights, key, noise) if fresh else (noisy, key)
            return jnp.where(size > 0, later, key), evaluated(here, lags, data, rows, size, timing)

        after, results = jax.lax.scan(step, key, (samples, sizes))
        return (after if fresh else jnp.where(jnp.any(sizes > 0), used, key)), results

    return jax.vmap(network)(weights, keys, lags, noise, samples, sizes)
