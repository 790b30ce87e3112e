"""The slice of denram on a GPU: one epoch of Fig. 4d's two networks, each with its 15 runs as one program.

    python -m benchmarks.programs.gpu_denram --device cuda
    python -m benchmarks.programs.gpu_denram --device cpu --tiny

Sizes are those of the Spiking Heidelberg Digits, with generated spikes, which cost the same: 101 training and 25
validation batches of 64 out of 8156 samples, and a test pass of 35 as after a new best; 5 noise levels and 3 seeds with
their own delays. The whole figure is at most 100 such epochs, as training stops early, and reading the data.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import denram
import jax
import jax.numpy as jnp
import numpy as np
from denram.config import NETWORKS
from denram.engines.network import computing_on
from denram.engines.together import Batches, Resident, timing_of
from denram.rules.adam import initial_state, learning_rate
from denram.rules.noise_aware import Learner
from denram.rules.together import evaluate_passes, train_passes

from benchmarks.programs.gpu_slice import print_slice

EPOCHS, NOISE, SEEDS, DENSITY = 100, (0.0, 0.05, 0.1, 0.15, 0.2), (42, 50, 9), 0.05
SIZES = {
    "batch": 64,
    "train": 101,
    "validation": 25,
    "test": 35,
    "steps_in": 150,
    "max_delay": 200,
    "n_delays": 16,
}
TINY = {"batch": 4, "train": 2, "validation": 1, "test": 1, "steps_in": 12, "max_delay": 8, "n_delays": 2}


class Epoch:
    """One epoch of all runs of a network.

    Args:
        name: "D1" or "D2".
        tiny: The smallest sizes, to try the flow.
    """

    def __init__(self, name: str, tiny: bool = False) -> None:
        sizes, network = (TINY if tiny else SIZES), NETWORKS[name]
        spec = denram.NetworkSpec(
            n_in=network["n_in"] // (50 if tiny else 1),
            tau_mem=network["tau_mem"],
            n_delays=sizes["n_delays"],
            steps_in=sizes["steps_in"],
            max_delay=sizes["max_delay"],
            profile="faithful",
        )
        runs = [(seed, noise) for noise in NOISE for seed in SEEDS]
        drawn = {seed: denram.initialise(spec, seed) for seed in SEEDS}
        networks = {seed: denram.DelayNetwork(drawn[seed].delays, spec, engine="fft") for seed in SEEDS}
        self.timing = timing_of([networks[seed] for seed, _ in runs])
        self.lags = jnp.stack([jnp.asarray(networks[seed].lines.lags) for seed, _ in runs])
        self.noise = np.array([noise for _, noise in runs], np.float32)
        weights = [drawn[seed].weights for seed, _ in runs]
        self.learners = [
            Learner(values, initial_state(values), drawn[seed].key)
            for values, (seed, _) in zip(weights, runs, strict=True)
        ]
        batch, random = sizes["batch"], np.random.default_rng(0)
        fit, held = (sizes["train"] + sizes["validation"]) * batch, sizes["test"] * batch
        self.data = [self._samples(count, spec, key) for key, count in enumerate((fit, held))]
        orders = [random.permutation(fit) for _ in runs]
        edge = sizes["train"] * batch
        self.passes = [
            Batches.of([np.split(order, len(order) // batch) for order in part])
            for part in (
                [order[:edge] for order in orders],
                [order[edge:] for order in orders],
                [np.arange(held) for _ in runs],
            )
        ]
        self.rates = np.full(len(runs), learning_rate(0), np.float32)
        self.epochs = np.zeros(len(runs), np.int32)

    @staticmethod
    def _samples(count: int, spec: denram.NetworkSpec, key: int) -> Resident:
        """Independent spikes, drawn where they stay."""
        spikes, labels = jax.random.split(jax.random.key(key))
        shape = (count, spec.steps_in, spec.n_in)
        drawn = jax.jit(lambda k: jax.random.bernoulli(k, DENSITY, shape).astype(jnp.uint8))(spikes)
        return Resident(drawn, jax.random.randint(labels, (count,), 0, spec.n_out, jnp.int32))

    def __call__(self) -> float:
        """Train, validate and test once; returns the mean training loss."""
        train, validation, test = self.passes
        fixed = (self.lags, self.noise)
        self.learners, trained = train_passes(
            self.learners, *fixed, self.rates, self.epochs, self.data[0], train, self.timing
        )
        weights = [learner.weights for learner in self.learners]
        keys = [learner.key for learner in self.learners]
        for data, batches in ((self.data[0], validation), (self.data[1], test)):
            evaluate_passes(weights, keys, *fixed, data, batches, self.timing, fresh=True)
        loss = float(np.mean(trained.results.loss))
        assert np.isfinite(loss)
        return loss


def slice_(device: str = "cuda", tiny: bool = False) -> dict[str, Any]:
    """Time one epoch of each network, after one that compiles.

    Args:
        device: "cuda", "cuda:K" or "cpu".
        tiny: The smallest sizes, to try the flow.

    Returns:
        ``what``, ``seconds`` of both epochs, ``slices`` of that size that make Fig. 4d, and the times apart.
    """
    found, compiling = {}, {}
    with computing_on("cuda:0" if device == "cuda" else device):
        where = str(jnp.zeros(()).devices().pop())
        for name in NETWORKS:
            epoch = Epoch(name, tiny)
            started = time.perf_counter()
            epoch()
            compiled = time.perf_counter()
            epoch()
            found[name], compiling[name] = time.perf_counter() - compiled, compiled - started
            del epoch
    runs = len(NOISE) * len(SEEDS)
    return {
        "package": "denram",
        "what": f"one epoch of {' and '.join(NETWORKS)}, {runs} runs each as one program, generated spikes",
        "seconds": sum(found.values()),
        "slices": EPOCHS,
        **{f"{name}_seconds": seconds for name, seconds in found.items()},
        **{f"{name}_first_seconds": seconds for name, seconds in compiling.items()},
        "device": where,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the slice as one line of JSON."""
    print_slice(slice_, __doc__ or "", arguments)


if __name__ == "__main__":
    main()
