"""Random crops, flips and rotations of training images, drawn separately for each image.

In this order, as in the original: crop to full size after padding 4 zeros on every side; mirror with probability 1/2;
rotate by an angle from -30 to 30 degrees about the centre, nearest pixel, zeros outside. The three are combined
into one gather: every output pixel looks up the pixel it comes from. The rotation's fixed-point arithmetic is that of
Pillow, so images agree with the original's transforms to the last bit for the same draws.

The original mirrors digits too, and some are no longer digits then; `fixed` does not mirror them (DEV-13).

Source: torchvision's RandomCrop, RandomHorizontalFlip and RandomRotation, which the original uses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

PADDING = 4  # pixels
LARGEST_ANGLE = 30.0  # degrees
_ONE = 1 << 16  # of Pillow's fixed-point numbers


@dataclass(frozen=True)
class Draws:
    """The random draws for a batch of images.

    Args:
        shift: int64 (2, image), row and column of the crop's corner in the padded image, 0 to 2 x padding.
        flip: bool (image,), whether the image is mirrored.
        angle: float64 (image,), degrees, counter-clockwise.
    """

    shift: Tensor
    flip: Tensor
    angle: Tensor


def draw(count: int, generator: torch.Generator, *, flip: bool = True) -> Draws:
    """Draw crops, flips and angles for `count` images.

    Args:
        count: Number of images.
        generator: CPU generator.
        flip: Whether images may be mirrored.
    """
    shift = torch.randint(0, 2 * PADDING + 1, (2, count), generator=generator)
    mirrored = torch.rand(count, generator=generator) < 0.5
    angle = (torch.rand(count, generator=generator, dtype=torch.float64) * 2 - 1) * LARGEST_ANGLE
    return Draws(shift, mirrored & flip, angle)


def apply(images: Tensor, draws: Draws) -> Tensor:
    """Crop, mirror and rotate.

    Args:
        images: (image, channel, height, width), any dtype, any device.
        draws: The draws, one of each kind per image.

    Returns:
        Images of the same shape, dtype and device.
    """
    height, width = images.shape[2:]
    row, column, inside = _rotated(draws.angle, height, width)
    column = torch.where(draws.flip[:, None, None], width - 1 - column, column)
    row = row + draws.shift[0][:, None, None] - PADDING
    column = column + draws.shift[1][:, None, None] - PADDING
    inside &= (row >= 0) & (row < height) & (column >= 0) & (column < width)
    source = torch.where(inside, row * width + column, 0).flatten(1).to(images.device)
    found = images.flatten(2).gather(2, source[:, None].expand(-1, images.shape[1], -1))
    zero = ~inside.flatten(1).to(images.device)
    return found.masked_fill_(zero[:, None], 0).view_as(images)


def augment(images: Tensor, generator: torch.Generator, *, flip: bool = True) -> Tensor:
    """Augment a batch of training images.

    Args:
        images: (image, channel, height, width).
        generator: CPU generator, one per batch.
        flip: Whether images may be mirrored.

    Returns:
        Images of the same shape and dtype.
    """
    return apply(images, draw(len(images), generator, flip=flip))


def _rotated(angle: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return row, column (image, height, width) each output pixel comes from, and whether it is in the image."""
    radians = torch.deg2rad(-angle)
    cosine, sine = (_rounded(values(radians)) for values in (torch.cos, torch.sin))
    centre_x, centre_y = width / 2, height / 2
    # output (x, y) comes from (a x + b y + c, -b x + a y + f): a rotation about the centre of the image
    c = centre_x - (cosine * centre_x + sine * centre_y)
    f = centre_y - (-sine * centre_x + cosine * centre_y)
    x0, y0 = _fixed(c + cosine * 0.5 + sine * 0.5), _fixed(f - sine * 0.5 + cosine * 0.5)
    a, b, d = _fixed(cosine), _fixed(sine), _fixed(-sine)
    x, y = torch.arange(width), torch.arange(height)[:, None]
    column = (x0[:, None, None] + a[:, None, None] * x + b[:, None, None] * y) >> 16
    row = (y0[:, None, None] + d[:, None, None] * x + a[:, None, None] * y) >> 16
    return row, column, (row >= 0) & (row < height) & (column >= 0) & (column < width)


def _rounded(values: Tensor) -> Tensor:
    """Round to 15 decimals, as Pillow does with sine and cosine."""
    return torch.tensor([round(value, 15) for value in values.tolist()], dtype=torch.float64)


def _fixed(values: Tensor) -> Tensor:
    """Return the nearest fixed-point number."""
    return torch.tensor([math.floor(value * _ONE + 0.5) for value in values.tolist()], dtype=torch.int64)
