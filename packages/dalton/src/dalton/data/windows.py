"""Which frames of a recording a batch sees.

A batch of recordings is padded with empty frames to its longest and cut to a fixed number of steps. In the original
DVS128 Gesture and CIFAR10-DVS train on 500 frames from a random start and are tested on the first 1790 (1141);
N-MNIST always uses frames 0 to 299.

- `faithful`: one start for the whole batch, drawn from [0, F - steps), F the longest recording of the batch, so that
  a window may lie in a shorter recording's padding, and the last possible start is never drawn.
- `fixed` (DEV-10): a start of its own for every recording, drawn from [0, F_i - steps] of its own F_i frames; a window
  never goes beyond valid frames unless the recording is shorter than the window, which then starts at 0.

Recordings shorter than the window are padded with empty frames in both profiles (DEV-11): the original ends with an
IndexError when the longest recording of a batch has fewer than 300 frames (1790, 1141 in tests).
"""

from __future__ import annotations

import numpy as np


def window_starts(
    frames: np.ndarray, steps: int, *, random: bool, faithful: bool, generator: np.random.Generator
) -> np.ndarray:
    """Choose the first frame of every recording of a batch.

    Args:
        frames: (sample,), integers, number of frames of each recording, from 1.
        steps: Length of the window in frames.
        random: Whether the start is drawn at random; the first frame otherwise.
        faithful: The original's rule, see the module.
        generator: Of the draws; one per batch.

    Returns:
        int64 (sample,).
    """
    if not random:
        return np.zeros(len(frames), np.int64)
    if faithful:
        spare = int(frames.max()) - steps
        return np.full(len(frames), generator.integers(spare) if spare > 0 else 0, np.int64)
    return generator.integers(0, np.maximum(frames.astype(np.int64) - steps, 0) + 1)
