"""The branching ratio of a liquid from lagged regression, and a surrogate recording without ancestors.

In a branching process each spike of one step causes m spikes of the next on average, and h come from outside, so
E[A(t + 1) | A(t)] = m A(t) + h. The slope of the linear regression of A(t + k) on A(t) is then

    r(k) = b m^k,

where b depends on the share of observed neurons and m does not: a fit over many k gives m from a part of the
network (Wilting & Priesemann 2018, Nature Communications 9, 2325, equations 2 and 4 to 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from reprokit import UserError
from scipy.optimize import least_squares

from nalsm.checks import whole

Mean = Literal["trial", "all", "course"]
NOISE = 4.0  # standard errors by which a slope must differ from zero to count


@dataclass
class Multistep:
    """Result of `branching_ratio`.

    Attributes:
        ratio: m, the spikes that one spike causes in the next step; NaN if no slope exceeds the noise, as for
            neurons without coupling.
        amplitude: b; 1 if all neurons of a branching process are observed, otherwise less.
        slopes: float64 (lag,), r(k) for k = 1, 2, ...
    """

    ratio: float
    amplitude: float
    slopes: np.ndarray


def branching_ratio(activity: np.ndarray, *, lags: int | None = None, mean: Mean = "trial") -> Multistep:
    """Return the branching ratio m of recorded activity, which may cover any part of the network.

    Args:
        activity: spikes of all observed neurons in each step: (trial, step), or (step,) for one long recording.
        lags: largest k; None: a tenth of a trial, 5 to 100.
        mean: reference from which activity is measured: the mean of each `trial`, needed for stimuli of
            different strength, which makes m too small if a trial is shorter than some 50 correlation times;
            the mean of `all`, for trials of one stationary process; or the `course`, the mean of each trial and
            that of each moment over the trials, for trials with a common rise or fall, which would look like endless
            memory.

    Raises:
        UserError: if activity is not numeric, negative or constant, or a trial is shorter than twice the lags.
    """
    activity = np.atleast_2d(np.asarray(activity, np.float64))
    if activity.ndim != 2 or not np.isfinite(activity).all() or activity.min(initial=0.0) < 0:
        raise UserError("activity must be finite numbers of 0 or more, (trial, step) or (step,).")
    trials, steps = activity.shape
    largest = min(max(steps // 10, 5), 100) if lags is None else whole("lags", lags, 2)
    if steps < 2 * largest:
        raise UserError(f"lags is {largest} and a trial has {steps} steps; give twice as many steps as lags.")
    if mean not in ("trial", "all", "course"):
        raise UserError(f"mean is {mean!r}; choose trial, all or course.")
    if mean == "course":
        if trials < 3:
            raise UserError(
                f"mean is 'course' and there are {trials} trials; give at least three, or choose trial."
            )
        activity = activity - activity.mean(axis=0)
        mean = "trial"
    if np.ptp(activity, axis=1).max() <= 1e-9 * np.abs(activity).max():
        raise UserError("activity does not vary, so its branching ratio is undefined.")
    k = np.arange(1, largest + 1)
    slopes = np.array([_slope(activity[:, :-lag], activity[:, lag:], mean) for lag in k])
    if np.abs(slopes).max() < NOISE / np.sqrt(trials * steps):
        return Multistep(float("nan"), 0.0, slopes)
    fits = [
        least_squares(
            lambda p: p[0] * p[1] ** k - slopes, (slopes[0] / m, m), bounds=([-np.inf, 0.0], [np.inf, 1.2])
        )
        for m in (0.2, 0.6, 0.9, 0.99)
    ]
    amplitude, ratio = min(fits, key=lambda fit: fit.cost).x
    return Multistep(float(ratio), float(amplitude), slopes)


def _slope(now: np.ndarray, later: np.ndarray, mean: Mean) -> float:
    """Return the slope of the regression of `later` on `now`, both (trial, step)."""
    axis = 1 if mean == "trial" else None
    x = now - now.mean(axis=axis, keepdims=True)
    y = later - later.mean(axis=axis, keepdims=True)
    return float((x * y).sum() / max((x * x).sum(), np.finfo(float).tiny))


def shuffled(raster: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return a recording in which each neuron's spikes are moved to random times.

    Every neuron keeps its number of spikes in a sample, but causation is lost: a measure of this
    recording reflects only rates and wiring.

    Args:
        raster: 0/1 (sample, millisecond, neuron).
        seed: seed of the draws.

    Raises:
        UserError: if raster has other axes.
    """
    raster = np.asarray(raster)
    if raster.ndim != 3:
        raise UserError(f"raster has shape {raster.shape}; give (sample, millisecond, neuron).")
    return np.random.default_rng(seed).permuted(raster, axis=1)
