"""Generated spikes in SHD's geometry whose classes differ only in spike timing.

Each class is a random smooth manifold: channel k of class c fires once, at

    t_k(x) = onset + duration u_k(x),   u_k = (f_k - min f_k) / (max f_k - min f_k) over the class's samples,
    f_k(x) = sum over dimensions d and harmonics n = 1..N of theta_dn n^-alpha sin(2 pi (n x_d + phi_dn)),

with theta, phi uniform in [0, 1) and a sample's position x uniform on the manifold, [0, 1)^D. Every channel
fires exactly once in every recording, so spike counts carry no information: a linear readout of counts is at
chance level, and only spike times distinguish the classes.

Source: the random-manifold data of Zenke and Vogels 2021, Neural Computation 33.
"""

from functools import lru_cache

import numpy as np

from reprokit.types import CHANNELS, Recordings, RecordingSplits

CLASSES = 10
TRAIN_PER_CLASS = 40
TEST_PER_CLASS = 20
DIMENSIONS = 1
HARMONICS = 32
ALPHA = 2.0
ONSET = 0.02  # s
DURATION = 0.6  # s
RESOLUTION = 1e-4  # s, grid to which times are rounded
SEED = 20210401


@lru_cache(maxsize=1)
def spoken_toy() -> RecordingSplits:
    """Generate 400 training and 200 test recordings of ten classes, the same on every call and machine.

    Returns:
        The splits, named ``spoken-toy``; 700 channels, one spike per channel and recording, 0.02 to 0.62 s.
    """
    random = np.random.Generator(np.random.PCG64(SEED))
    per_class = TRAIN_PER_CLASS + TEST_PER_CLASS
    times = np.stack([_manifold(random, per_class) for _ in range(CLASSES)])  # (class, sample, channel)
    names = tuple(str(label) for label in range(CLASSES))
    train, test = times[:, :TRAIN_PER_CLASS], times[:, TRAIN_PER_CLASS:]
    return RecordingSplits(_recordings(train), _recordings(test), "spoken-toy", CHANNELS, names)


def _manifold(random: np.random.Generator, samples: int) -> np.ndarray:
    """Draw one class: spike times in s, (sample, channel)."""
    theta = random.random((CHANNELS, DIMENSIONS, HARMONICS))
    phase = random.random((CHANNELS, DIMENSIONS, HARMONICS))
    position = random.random((samples, 1, DIMENSIONS, 1))
    order = np.arange(1, HARMONICS + 1)
    waves = theta * order**-ALPHA * np.sin(2 * np.pi * (order * position + phase))
    value = waves.sum(axis=(2, 3))
    low, high = value.min(axis=0), value.max(axis=0)
    return ONSET + DURATION * (value - low) / (high - low)


def _recordings(times: np.ndarray) -> Recordings:
    """Interleave the classes and sort every recording by time."""
    classes, samples, channels = times.shape
    times = times.transpose(1, 0, 2).reshape(-1, channels)
    times = np.rint(times / RESOLUTION).astype(np.int64)
    order = np.argsort(times, axis=1, kind="stable")
    ascending = np.take_along_axis(times, order, axis=1).reshape(-1) * RESOLUTION
    offsets = np.arange(0, times.size + 1, channels, dtype=np.int64)
    labels = np.tile(np.arange(classes, dtype=np.int64), samples)
    return Recordings(ascending.astype(np.float32), order.reshape(-1).astype(np.int32), offsets, labels)
