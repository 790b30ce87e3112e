"""A golden file that remembers which of its keys were checked, and the errors found."""

import math
from pathlib import Path

import numpy as np
import torch
from sbs.engines.geometry import Geometry
from torch import Tensor


class Golden:
    """Arrays of one .npz file as tensors.

    Args:
        path: The file.
        prefix: Put before every key, for the layers of a stack.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self.arrays = {key: file[key] for key in file.files}
        self.name = path.stem
        self.seen: set[str] = set()
        self.errors: dict[str, tuple[float, float]] = {}

    def __getitem__(self, key: str) -> Tensor:
        assert key in self.arrays, f"{self.name}.npz lacks the key {key}"
        self.seen.add(key)
        return torch.from_numpy(np.array(self.arrays[key], order="C"))

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def number(self, key: str) -> float:
        return float(self[key])

    def close(self, key: str, ours: Tensor, tolerance: float, note: str = "") -> None:
        """Check that the largest absolute difference is within ``tolerance``; 0 means equal."""
        wanted = self[key].to(torch.float64)
        assert tuple(ours.shape) == tuple(wanted.shape), (
            f"{key}: {tuple(ours.shape)} != {tuple(wanted.shape)}"
        )
        error = float((ours.detach().to(torch.float64) - wanted).abs().max()) if wanted.numel() else 0.0
        self.errors[f"{key} {note}".strip()] = (math.inf if math.isnan(error) else error, tolerance)

    def close_to_largest(self, key: str, ours: Tensor, relative: float, note: str = "") -> None:
        """Check that the largest difference is within ``relative`` times the largest stored value."""
        self.close(key, ours, relative * float(self[key].abs().max()), note)

    def finish(self) -> None:
        """Print every error and fail on one that is too large or on a key that was not checked."""
        for key, (error, tolerance) in self.errors.items():
            print(f"{self.name}.npz {key}: largest error {error:.2e} (allowed {tolerance:.1e})")
        unknown = set(self.arrays) - self.seen
        assert not unknown, f"{self.name}.npz: nothing checks {sorted(unknown)}"
        bad = {key: pair for key, pair in self.errors.items() if not pair[0] <= pair[1]}
        assert not bad, f"{self.name}.npz: errors above what is allowed: {bad}"


def geometry_of(golden: Golden, prefix: str = "") -> Geometry:
    """Read kernel, stride, dilation and padding; what a file does not state is 1, 1 and 0."""

    def pair(key: str, default: int) -> tuple[int, int]:
        if prefix + key not in golden:
            return default, default
        first, second = golden[prefix + key].tolist()
        return first, second

    return Geometry(pair("kernel", 1), pair("stride", 1), pair("dilation", 1), pair("padding", 0))


def maps(rows: Tensor, samples: int, grid: tuple[int, int]) -> Tensor:
    """Turn ``(position, channel)`` into ``(sample, channel, X, Y)``."""
    return rows.view(samples, *grid, -1).permute(0, 3, 1, 2)


def rows(channels: Tensor) -> Tensor:
    """Turn ``(sample, channel, X, Y)`` into ``(position, channel)``."""
    return channels.permute(0, 2, 3, 1).reshape(-1, channels.shape[1])
