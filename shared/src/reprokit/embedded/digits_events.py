"""scikit-learn's digits moved through three saccades in front of a simulated event sensor.

The scene is the 8x8 digit magnified threefold by bilinear interpolation on a dark 34 x 34 sensor. It moves along
a triangle, one side per saccade of 100 ms, as N-MNIST was recorded. A pixel at (y, x) emits an event whenever its log
intensity has moved by one threshold from where it last fired:

    L(t) = table[I(y - b(t), x - a(t))],   event at t with p = sign(L - L_ref),  L_ref <- L_ref + sign * threshold.

All arithmetic is in integers (positions in 1/16 pixel, log intensities from a rounded table), so every machine
generates the same bytes. Time is that of the first simulation step, plus an order within it, at which the
threshold is passed.

Source: N-MNIST's recording, Orchard et al. 2015; the sensor model of Lichtsteiner, Posch and Delbruck 2008.
"""

from functools import lru_cache

import numpy as np

from reprokit.embedded.digits import load_digits
from reprokit.events import EventSet, EventSplits
from reprokit.images import ImageSet

SENSOR = (34, 34)
SACCADE_US = 100_000
STEPS_PER_SACCADE = 25
SUBPIXEL = 16
MAGNIFY = 3
TRAVEL = 5 * SUBPIXEL  # width of the triangle in sub-pixels
THRESHOLD = 400  # of the table, in thousandths of a natural logarithm
DARK = 32  # grey levels of leak added before the logarithm


@lru_cache(maxsize=1)
def digits_events() -> EventSplits:
    """Generate events for the 1,437 training and 360 test digits, the same on every call and machine.

    Returns:
        The splits, named ``digits-events``: a 34 x 34 sensor, recordings of 300 ms.

    Raises:
        UserError: scikit-learn is not installed.
    """
    digits = load_digits()
    return EventSplits(_record(digits.train), _record(digits.test), SENSOR, "digits-events", digits.class_names)


def _record(digits: ImageSet) -> EventSet:
    """Show every digit to the sensor."""
    table = np.rint(1000 * np.log(np.arange(256) + DARK)).astype(np.int32)
    scene = _scene(digits.images[:, 0].astype(np.int32))
    path = _path()
    reference = _fixation(scene, table, path[0])
    found = []
    for step, position in enumerate(path[1:]):
        difference = _fixation(scene, table, position) - reference
        count = np.abs(difference) // THRESHOLD
        moved = np.sign(difference) * count
        reference += moved * THRESHOLD
        sample, row, column = np.nonzero(count)
        found.append((np.full(len(sample), step), sample, row, column, moved[sample, row, column]))
    step, sample, row, column, moved = (np.concatenate(part) for part in zip(*found, strict=True))
    return _events(digits, step, sample, row, column, moved)


def _scene(images: np.ndarray) -> np.ndarray:
    """Magnify images by bilinear interpolation, in 1/36 grey levels, with a dark margin all round.

    Args:
        images: int32 (sample, 8, 8).

    Returns:
        int32 (sample, height, width), a margin wide enough for the whole movement.
    """
    margin = (SENSOR[0] - 8 * MAGNIFY) // 2 + TRAVEL // SUBPIXEL + 2
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    for axis in (1, 2):
        centre = 2 * np.arange(8 * MAGNIFY) + 1 + MAGNIFY  # in units of 1 / (2 * MAGNIFY) source pixels
        base, fraction = centre // (2 * MAGNIFY), centre % (2 * MAGNIFY)
        shape = (1, -1, 1) if axis == 1 else (1, 1, -1)
        weight = fraction.reshape(shape)
        low, high = np.take(padded, base, axis), np.take(padded, base + 1, axis)
        padded = low * (2 * MAGNIFY - weight) + high * weight
    return np.pad(padded, ((0, 0), (margin, margin), (margin, margin)))


def _path() -> np.ndarray:
    """Return the digit's position in sub-pixels at every step: a triangle, back to its start; (step, 2)."""
    corners = np.array([[0, 0], [TRAVEL, TRAVEL // 2], [0, TRAVEL], [0, 0]]) - TRAVEL // 2
    step = np.arange(3 * STEPS_PER_SACCADE + 1)
    side = np.minimum(step // STEPS_PER_SACCADE, 2)
    along = (step - side * STEPS_PER_SACCADE)[:, None]
    return corners[side] + (corners[side + 1] - corners[side]) * along // STEPS_PER_SACCADE


def _fixation(scene: np.ndarray, table: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Return the log intensity every pixel sees with the scene displaced by `position` sub-pixels."""
    whole, part = position // SUBPIXEL, position % SUBPIXEL
    top, left = (scene.shape[1] - SENSOR[0]) // 2 - whole[0], (scene.shape[2] - SENSOR[1]) // 2 - whole[1]
    rows = scene[:, top - 1 : top + SENSOR[0]]
    rows = rows[:, 1:] * (SUBPIXEL - part[0]) + rows[:, :-1] * part[0]
    rows = rows[:, :, left - 1 : left + SENSOR[1]]
    grey = rows[:, :, 1:] * (SUBPIXEL - part[1]) + rows[:, :, :-1] * part[1]
    return table[grey // (SUBPIXEL * SUBPIXEL * (2 * MAGNIFY) ** 2)]


def _events(
    digits: ImageSet,
    step: np.ndarray,
    sample: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    moved: np.ndarray,
) -> EventSet:
    """Turn signed threshold counts per step and pixel into single events, ascending in time per sample."""
    count = np.abs(moved)
    owner = np.repeat(np.arange(len(count)), count)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count) + 1
    width = SACCADE_US // STEPS_PER_SACCADE
    # k of n thresholds within a step are passed at k / (n + 1) of it, each pixel with its own fixed delay
    delay = (row * 31 + column * 17)[owner] % (width // 8)
    time = step[owner] * width + rank * (width - width // 8) // (count[owner] + 1) + delay
    order = np.lexsort((column[owner], row[owner], time, sample[owner]))
    owner, time = owner[order], time[order]
    lengths = np.bincount(sample[owner], minlength=len(digits))
    return EventSet(
        time.astype(np.int64),
        column[owner].astype(np.int16),
        row[owner].astype(np.int16),
        (moved[owner] > 0).astype(np.int8),
        np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        digits.labels,
    )
