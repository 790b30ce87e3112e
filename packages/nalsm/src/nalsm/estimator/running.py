"""A liquid that runs along a time series and keeps its state: tuned channels in, low-passed spikes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from nalsm.checks import real, whole
from nalsm.engines.stream import Stream
from nalsm.estimator.inputs import regular

BLOCK = 2000  # milliseconds simulated between two conversions; results do not depend on this


@dataclass(frozen=True)
class TunedChannels:
    """Channels that respond to values near their centres, which are spread evenly over the training data.

        p_k = highest * exp(-((u - c_k) / width)^2 / 2),    u = (x - low) / (high - low), clipped to [0, 1]

    Attributes:
        low, high: float64 (feature,), the range of the training data: its 0.1 % and 99.9 % quantiles, which a
            single odd value does not move.
        channels: K of each feature; c_k = k / (K - 1).
        width: in units of the distance between centres.
        highest: probability of an event in a millisecond at a centre.
    """

    low: np.ndarray
    high: np.ndarray
    channels: int
    width: float
    highest: float

    @classmethod
    def of(cls, X: np.ndarray, channels: int, width: float, rate: float) -> TunedChannels:
        """Return the channels for training rows X (row, feature); `rate` is in Hz.

        Raises:
            UserError: if a number is out of range.
        """
        channels, width = whole("channels", channels, 2), real("channel_width", width, above=0.0)
        highest = real("input_rate", rate, above=0.0, most=1000.0, unit=" Hz") / 1000.0
        low, high = np.quantile(X, [0.001, 0.999], axis=0)
        return cls(low, high, channels, width, highest)

    def probability(self, X: np.ndarray) -> np.ndarray:
        """Return p, float64 (row, feature * channels), of rows (row, feature)."""
        span = np.where(self.high > self.low, self.high - self.low, 1.0)
        u = np.clip((X - self.low) / span, 0.0, 1.0) * (self.channels - 1)
        distance = (u[:, :, None] - np.arange(self.channels)) / self.width
        return (self.highest * np.exp(-0.5 * distance**2)).reshape(len(X), -1)


class RunningLiquid:
    """A liquid in the middle of a time series; `run(a)` and `run(b)` give the states of one run of both.

    Each row of X lasts `step` milliseconds. The state after a row is, for each time constant tau, the spikes of
    the liquid low-passed by s <- s e^(-1 / tau) + S (1 - e^(-1 / tau)), once per millisecond, starting from 0.

    Args:
        stream: the liquid at rest.
        code: turns a row into regular events.
        step: milliseconds per row.
        filters: time constants, ms.
        inputs: whether the input neurons are part of the state.
        liquid: number of liquid neurons.
    """

    def __init__(
        self,
        stream: Stream,
        code: TunedChannels,
        step: int,
        filters: tuple[float, ...],
        inputs: bool,
        liquid: int,
    ) -> None:
        self.stream, self.code, self.step, self.liquid = stream, code, step, liquid
        self.decay = [float(np.exp(-1.0 / tau)) for tau in filters]
        self.inputs = inputs
        self.rest()

    def rest(self) -> None:
        """Return to the start."""
        self.stream.reset()
        self.spikes = 0
        self._charge: np.ndarray | None = None
        self._filtered: list[np.ndarray] | None = None

    def run(self, X: np.ndarray) -> np.ndarray:
        """Return the state after each row of X (row, feature), float64 (row, filter * neuron)."""
        rows = max(BLOCK // self.step, 1)
        parts = [self._states(X[begin : begin + rows]) for begin in range(0, len(X), rows)]
        return np.concatenate(parts)

    def _states(self, X: np.ndarray) -> np.ndarray:
        p = np.repeat(self.code.probability(X), self.step, axis=0)
        events, self._charge = regular(p, self._charge)
        raster = self.stream.run(events, record=True).raster
        assert raster is not None
        self.spikes += int(raster[:, : self.liquid].sum())
        observed = (raster if self.inputs else raster[:, : self.liquid]).astype(np.float64)
        before = self._filtered or [np.zeros((1, observed.shape[1])) for _ in self.decay]
        states, after = [], []
        for decay, kept in zip(self.decay, before, strict=True):
            state, last = lfilter([1.0 - decay], [1.0, -decay], observed, axis=0, zi=kept)
            states.append(np.asarray(state)[self.step - 1 :: self.step])
            after.append(np.asarray(last))
        self._filtered = after
        return np.concatenate(states, axis=1)
