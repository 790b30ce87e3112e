"""What images are: one split as arrays, and a data set of two."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from reprokit import UserError
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """One split.

    Attributes:
        images: uint8 or float32 ``(sample, channel, height, width)``.
        labels: int64 ``(sample,)``.
        largest: The value that stands for full intensity.
    """

    images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    largest: float

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: npt.NDArray[np.int64] | slice) -> tuple[Tensor, Tensor]:
        """Return images scaled to 0..1 as float32, and their labels."""
        images = torch.from_numpy(np.ascontiguousarray(self.images[index])).to(torch.float32)
        return images / self.largest, torch.from_numpy(np.ascontiguousarray(self.labels[index]))

    def first(self, count: int) -> "Images":
        """Return the first ``count`` samples (all of them for 0)."""
        return Images(self.images[:count], self.labels[:count], self.largest) if count else self


@dataclass(frozen=True)
class Dataset:
    """Training and test images with the data set's name, class count and the training mean per channel."""

    name: str
    train: Images
    test: Images
    classes: int
    mean: tuple[float, ...]

    @property
    def channels(self) -> int:
        """Channels per image."""
        return self.train.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        height, width = self.train.images.shape[-2:]
        return height, width


def largest_value(images: npt.NDArray, source: str) -> float:
    """Return the value that stands for full intensity.

    Args:
        images: Numbers of any shape.
        source: Where they come from, the beginning of the message.

    Raises:
        UserError: Every pixel is 0.
    """
    largest = float(images.max(initial=0))
    if largest <= 0:
        raise UserError(f"{source}: every pixel is 0; there is nothing to learn from")
    return largest
