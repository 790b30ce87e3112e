"""Small event recordings for tests, the slow form of the noise filter, and where real data may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reprokit import EventSet, EventSplits, write_nmnist_file

REAL_DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
needs_real_data = pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no real data next to the repository")
Events = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def random_events(rng: np.random.Generator, count: int, sensor: tuple[int, int], end: int) -> Events:
    """Events at random places and ascending times below `end` microseconds."""
    return (
        np.sort(rng.integers(0, end, count)),
        rng.integers(0, sensor[1], count).astype(np.int16),
        rng.integers(0, sensor[0], count).astype(np.int16),
        rng.integers(0, 2, count).astype(np.int8),
    )


def slow_denoise(events: Events, filter_us: int) -> np.ndarray:
    """The filter as specified: a scan over events with a memory per pixel."""
    t, x, y, _ = events
    if not len(t):
        return np.zeros(0, bool)
    memory = np.full((int(x.max()) + 1, int(y.max()) + 1), filter_us, np.int64)
    keep = []
    for time, column, row in zip(t.tolist(), x.tolist(), y.tolist(), strict=True):
        memory[column, row] = time + filter_us
        neighbours = [(column - 1, row), (column + 1, row), (column, row - 1), (column, row + 1)]
        inside = [(a, b) for a, b in neighbours if 0 <= a < memory.shape[0] and 0 <= b < memory.shape[1]]
        keep.append(any(memory[place] > time for place in inside))
    return np.array(keep)


def write_recordings(
    folder: Path, *, classes: int = 3, train: int = 2, test: int = 1, end: int = 310_000, seed: int = 0
) -> Path:
    """A folder in N-MNIST's layout with recordings of 400 random events."""
    rng = np.random.default_rng(seed)
    number = 0
    for split, count in (("Train", train), ("Test", test)):
        for label in range(classes):
            (folder / split / str(label)).mkdir(parents=True, exist_ok=True)
            for _ in range(count):
                path = folder / split / str(label) / f"{number:05d}.bin"
                write_nmnist_file(path, *random_events(rng, 400, (34, 34), end))
                number += 1
    return folder


def splits_of(recordings: list[Events], labels: list[int], sensor: tuple[int, int] = (8, 8)) -> EventSplits:
    """The same recordings as training and test set of two classes."""
    part = EventSet.join(zip(recordings, labels, strict=True))
    return EventSplits(part, part, sensor, "own", ("zero", "one"))
