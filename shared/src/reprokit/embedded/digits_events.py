"""The 8x8 digits moved through three saccades in front of a simulated event sensor.

The 8x8 digit is magnified threefold by bilinear interpolation on a dark 34 x 34 sensor and moves along a
triangle, one side per saccade of 100 ms, as in the recording of N-MNIST. A pixel emits an event whenever the
logarithm L of its brightness has changed by one threshold since it last fired:

    L(t) = log(I(y - b(t), x - a(t)) + leak),   |L - L_ref| >= threshold  ->  p = sign(L - L_ref),
    L_ref <- L_ref + p threshold.

Everything is integer arithmetic (positions in 1/16 pixel, grey levels in 1/8, logarithms from a rounded
table), so every machine generates the same events. L is sampled every 5 ms; the n thresholds passed between two
samples are spread evenly, with a different delay for each pixel. The initial L_ref within a threshold also
differs from pixel to pixel.

Source: N-MNIST's recording, Orchard et al. 2015; the pixel of Lichtsteiner, Posch and Delbruck 2008.
"""

from functools import lru_cache

import numpy as np

from reprokit.embedded.digits import load_digits
from reprokit.types import EventSet, EventSplits, ImageSet

SENSOR = (34, 34)
SACCADE_US = 100_000
STEP_US = 5_000
MAX_DELAY_US = 500
MAGNIFY = 3
SUBPIXEL_BITS = 4  # positions in 1/16 pixel
GREY_BITS = 3  # grey levels in 1/8
TRAVEL = 5 << SUBPIXEL_BITS  # extent of the triangle
THRESHOLD_BITS = 9
THRESHOLD = 0.4  # in the natural logarithm; 2^THRESHOLD_BITS in the table
LEAK = 32  # grey levels


@lru_cache(maxsize=1)
def digits_events() -> EventSplits:
    """Generate events for the 1,437 training and 360 test digits, the same on every call and machine.

    Returns:
        The splits, named ``digits-events``: a 34 x 34 sensor, recordings of 300 ms, about 3,000 events each.
    """
    digits = load_digits()
    return EventSplits(
        _record(digits.train), _record(digits.test), SENSOR, "digits-events", digits.class_names
    )


def _record(digits: ImageSet) -> EventSet:
    """Show every digit to the sensor."""
    one = 1 << THRESHOLD_BITS  # threshold
    grey = np.arange(256 << GREY_BITS) / (1 << GREY_BITS)
    table = np.rint(one / THRESHOLD * np.log(grey + LEAK)).astype(np.int16)
    scene = _scene(digits.images[:, 0].astype(np.int32))
    path = _path()
    phase = (np.arange(SENSOR[0] * SENSOR[1]) * 197 % one - one // 2).astype(np.int16)
    reference = (_seen(scene, table, path[0]).reshape(len(scene), -1) + phase).reshape(-1)
    steps, places, counts = [], [], []
    for step, position in enumerate(path[1:]):
        difference = _seen(scene, table, position).reshape(-1) - reference
        place = np.flatnonzero(np.abs(difference) >> THRESHOLD_BITS)
        moved = difference[place]
        count = np.sign(moved) * (np.abs(moved) >> THRESHOLD_BITS)
        reference[place] += count << THRESHOLD_BITS
        steps.append(np.full(len(place), step))
        places.append(place)
        counts.append(count.astype(np.int64))
    return _events(digits.labels, np.concatenate(steps), np.concatenate(places), np.concatenate(counts))


def _scene(images: np.ndarray) -> np.ndarray:
    """Magnify images by bilinear interpolation, with a dark margin wide enough for the whole movement.

    Args:
        images: int32 (sample, 8, 8), 0 to 255.

    Returns:
        int16 (sample, height, width), grey levels in 1 / 2^GREY_BITS.
    """
    double = 2 * MAGNIFY
    magnified = np.pad(images << GREY_BITS, ((0, 0), (1, 1), (1, 1)))
    for axis in (1, 2):
        centre = 2 * np.arange(8 * MAGNIFY) + 1 + MAGNIFY  # in 1 / double of an original pixel
        base, fraction = centre // double, (centre % double).reshape((-1, 1) if axis == 1 else (1, -1))
        low, high = np.take(magnified, base, axis), np.take(magnified, base + 1, axis)
        magnified = (low * (double - fraction) + high * fraction) // double
    margin = (SENSOR[0] - 8 * MAGNIFY) // 2 + (TRAVEL >> SUBPIXEL_BITS)
    return np.pad(magnified, ((0, 0), (margin, margin), (margin, margin))).astype(np.int16)


def _path() -> np.ndarray:
    """Return the digit's (row, column) in sub-pixels every STEP_US: a closed triangle."""
    per_side = SACCADE_US // STEP_US
    corners = np.array([[0, 0], [TRAVEL, TRAVEL // 2], [0, TRAVEL], [0, 0]]) - TRAVEL // 2
    step = np.arange(3 * per_side + 1)
    side = np.minimum(step // per_side, 2)
    along = (step - side * per_side)[:, None]
    return corners[side] + (corners[side + 1] - corners[side]) * along // per_side


def _seen(scene: np.ndarray, table: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Return the logarithmic brightness of every pixel, int16 (sample, row, column), for the scene at `position`."""
    one = 1 << SUBPIXEL_BITS
    whole, part = position >> SUBPIXEL_BITS, (position & (one - 1)).astype(np.int16)
    top, left = ((np.array(scene.shape[1:]) - SENSOR) // 2 - whole).tolist()
    rows = scene[:, top - 1 : top + SENSOR[0], left - 1 : left + SENSOR[1]]
    rows = (rows[:, 1:] * (one - part[0]) + rows[:, :-1] * part[0]) >> SUBPIXEL_BITS
    grey = (rows[:, :, 1:] * (one - part[1]) + rows[:, :, :-1] * part[1]) >> SUBPIXEL_BITS
    return table[grey]


def _events(labels: np.ndarray, step: np.ndarray, place: np.ndarray, count: np.ndarray) -> EventSet:
    """Spread signed threshold counts over their steps, ascending in time within each sample.

    Args:
        labels: int64 (sample,).
        step: Step of each count.
        place: Index into (sample, row, column) of each count.
        count: Thresholds passed, negative for darker.
    """
    number = np.abs(count)
    rank = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number) + 1
    step, place, number, sign = (
        np.repeat(column, number) for column in (step, place, number, np.sign(count))
    )
    sample, pixel = np.divmod(place, SENSOR[0] * SENSOR[1])
    row, column = np.divmod(pixel, SENSOR[1])
    time = (
        step * STEP_US
        + rank * (STEP_US - MAX_DELAY_US) // (number + 1)
        + (31 * row + 17 * column) % MAX_DELAY_US
    )
    order = np.argsort((sample * (3 * SACCADE_US) + time) * SENSOR[0] * SENSOR[1] + pixel, kind="stable")
    return EventSet(
        time[order],
        column[order].astype(np.int16),
        row[order].astype(np.int16),
        (sign[order] > 0).astype(np.int8),
        np.concatenate(([0], np.cumsum(np.bincount(sample, minlength=len(labels))))),
        labels,
    )
