"""A trained network that classifies recordings: `denram.load` and ``denram predict``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import Prediction, Recordings, UserError
from reprokit.readers.shd import UNITS_PER_SECOND
from reprokit.run.prediction import one_array
from reprokit.types import CHANNELS

from denram.config import TrainConfig
from denram.data.binning import bin_recordings
from denram.data.events import EventBatch
from denram.data.loading import NAMED_SETS
from denram.engines.network import computing_on
from denram.rules.noise_aware import Scores
from denram.spec import Engine
from denram.training.runs import Run, Which, open_run

BATCH = 64
COLUMNS = ("times", "units", "offsets")  # arrays of recordings, see `reprokit.Recordings`


@dataclass(frozen=True)
class Predictor:
    """The network of a run, ready to classify.

    Attributes:
        run: The stored run.
        network: Its delays, prepared for an engine.
        device: Device on which JAX computes.
    """

    run: Run
    network: Scores
    device: str

    def predict(self, arrays: Any) -> Prediction:
        """Classify recordings with the trained weights, without noise.

        Args:
            arrays: Spikes in one of two forms. Dense: (sample, step, channel), 0 or 1, with the steps and channels of
                the network; an array or nested lists. As recordings: a mapping, or a `reprokit.Recordings`, of
                ``times``, floating-point (spike,), ascending within a recording, in the time unit of the run;
                ``units``, whole numbers (spike,), channels before thinning; ``offsets``, int64 (sample + 1,), recording
                i owns ``offsets[i]:offsets[i + 1]``. They are binned as the run's data were.

        Returns:
            Scores, float32 (sample, class): largest potential of each output; and classes, int64 (sample,).

        Raises:
            UserError: Arrays of the wrong form, or spikes that do not fit the network.
        """
        events = self._events(arrays)
        if not len(events):
            raise UserError("there is no sample; give one or more.")
        with computing_on(self.device):
            scores = [
                self.network.scores(
                    self.run.weights, events.take(np.arange(first, min(first + BATCH, len(events))))
                )
                for first in range(0, len(events), BATCH)
            ]
        return Prediction.of(np.concatenate(scores))

    def _events(self, arrays: Any) -> EventBatch:
        binning = self.run.config.binning
        if isinstance(arrays, Mapping | Recordings):
            recordings = _recordings(arrays, self.run.config)
            return bin_recordings(recordings, self._channels, binning, name="the samples").events
        wanted = f"0 and 1, (sample, {binning.steps_in}, {binning.n_in}), that is (sample, step, channel)"
        dense = one_array(arrays, f"{wanted}, or recordings: {', '.join(COLUMNS)}")
        if dense.ndim != 3 or dense.shape[1:] != (binning.steps_in, binning.n_in):
            raise UserError(f"the samples are {dense.dtype} {dense.shape}; this network takes {wanted}.")
        return EventBatch.from_dense(dense)

    @cached_property
    def _channels(self) -> int:
        """Channels of the run's data before thinning; if own data determine them, the data are read."""
        config = self.run.config
        return CHANNELS if config.data in NAMED_SETS else config.channels or self.run.data().channels


def load(
    run: str | Path,
    which: Which = "best",
    *,
    engine: Engine = "auto",
    device: str = "auto",
    threads: int = 1,
) -> Predictor:
    """Load the network of a run to classify recordings; nothing is written.

    The run's data are read only if recordings are given and the run took the number of channels from its files.

        classes = denram.load("runs/mine").predict(spikes).classes

    Args:
        run: Run directory.
        which: Weights of the best epoch, or of the last one.
        engine: events (compiled), fft (JAX) or auto.
        device: auto (JAX's choice), cpu, or cuda:K, which the fft engine needs.
        threads: Threads of the event engine.

    Raises:
        UserError: Not a run of denram, a damaged file, or an engine or device that does not exist.
    """
    opened = open_run(run, which)
    with computing_on(device):
        network = opened.network(engine=engine, threads=threads)
    return Predictor(opened, network, device)


def _recordings(given: Mapping[str, Any] | Recordings, config: TrainConfig) -> Recordings:
    """Return checked recordings with times in seconds, on the clock of the run."""
    if isinstance(given, Recordings):
        return given
    lacking = [name for name in COLUMNS if name not in given]
    if lacking:
        raise UserError(
            f"the samples hold {', '.join(given) or 'nothing'}, but recordings need {', '.join(COLUMNS)}; add "
            f"{', '.join(lacking)}, or give one dense array called samples."
        )
    times, units, offsets = (np.asarray(given[name]) for name in COLUMNS)
    kinds = times.dtype.kind in "iuf" and units.dtype.kind in "iu" and offsets.dtype.kind in "iu"
    fits = kinds and times.ndim == units.ndim == offsets.ndim == 1 and len(times) == len(units)
    if not (fits and len(offsets) and offsets[0] == 0 and offsets[-1] == len(times)) or np.any(
        np.diff(offsets) < 0
    ):
        raise UserError(
            f"times {times.dtype} {times.shape}, units {units.dtype} {units.shape} and offsets {offsets.dtype} "
            f"{offsets.shape} do not fit; give (spike,), whole numbers (spike,), and whole numbers (sample + 1,) that "
            "rise from 0 to the number of spikes."
        )
    seconds, lengths = times.astype(np.float64), np.diff(offsets)
    if config.start == "first-event" and len(times):
        first = seconds[np.minimum(offsets[:-1], len(times) - 1)]
        seconds -= np.repeat(first, lengths)
    if config.time_unit != "s":
        seconds /= UNITS_PER_SECOND[config.time_unit]
    return Recordings(
        seconds.astype(np.float32), units, offsets.astype(np.int64), np.zeros(len(lengths), np.int64)
    )
