"""The two phases of a liquid: initialisation, then features (Ivanov & Michmizos 2021).

Plasticity stays on while features are produced (nalsm, lsm-stdp): every sample starts from its own copy of the
initialised weights, which is discarded after the sample. Nothing learnt in one sample reaches another.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from reprokit import UserError

from nalsm.config import Config
from nalsm.data.loading import Dataset
from nalsm.data.sources import Events, Rates
from nalsm.engines.reference import Presentation, join
from nalsm.engines.simulator import Simulator
from nalsm.model.network import LiquidNetwork
from nalsm.names import Engine, Split

LEAST_RATE = 1.0  # Hz


def derive_seed(seed: int, phase: str) -> int:
    """Return the 63-bit key of a phase's random streams."""
    words = np.random.SeedSequence([seed, *phase.encode()]).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])


@dataclass
class LiquidState:
    """The state of the initialisation phase, enough to continue it.

    Attributes:
        weights: float32 (synapse,).
        trace, calcium: float32 (neuron,).
        done: number of presentations so far.
    """

    weights: np.ndarray
    trace: np.ndarray
    calcium: np.ndarray
    done: int = 0


class Liquid:
    """A network, a configuration and an engine."""

    def __init__(
        self, network: LiquidNetwork, config: Config, *, engine: Engine = "auto", device: str = "cpu"
    ) -> None:
        self.network, self.config = network, config
        self.simulator = Simulator(network, config.neuron(), engine=engine, device=device)

    def start(self) -> LiquidState:
        """Return the state before the first presentation: sign * |w|."""
        zeros = np.zeros(self.network.neurons, np.float32)
        return LiquidState(self.network.start_weights(self.config.start_weight), zeros, zeros.copy())

    def presentations(self, samples: int) -> int:
        """Return how many presentations the initialisation phase has."""
        if self.config.plasticity("initialise").rule == "none":
            return 0
        wanted = self.config.initial_samples
        return samples if wanted is None else wanted

    def initialise(self, data: Dataset, state: LiquidState, count: int) -> LiquidState:
        """Present the next `count` training samples, in random order, each once per round.

        Weights, traces and calcium carry over between presentations; potentials and rates are reset.
        """
        samples = len(data.labels("train"))
        index = np.array([self._sample(samples, k) for k in range(state.done, state.done + count)])
        seed = derive_seed(self.config.seed, "initialise")
        places = np.arange(state.done, state.done + count)
        source = data.window(index, places, seed, self.config.initial_duration)
        run = self.simulator.present_in_sequence(
            source,
            state.weights,
            self.config.plasticity("initialise"),
            duration=self.config.initial_duration,
            trace=state.trace,
            calcium=state.calcium,
            carry_trace=True,  # resetting traces here gives liquids with another rate: on MNIST 41 Hz instead of 28 Hz
        )
        assert run.weights is not None
        if count and not run.counts.any():
            raise UserError(
                f"the liquid is silent in presentations {state.done + 1} to {state.done + count} of the "
                "initialisation, so nothing is learnt; raise weight, input_current or initial_duration."
            )
        return LiquidState(run.weights, run.trace, run.calcium, state.done + count)

    def _sample(self, samples: int, place: int) -> int:
        round_, within = divmod(place, samples)
        key = (samples, round_)
        if getattr(self, "_order_key", None) != key:
            stream = np.random.default_rng([self.config.seed, 1, round_])
            self._order, self._order_key = stream.permutation(samples), key
        return int(self._order[within])

    def features(
        self,
        data: Dataset,
        split: Split,
        index: np.ndarray,
        weights: np.ndarray,
        *,
        trace: np.ndarray | None = None,
        noise: float = 0.0,
        record: bool = False,
        threads: int = 1,
    ) -> Presentation:
        """Present samples and count spikes.

        Args:
            data: the data set.
            split: split of the data.
            index: int (sample,), the samples.
            weights: float32 (synapse,), initialised weights.
            trace: carried STDP traces, (sample, neuron), under `faithful` (DEV-3).
            noise: deviation of kernel-quality noise (125 for images, 10 ms for recordings).
            record: keep the raster.
            threads: number of samples at once; results do not depend on it.
        """
        source = data.source(split, np.asarray(index), derive_seed(self.config.seed, "features"), noise=noise)
        rule = self.config.plasticity("sample")
        options: dict[str, Any] = {
            "duration": self.config.duration, "record": record, "threads": threads, "batch": self.config.batch
        }  # fmt: skip
        if not (self.config.quirks.frozen_stdp and self.config.model == "lsm-stdp"):
            return self.simulator.present_independent(source, weights, rule, trace=trace, **options)
        frozen = replace(rule, rule="none")  # DEV-1: weights are frozen, so traces need not continue
        parts = []
        for begin in range(0, len(source), self.config.batch):
            for first, last, used in (
                (begin, begin + 1, rule),
                (begin + 1, begin + self.config.batch, frozen),
            ):
                part: Rates | Events = source[first:last]
                if len(part):
                    own = None if trace is None else trace[first:last]
                    parts.append(
                        self.simulator.present_independent(part, weights, used, trace=own, **options)
                    )
        return join(parts)


def check_activity(counts: np.ndarray, split: str, duration: int) -> None:
    """Refuse a silent liquid, and warn about a nearly silent one.

    Args:
        counts: (sample, liquid) spikes.
        split: split of the data.
        duration: milliseconds of a sample.

    Raises:
        UserError: if every count is 0.
    """
    if not np.any(counts):
        raise UserError(
            f"the liquid is silent on all {len(counts)} {split} samples; raise weight or input_current."
        )
    rate = float(counts.mean()) / duration * 1000.0
    if rate < LEAST_RATE:
        warnings.warn(
            f"the liquid fires at {rate:.2g} Hz on {split} samples, so its counts carry little information; "
            "raise weight or input_current, or look for outliers among the samples, which set the scale of the "
            "input (--input-scale).",
            UserWarning,
            stacklevel=2,
        )
