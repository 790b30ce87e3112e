"""Frames of many recordings, kept sparse and made dense batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dalton.data.frames import SparseFrames


@dataclass(frozen=True)
class FrameSet:
    """Sparse frames of many recordings, concatenated; recording i owns cells ``offsets[i]:offsets[i + 1]``.

    Args:
        frame: int32 (cell,), frame number within the recording, ascending.
        place: int32 (cell,), place within (polarity, height, width).
        count: uint16 (cell,), events.
        offsets: int64 (recording + 1,).
        frames: int32 (recording,), number of frames of each.
        labels: int64 (recording,).
        shape: (2, height, width).
        largest: Largest count.
    """

    frame: np.ndarray
    place: np.ndarray
    count: np.ndarray
    offsets: np.ndarray
    frames: np.ndarray
    labels: np.ndarray
    shape: tuple[int, int, int]
    largest: int

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> SparseFrames:
        """Return the frames of one recording."""
        own = slice(self.offsets[index], self.offsets[index + 1])
        return SparseFrames(
            self.frame[own], self.place[own], self.count[own], int(self.frames[index]), self.shape
        )

    def dense(
        self, index: np.ndarray, start: np.ndarray, steps: int, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Return `steps` frames of some recordings from a start of their own, padded with empty frames.

        Args:
            index: int64 (batch,), the recordings.
            start: int64 (batch,), the first frame of each.
            steps: Number of frames.
            device: Where the frames are wanted; only the cells are copied to it.

        Returns:
            (time, batch, polarity, height, width), uint8, or int32 where a count of the data set exceeds 255.
        """
        cells, batch = int(np.prod(self.shape)), len(index)
        where, counts = [], []
        for row, (recording, first) in enumerate(zip(index.tolist(), start.tolist(), strict=True)):
            low, high = self.offsets[recording : recording + 2].tolist()
            frame = self.frame[low:high]
            low, high = low + np.searchsorted(frame, (first, first + steps))
            time = self.frame[low:high].astype(np.int64) - first
            where.append((time * batch + row) * cells + self.place[low:high])
            counts.append(self.count[low:high])
        dtype = torch.uint8 if self.largest <= 255 else torch.int32
        full = torch.zeros(steps * batch * cells, dtype=dtype, device=device)
        place = torch.from_numpy(np.concatenate(where)).to(device)
        full[place] = torch.from_numpy(np.concatenate(counts).astype(np.int32)).to(device, dtype)
        return full.view(steps, batch, *self.shape)


@dataclass(frozen=True)
class FrameSplits:
    """The frames of a data set.

    Args:
        train: Training recordings.
        test: Test recordings.
        name: The data set really used.
        class_names: One name a class.
    """

    train: FrameSet
    test: FrameSet
    name: str
    class_names: tuple[str, ...]
