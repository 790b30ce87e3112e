"""What the first layer sees of an image.

Two presentations exist. The original's V1 splits every channel with mean m into two non-negative ones,

    off = max(-2 (x - m), 0)        on = max(2 (x - m), 0)        channel order off_0, on_0, off_1, on_1, ...

V2 uses the intensities as they are, plus 1e-20, so that an all-black patch becomes a uniform distribution.
"""

from dataclasses import dataclass

import torch
from reprokit import UserError
from torch import Tensor

from sbs.config import Augmentation
from sbs.data.augmentation import augment, center_crop, image_batch


def on_off_split(images: Tensor, mean: tuple[float, ...] | Tensor) -> Tensor:
    """Split every channel into an off and an on channel, see the module docstring.

    Args:
        images: Float ``(sample, channel, height, width)``.
        mean: Training mean per channel, ``(channel,)``.

    Returns:
        Float ``(sample, 2 * channel, height, width)``, >= 0.

    Raises:
        UserError: The wrong kind of images, or a mean that does not fit them.
    """
    image_batch(images)
    center = torch.as_tensor(mean, dtype=images.dtype, device=images.device).view(1, -1, 1, 1)
    if center.shape[1] != images.shape[1]:
        raise UserError(f"mean has {center.shape[1]} entries but the images have {images.shape[1]} channels")
    if not bool(center.isfinite().all()):
        raise UserError(f"mean is {center.flatten().tolist()}; it must be finite")
    centred = 2.0 * (images - center)
    return torch.stack((-centred, centred), 2).flatten(1, 2).clamp(min=0.0)


@dataclass(frozen=True)
class Presentation:
    """What the first layer sees: crop and jitter, then on/off split or a small offset.

    Attributes:
        augmentation: Variation of training images; its crop also applies to test images.
        mean: Training mean per channel, used by the split.
        on_off: Split into on and off channels.
        offset: Added to every intensity when there is no split.
    """

    augmentation: Augmentation
    mean: tuple[float, ...]
    on_off: bool = False
    offset: float = 1e-20

    def train(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the layer input of a training batch."""
        return self._finish(augment(images, self.augmentation, generator))

    def test(self, images: Tensor) -> Tensor:
        """Return the layer input of a test batch: centre crop, no jitter."""
        return self._finish(center_crop(images, self.augmentation))

    def _finish(self, images: Tensor) -> Tensor:
        return on_off_split(images, self.mean) if self.on_off else images + self.offset
