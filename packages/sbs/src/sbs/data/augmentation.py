"""Random crops, flips and colour jitter for image batches, in plain torch.

Images are float32 ``(sample, channel, height, width)`` in 0..1; results are clamped to 0..1. The colour
operations are those of torchvision's ``ColorJitter``:

    blend(a, b, f) = clamp(f a + (1 - f) b, 0, 1)
    brightness = blend(x, 0, f),  contrast = blend(x, mean(grey(x)), f),  saturation = blend(x, grey(x), f)

with grey = 0.2989 R + 0.587 G + 0.114 B, and hue = a rotation of the HSV colour circle by f. The four are
applied in random order. Saturation and hue leave one-channel images alone.

Every sample draws its own random numbers. The original drew once for the whole batch (DEV-20);
``once_per_batch=True`` restores that form.
"""

from typing import Any

import torch
from reprokit import UserError
from torch import Tensor

from sbs.config import Augmentation

GREY = (0.2989, 0.587, 0.114)


def augment(images: Tensor, settings: Augmentation, generator: torch.Generator | None = None) -> Tensor:
    """Return randomly cropped, flipped and jittered images.

    Args:
        images: Float ``(sample, channel, height, width)`` in 0..1.
        settings: What to vary, and by how much.
        generator: Source of the random numbers; torch's global one by default.

    Raises:
        UserError: The wrong kind of images, or a crop that leaves nothing of them.
    """
    image_batch(images)
    draws = 1 if settings.once_per_batch else len(images)
    height, width = settings.size(*images.shape[-2:])
    spare = 2 * settings.crop + 1
    top, left = (torch.randint(spare, (draws,), generator=generator) for _ in range(2))
    images = crop(images, top, left, height, width)
    if settings.flip:
        flipped = torch.rand(draws, generator=generator) < settings.flip
        images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(-1), images)
    return _jitter(images, settings, draws, generator)


def image_batch(images: Any) -> Tensor:
    """Return ``images`` if they are a batch of float images.

    Raises:
        UserError: They are not a float tensor ``(sample, channel, height, width)``.
    """
    if not isinstance(images, Tensor) or images.dim() != 4 or not images.is_floating_point():
        found = (
            f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        )
        raise UserError(f"images are {found}; they must be a float tensor (sample, channel, height, width)")
    return images


def center_crop(images: Tensor, settings: Augmentation) -> Tensor:
    """Return the centre of the images, the test-time counterpart of `augment`."""
    height, width = settings.size(*images.shape[-2:])
    return images[..., settings.crop : settings.crop + height, settings.crop : settings.crop + width]


def crop(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Cut one window per sample.

    Args:
        images: ``(sample, channel, height, width)``.
        top: First row per sample, or one for all, int64.
        left: First column per sample, or one for all, int64.
        height: Rows of the window.
        width: Columns of the window.
    """
    if len(top) == 1:
        first_row, first_column = int(top), int(left)
        return images[..., first_row : first_row + height, first_column : first_column + width]
    sample = torch.arange(len(images)).view(-1, 1, 1)
    rows = (top.view(-1, 1) + torch.arange(height)).unsqueeze(2)
    columns = (left.view(-1, 1) + torch.arange(width)).unsqueeze(1)
    return images.permute(0, 2, 3, 1)[sample, rows, columns].permute(0, 3, 1, 2)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with black; ``factor`` has one entry per sample, or one for all."""
    return _blend(images, torch.zeros_like(images), factor)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image's mean grey; ``factor`` has one entry per sample, or one for all."""
    return _blend(images, greyscale(images).mean((1, 2, 3), keepdim=True), factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the grey image; ``factor`` has one entry per sample, or one for all."""
    return images if images.shape[1] == 1 else _blend(images, greyscale(images), factor)


def adjust_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Rotate the colour circle by ``turn`` full circles (one entry per sample, or one for all)."""
    if images.shape[1] == 1:
        return images
    hue, saturation, value = _rgb_to_hsv(images)
    return _hsv_to_rgb((hue + turn.view(-1, 1, 1)) % 1.0, saturation, value)


def greyscale(images: Tensor) -> Tensor:
    """Return the grey image ``(sample, 1, height, width)`` of one- or three-channel images."""
    if images.shape[1] == 1:
        return images
    if images.shape[1] != 3:
        raise UserError(f"colour jitter needs 1 or 3 channels, the images have {images.shape[1]}")
    weights = images.new_tensor(GREY).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def _jitter(images: Tensor, settings: Augmentation, draws: int, generator: torch.Generator | None) -> Tensor:
    operations = [
        (adjust_brightness, _span(settings.brightness)),
        (adjust_contrast, _span(settings.contrast)),
        (adjust_saturation, _span(settings.saturation)),
        (adjust_hue, (-settings.hue, settings.hue)),
    ]
    if not (settings.brightness or settings.contrast or settings.saturation or settings.hue):
        return images
    order = torch.rand(draws, len(operations), generator=generator).argsort(1)
    uniform = torch.rand(draws, len(operations), generator=generator)
    images = images.clone()
    for place in range(len(operations)):
        for index, (operation, (low, high)) in enumerate(operations):
            if low == high:
                continue
            factor = low + (high - low) * uniform[:, index]
            chosen = (order[:, place] == index).expand(len(images))
            if draws > 1:
                factor = factor[chosen]
            if chosen.any():
                images[chosen] = operation(images[chosen], factor)
    return images


def _span(strength: float) -> tuple[float, float]:
    return max(0.0, 1.0 - strength), 1.0 + strength


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    factor = factor.view(-1, 1, 1, 1)
    return (factor * images + (1.0 - factor) * other).clamp(0.0, 1.0)


def _rgb_to_hsv(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    red, green, blue = images.unbind(1)
    value, smallest = images.amax(1), images.amin(1)
    spread = value - smallest
    grey = spread == 0
    divisor = torch.where(grey, torch.ones_like(spread), spread)
    saturation = spread / torch.where(grey, torch.ones_like(value), value)
    from_red = (green - blue) / divisor
    from_green = 2.0 + (blue - red) / divisor
    from_blue = 4.0 + (red - green) / divisor
    hue = torch.where(value == red, from_red, torch.where(value == green, from_green, from_blue))
    return (hue / 6.0) % 1.0, saturation, value


def _hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Return RGB from c(n) = v - v s max(0, min(k, 4 - k, 1)) with k = (n + 6 h) mod 6, n = 5, 3, 1."""
    channels = []
    for offset in (5.0, 3.0, 1.0):
        place = (offset + 6.0 * hue) % 6.0
        channels.append(value - value * saturation * torch.minimum(place, 4.0 - place).clamp(0.0, 1.0))
    return torch.stack(channels, 1).clamp(0.0, 1.0)
