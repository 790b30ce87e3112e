"""From images and event recordings to input events, as the original program encodes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from reprokit import UserError

from nalsm.checks import numbers, whole
from nalsm.data.sources import Events

InputScale = Literal["max", "quantile"]
QUANTILE = 0.999
_BLOCK = 4096  # images converted to shares at a time


def image_shares(images: np.ndarray, *, blank: bool = False) -> np.ndarray:
    """Return each image as shares of its total brightness, p = image / sum(image).

    Args:
        images: numeric (sample, ...), 0 or more.
        blank: accept images of constant zero, whose shares are 0.

    Returns:
        float64 (sample, pixel).

    Raises:
        UserError: if an image is negative, not finite or, unless `blank`, constant zero; the message names it.
    """
    flat = np.asarray(images).reshape(len(images), -1).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(flat).all(axis=1))
    if len(bad):
        raise UserError(
            f"image {bad[0]} holds values that are not finite; remove it ({len(bad)} such images)."
        )
    if flat.size and flat.min() < 0:
        raise UserError(
            f"image {int(np.argmin(flat.min(axis=1)))} holds negative values; shift it to 0 and above."
        )
    total = flat.sum(axis=1, keepdims=True)
    empty = np.nonzero(total[:, 0] <= 0)[0]
    if len(empty) and not blank:
        raise UserError(f"image {empty[0]} is constant zero ({len(empty)} such images); remove it.")
    return flat / np.where(total > 0, total, 1.0)


def input_scale(values: np.ndarray, kind: InputScale = "quantile") -> float:
    """Return the divisor that brings values to [0, 1]: their maximum, or the 99.9 % quantile of those above 0.

    A single unusual sample would set the maximum and so silence the liquid for all others; it does not move the
    quantile. Values above it are clipped (DEV-11).

    Args:
        values: floating-point, of training samples only, 0 or more.
        kind: quantile or max.

    Returns:
        The divisor; 1 if no value is above 0.

    Raises:
        UserError: for any other kind.
    """
    if kind not in ("quantile", "max"):
        raise UserError(f"input scale is {kind!r}; choose quantile or max.")
    positive = values[values > 0]
    if not positive.size:
        return 1.0
    return float(positive.max() if kind == "max" else np.quantile(positive, QUANTILE))


def image_scale(images: np.ndarray, kind: InputScale) -> float:
    """Return `input_scale` of the shares of images, which are never all in memory at once."""
    if kind == "max":
        return max(float(part.max(initial=0.0)) for part in _blocks(images)) or 1.0
    positive = int(np.count_nonzero(images))
    if not positive:
        return 1.0
    place = QUANTILE * (positive - 1)  # position of the quantile among the sorted values, between two of them
    above = positive - int(place)
    top = np.zeros(0)
    for part in _blocks(images):
        top = np.concatenate([top, part[part > 0]])
        top = np.partition(top, len(top) - above)[-above:] if len(top) > above else top
    top.sort()
    return float(top[0] + (place - int(place)) * (top[min(1, len(top) - 1)] - top[0]))


def _blocks(images: np.ndarray) -> Iterator[np.ndarray]:
    for begin in range(0, len(images), _BLOCK):
        yield image_shares(images[begin : begin + _BLOCK], blank=True)


def rate_probabilities(
    images: np.ndarray, maximum: float | None = None, *, blank: bool = False
) -> tuple[np.ndarray, float]:
    """Return event probabilities per millisecond, p = share / max over the set.

    Args:
        images: numeric (sample, ...).
        maximum: divisor; None takes the maximum share of these images. The original uses the maximum of the
            training set for training images and over the test set for test images (DEV-4); the `fixed`
            profile always uses the training maximum, and probabilities above 1 are set to 1.
        blank: accept images of constant zero, which send no events.

    Returns:
        float64 (sample, pixel) in [0, 1], and the divisor used.

    Raises:
        UserError: see `image_shares`; also if the divisor is not a number above 0.
    """
    shares = image_shares(images, blank=blank)
    divisor = float(shares.max()) if maximum is None else float(maximum)
    if not (np.isfinite(divisor) and divisor > 0):
        raise UserError(f"maximum is {divisor}; it must be a number above 0.")
    return np.minimum(shares / divisor, 1.0), divisor


def noisy_images(images: np.ndarray, deviation: float, seed: int, top: float = 255.0) -> np.ndarray:
    """Add N(0, deviation) to every pixel and clip to [0, top] (kernel quality; deviation 125 of 255)."""
    noise = np.random.default_rng(seed).normal(0.0, deviation, images.shape)
    return np.clip(images.astype(np.float64) + noise, 0.0, top)


def event_list(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    duration: int,
    *,
    width: int = 34,
    height: int = 34,
    shift: np.ndarray | float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Bin one recording to milliseconds and channels p * height * width + y * width + x.

    Args:
        t: int (event), microseconds, in any order.
        x: int (event), column; events outside the sensor are dropped, as in the original.
        y: int (event), row.
        p: int (event), polarity 0 or 1.
        duration: milliseconds kept; events at or after it are dropped.
        width: columns of the sensor.
        height: rows of the sensor.
        shift: added to the times in ms before binning to [0, duration), reflected at both ends: one number
            per recording (the original, DEV-5) or one per event.

    Returns:
        Milliseconds (round half to even of t / 1000) and channels, int64, without duplicates.

    Raises:
        UserError: if polarities or times are out of range or not finite, or arrays differ in length.
    """
    duration = whole("duration", duration, 1, unit=" ms")
    t, x, y, p = (numbers(f"event {name}", v, 1) for name, v in (("times", t), ("x", x), ("y", y), ("p", p)))
    if not len(t) == len(x) == len(y) == len(p):
        raise UserError(
            f"t, x, y and p have {len(t)}, {len(x)}, {len(y)} and {len(p)} values; give one of each per event."
        )
    if not np.isfinite(t).all():
        raise UserError("event times are not finite; give microseconds.")
    if len(p) and not (p.min() >= 0 and p.max() <= 1):
        raise UserError(f"polarities range from {p.min()} to {p.max()}; allowed is 0 or 1.")
    if len(t) and t.min() < 0:
        raise UserError(f"the earliest event time is {t.min()} us; times must be 0 or more.")
    time = np.round(t.astype(np.float64) / 1000.0).astype(np.int64)
    keep = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (time < duration)
    time, channel = time[keep], (p[keep].astype(np.int64) * height + y[keep]) * width + x[keep]
    if shift is not None:
        offset = np.asarray(shift)[keep] if np.ndim(shift) else shift
        time = reflect(np.round(time + offset).astype(np.int64), duration)
    both = np.unique(time * (2 * height * width) + channel)
    return both // (2 * height * width), both % (2 * height * width)


def reflect(time: np.ndarray, duration: int) -> np.ndarray:
    """Fold times into [0, duration) by reflection at 0 and duration - 1."""
    period = max(2 * (duration - 1), 1)
    folded = np.mod(time, period)
    return np.where(folded > duration - 1, period - folded, folded)


def recordings_to_events(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    offsets: np.ndarray,
    duration: int,
    *,
    sensor: tuple[int, int] = (34, 34),
    jitter: float = 0.0,
    jitter_per_sample: bool = False,
    seed: int = 0,
    keys: np.ndarray | None = None,
    start: np.ndarray | None = None,
    polarities: int = 2,
) -> Events:
    """Bin many recordings (concatenated arrays, `offsets` (sample + 1)) into one `Events` source.

    `jitter` adds N(0, jitter) ms, one draw per event or, as in the original, one per recording (DEV-5); its
    random numbers depend on (seed, key), where `keys` are the recordings' numbers in their data set, by default 0, 1,
    ... `start` (sample,) is the millisecond from which `duration` counts, 0 by default. With one of the `polarities`
    the channel is y * width + x.

    Raises:
        UserError: if times are not sorted, events are outside the sensor or values are out of range; the
            message names the recording.
    """
    height, width = sensor
    outside = (x < 0) | (x >= width) | (y < 0) | (y >= height)
    numbers = np.arange(len(offsets) - 1) if keys is None else keys
    lists = []
    for k in range(len(offsets) - 1):
        part = slice(int(offsets[k]), int(offsets[k + 1]))
        if (np.diff(t[part].astype(np.int64)) < 0).any():
            raise UserError(
                f"recording {numbers[k]}: event times are not sorted; sort each recording by time."
            )
        if outside[part].any():
            k_bad = int(part.start + np.argmax(outside[part]))
            raise UserError(
                f"recording {numbers[k]}: an event at x {x[k_bad]}, y {y[k_bad]} is outside the sensor of {width} x "
                f"{height} pixels; remove it or give the right sensor."
            )
        shift = None
        if jitter > 0:
            stream = np.random.default_rng((seed, int(numbers[k])))
            shift = stream.normal(0.0, jitter, 1 if jitter_per_sample else part.stop - part.start)
            shift = float(shift[0]) if jitter_per_sample else shift
        first = 0 if start is None else int(start[k])
        sign = p[part] if polarities == 2 else np.zeros_like(p[part])
        time, channel = event_list(
            t[part], x[part], y[part], sign, first + duration, width=width, height=height, shift=shift
        )
        lists.append((time[time >= first] - first, channel[time >= first]))
    return Events.from_lists(lists, polarities * height * width, duration)
