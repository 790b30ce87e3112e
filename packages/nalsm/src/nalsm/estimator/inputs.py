"""From X to input events: vectors, time series and spike rasters.

A value x becomes the probability p of an event in a millisecond, with a divisor d determined by the training data:

    p = min(x' / d, 1) * highest,     x' = x / sum(x) (scale "sample") or x (scale "global").

`rate` draws events with probability p. `current` charges each input by p and sends an event whenever the charge reaches
1: the same rate, regular and not random. `spikes` uses X as numbers of events, unchanged.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from reprokit import UserError

from nalsm.checks import real
from nalsm.data.encoding import InputScale
from nalsm.data.encoding import input_scale as divisor_of
from nalsm.data.sources import Events, Rates

Encoding = Literal["auto", "rate", "current", "spikes"]
Scale = Literal["sample", "global"]
GOLDEN = (5**0.5 - 1) / 2
BITS = 32
FULL = 1 << BITS  # charge at which an event is sent


@dataclass(frozen=True)
class InputCode:
    """How X becomes events; determined by the training data.

    Attributes:
        encoding: rate, current or spikes.
        scale: sample or global.
        divisor: the value that counts as 1.
        highest: probability of an event in a millisecond at 1.
        dimensions: 2 for vectors, 3 for (sample, time, input).
    """

    encoding: Encoding
    scale: Scale
    divisor: float
    highest: float
    dimensions: int

    @classmethod
    def of(
        cls,
        X: np.ndarray,
        encoding: Encoding,
        scale: Scale,
        input_scale: InputScale,
        input_rate: float | None,
    ) -> InputCode:
        """Return the code for training data X, (sample, input) or (sample, time, input).

        Raises:
            UserError: for unknown words, a rate above one event per millisecond, or values that cannot be encoded.
        """
        if encoding not in ("auto", "rate", "current", "spikes"):
            raise UserError(f"encoding is {encoding!r}; choose auto, rate, current or spikes.")
        if scale not in ("sample", "global"):
            raise UserError(f"scale is {scale!r}; choose sample or global.")
        highest = 1.0
        if input_rate is not None:
            highest = real("input_rate", input_rate, above=0.0, most=1000.0, unit=" Hz") / 1000.0
        if encoding == "auto":
            binary = X.ndim == 3 and (X.dtype == bool or bool(((X == 0) | (X == 1)).all()))
            encoding = "spikes" if binary else "rate"
        if encoding == "spikes":
            return cls(encoding, scale, 1.0, 1.0, X.ndim)
        _check_sign(X)
        relative = _relative(X, scale)
        divisor = divisor_of(relative, input_scale)
        _hint(relative, divisor, scale)
        return cls(encoding, scale, divisor, highest, X.ndim)

    def probability(self, X: np.ndarray) -> np.ndarray:
        """Return p, float64 of the shape of X.

        Values are rounded to single precision, so that samples that are multiples of one another get equal
        values under scale "sample".

        Raises:
            UserError: if a value is negative.
        """
        _check_sign(X)
        p = np.minimum(_relative(X, self.scale) / self.divisor, 1.0) * self.highest
        return p.astype(np.float32).astype(np.float64)

    def source(
        self, X: np.ndarray, duration: int, seed: int, keys: np.ndarray | None = None
    ) -> Rates | Events:
        """Return the events of samples.

        Args:
            X: (sample, input), or (sample, time, input) whose steps are milliseconds.
            duration: milliseconds.
            seed: key of the random streams.
            keys: int64 (sample,), keys of the samples' random streams; None derives them from the samples, so
                that equal samples have equal events in any position.
        """
        if self.encoding == "spikes":
            return _events(_whole(X), duration)
        p = self.probability(X)
        if self.encoding == "current":
            shown = np.broadcast_to(p[:, None], (len(p), duration, p.shape[1])) if X.ndim == 2 else p
            return _events(np.stack([regular(one)[0] for one in shown]), duration)
        keys = _keys(p) if keys is None else keys
        if X.ndim == 2:
            return Rates(p, keys, seed)
        drawn = [
            np.random.default_rng((seed, int(k))).random(one.shape) < one
            for one, k in zip(p, keys, strict=True)
        ]
        return _events(np.stack(drawn), duration)


def regular(p: np.ndarray, charge: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return regular events of rate p, bool (time, input), and the charge at the end, int64 (input,).

    Each input is charged by p per millisecond and sends an event when its charge reaches 1, which then drops by 1.

    Args:
        p: (time, input), in [0, 1].
        charge: int64 (input,) at the start, in units of 2^-32; None spreads the inputs evenly, by multiples of the
            golden ratio.
    """
    spread = np.round(np.arange(p.shape[1]) * GOLDEN % 1.0 * FULL).astype(np.int64)
    before = spread if charge is None else charge
    total = (
        np.cumsum(np.round(p * FULL).astype(np.int64), axis=0) + before
    )  # whole numbers, so that parts add up exactly
    events = np.diff(total >> BITS, axis=0, prepend=0) > 0
    return events, total[-1] & (FULL - 1) if len(p) else before


def blank(X: np.ndarray) -> np.ndarray:
    """Return which samples contain only zeros, int (sample,)."""
    return np.flatnonzero(~X.reshape(len(X), -1).any(axis=1))


def _relative(X: np.ndarray, scale: Scale) -> np.ndarray:
    """Return x', float64; a blank sample gives zeros."""
    X = X.astype(np.float64)
    if scale == "global":
        return X
    total = X.reshape(len(X), -1).sum(axis=1) / (X.shape[1] if X.ndim == 3 else 1)
    return X / np.where(total > 0, total, 1.0).reshape(-1, *[1] * (X.ndim - 1))


def _hint(relative: np.ndarray, divisor: float, scale: Scale) -> None:
    """Warn if a typical sample uses less than a third of the range of rates."""
    largest = relative.reshape(len(relative), -1).max(axis=1)
    largest = largest[largest > 0]
    ratio = divisor / float(np.median(largest)) if largest.size else 1.0
    if ratio > 3.0:
        warnings.warn(
            f"the input scale is {ratio:.1f} times the largest value of a typical sample (scale={scale!r}), so "
            "most samples reach only a small part of the highest rate; remove odd samples, or choose another "
            "input_scale.",
            UserWarning,
            stacklevel=5,
        )


def _keys(p: np.ndarray) -> np.ndarray:
    digests = (hashlib.sha256(np.ascontiguousarray(one).tobytes()).digest() for one in p.astype(np.float32))
    return np.array([int.from_bytes(digest[:7], "big") for digest in digests], np.int64)


def _events(raster: np.ndarray, duration: int) -> Events:
    """Return events of (sample, time, input) counts, silent from the end of X to `duration`."""
    samples, steps, inputs = raster.shape
    first = np.zeros((samples, duration + 1), np.int64)
    per_step = raster.sum(axis=2, dtype=np.int64)
    first[:, 1 : steps + 1] = np.cumsum(per_step, axis=1)
    first[:, steps + 1 :] = first[:, steps, None]
    first += np.concatenate([[0], np.cumsum(first[:-1, -1])])[:, None]
    _, _, channel = np.nonzero(raster)
    if raster.dtype != bool:
        channel = np.repeat(channel, raster[raster > 0].astype(np.int64))
    return Events(first, channel.astype(np.int32), inputs)


def _whole(X: np.ndarray) -> np.ndarray:
    """Return X as numbers of events.

    Raises:
        UserError: if X is not an array (sample, time, input) of whole numbers.
    """
    if X.ndim != 3:
        raise UserError(f"encoding is 'spikes' and X has {X.ndim} dimensions; give (sample, time, input).")
    if X.dtype == bool:
        return X
    _check_sign(X)
    if X.dtype.kind == "f" and (bad := np.flatnonzero((np.floor(X) != X).any(axis=(1, 2)))).size:
        raise UserError(
            f"sample {bad[0]} of X has values that are not whole numbers of spikes; set encoding='rate' for rates."
        )
    return X.astype(np.int64)


def _check_sign(X: np.ndarray) -> None:
    bad = np.flatnonzero((X.reshape(len(X), -1) < 0).any(axis=1))
    if len(bad):
        raise UserError(
            f"Negative values in data passed to a liquid: sample {bad[0]} reaches down to {X[bad[0]].min():g}; firing "
            "rates are 0 or more; scale the features by MinMaxScaler(clip=True), in a pipeline."
        )


def as_array(X: Any) -> np.ndarray | None:
    """Return X if it is three-dimensional, otherwise None, for scikit-learn's own checks.

    Raises:
        UserError: if X has more than three dimensions.
    """
    dimensions = getattr(X, "ndim", None)
    if dimensions is None and isinstance(X, list | tuple):
        try:
            dimensions = np.ndim(X)
        except ValueError as error:
            raise UserError(
                "X has samples of different lengths; give all the same number of steps and inputs, for "
                "example by zeros at the end."
            ) from error
    if dimensions is None or dimensions < 3:
        return None
    if dimensions > 3:
        raise UserError(f"X has {dimensions} dimensions; give (sample, input) or (sample, time, input).")
    return np.asarray(X)
