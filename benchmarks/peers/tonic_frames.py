"""Tonic's transforms on recordings: noise filter, frames, down-sampling where it applies."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable

import numpy as np


def pipeline(
    events: np.ndarray,
    first: np.ndarray,
    denoise_us: float,
    spatial_factor: float,
    window_us: float,
    shape: list[int],
) -> Callable[[], dict[str, np.ndarray]]:
    """Return what makes the frames of all recordings.

    Args:
        events: x, y, t and p of all recordings, int64 (4, event).
        first: Number of the first event of each recording, and how many there are at the end.
        denoise_us: Time of the noise filter.
        spatial_factor: Factor of the down-sampling.
        window_us: Time of a frame.
        shape: Height and width of a frame.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tonic's own
        from tonic import transforms
    steps = [transforms.Denoise(denoise_us)]
    if spatial_factor != 1:
        steps.append(transforms.Downsample(spatial_factor=spatial_factor))
    height, width = shape
    steps.append(transforms.ToFrame(sensor_size=(width, height, 2), time_window=window_us))
    compose = transforms.Compose(steps)
    table = np.zeros(events.shape[1], [("x", int), ("y", int), ("t", int), ("p", int)])
    for name, column in zip("xytp", events, strict=True):
        table[name] = column
    recordings = [table[a:b] for a, b in itertools.pairwise(first)]

    def run() -> dict[str, np.ndarray]:
        return {str(number): compose(recording) for number, recording in enumerate(recordings)}

    return run
