"""From images and event recordings to input events, as the original program encodes them."""

from __future__ import annotations

import numpy as np
from reprokit import UserError

from nalsm.data.sources import Events


def image_shares(images: np.ndarray) -> np.ndarray:
    """Return each image as shares of its total brightness, p = image / sum(image).

    Args:
        images: numeric (sample, ...), 0 or more.

    Returns:
        float64 (sample, pixel).

    Raises:
        UserError: where an image is negative or constant zero, naming it.
    """
    flat = np.asarray(images).reshape(len(images), -1).astype(np.float64)
    if flat.size and flat.min() < 0:
        raise UserError(
            f"image {int(np.argmin(flat.min(axis=1)))} holds negative values; shift it to 0 and above."
        )
    total = flat.sum(axis=1, keepdims=True)
    empty = np.nonzero(total[:, 0] <= 0)[0]
    if len(empty):
        raise UserError(f"image {empty[0]} is constant zero ({len(empty)} such images); remove it.")
    return flat / total


def rate_probabilities(images: np.ndarray, maximum: float | None = None) -> tuple[np.ndarray, float]:
    """Return event probabilities per millisecond, p = share / max over the set.

    Args:
        images: numeric (sample, ...).
        maximum: divisor; None takes the maximum share of these images. The original takes it over the
            training set for training images and over the test set for test images (DEV-4); the `fixed`
            profile always uses the training maximum, and probabilities above 1 are set to 1.

    Returns:
        float64 (sample, pixel) in [0, 1], and the divisor used.
    """
    shares = image_shares(images)
    divisor = float(shares.max()) if maximum is None else float(maximum)
    return np.minimum(shares / divisor, 1.0), divisor


def noisy_images(images: np.ndarray, deviation: float, seed: int) -> np.ndarray:
    """Add N(0, deviation) to every pixel and clip to [0, 255] (kernel quality; deviation 125)."""
    noise = np.random.default_rng(seed).normal(0.0, deviation, images.shape)
    return np.clip(images.astype(np.float64) + noise, 0.0, 255.0)


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
        x: int (event), column; events outside the sensor are dropped, as the original does.
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
        UserError: where polarities or times are out of range.
    """
    if len(p) and not (p.min() >= 0 and p.max() <= 1):
        raise UserError(f"polarity reaches from {p.min()} to {p.max()}; allowed is 0 or 1.")
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
) -> Events:
    """Bin many recordings (concatenated arrays, `offsets` (sample + 1)) into one `Events` source.

    `jitter` adds N(0, jitter) ms, one draw per event or, as in the original, one per recording (DEV-5); its random
    numbers depend on (seed, key), `keys` being the recordings' numbers in their data set, or 0, 1, ...

    Raises:
        UserError: where times are not sorted, events lie outside the sensor or values are out of range, naming the
            recording.
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
                f"recording {numbers[k]}: an event at x {x[k_bad]}, y {y[k_bad]} lies outside the sensor of {width} x "
                f"{height} pixels; remove it or give the right sensor."
            )
        shift = None
        if jitter > 0:
            stream = np.random.default_rng((seed, int(numbers[k])))
            shift = stream.normal(0.0, jitter, 1 if jitter_per_sample else part.stop - part.start)
            shift = float(shift[0]) if jitter_per_sample else shift
        lists.append(
            event_list(t[part], x[part], y[part], p[part], duration, width=width, height=height, shift=shift)
        )
    return Events.from_lists(lists, 2 * height * width, duration)
