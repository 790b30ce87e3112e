"""Crops, flips and colour jitter: known answers, per-sample draws, the once-per-batch form."""

import colorsys

import numpy as np
import pytest
import torch
from reprokit import UserError
from sbs.config import Augmentation
from sbs.data import augmentation as aug
from sbs.data.augmentation import augment, center_crop


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(5)


@pytest.fixture
def colours(generator):
    return torch.rand(4, 3, 6, 7, generator=generator)


def numbered(samples: int, height: int, width: int) -> torch.Tensor:
    image = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width) / (height * width)
    return image.repeat(samples, 1, 1, 1)


def test_center_crop_cuts_equal_margins():
    images = numbered(2, 8, 9)
    assert torch.equal(center_crop(images, Augmentation(crop=2)), images[..., 2:6, 2:7])
    assert torch.equal(center_crop(images, Augmentation(crop=0)), images)


def test_random_crop_takes_every_window_and_differs_between_samples(generator):
    images = numbered(400, 6, 6)
    cropped = augment(images, Augmentation(crop=1), generator)
    assert cropped.shape == (400, 1, 4, 4)
    corners = (cropped[:, 0, 0, 0] * 36).round().int()
    assert set(corners.tolist()) == {row * 6 + column for row in range(3) for column in range(3)}
    for sample in range(400):
        row, column = divmod(int(corners[sample]), 6)
        assert torch.equal(cropped[sample], images[sample, :, row : row + 4, column : column + 4])


def test_once_per_batch_gives_every_sample_the_same_variation(generator):
    """DEV-20."""
    images = numbered(16, 8, 8)
    settings = Augmentation(crop=2, flip=0.5, brightness=0.5, once_per_batch=True)
    for _ in range(5):
        varied = augment(images, settings, generator)
        assert (varied == varied[:1]).all()
    differing = augment(images, Augmentation(crop=2, flip=0.5, brightness=0.5), generator)
    assert not (differing == differing[:1]).all()


def test_flip_probability(generator):
    images = numbered(2000, 4, 4)
    flipped = augment(images, Augmentation(crop=0, flip=0.3), generator)[:, 0, 0, 0] > 0.1
    assert abs(flipped.float().mean() - 0.3) < 0.05
    assert torch.equal(augment(images[:3], Augmentation(crop=0, flip=1.0), generator), images[:3].flip(-1))


def test_brightness_and_contrast_by_hand():
    image = torch.tensor([[[[0.2, 0.4], [0.6, 0.8]]]])
    assert torch.allclose(
        aug.adjust_brightness(image, torch.tensor([1.5])), torch.tensor([[[[0.3, 0.6], [0.9, 1.0]]]])
    )
    assert torch.allclose(
        aug.adjust_contrast(image, torch.tensor([0.5])), torch.tensor([[[[0.35, 0.45], [0.55, 0.65]]]])
    )


def test_grey_and_saturation_by_hand():
    image = torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1)
    grey = 0.2989 + 0.5 * 0.587 + 0.25 * 0.114
    assert aug.greyscale(image).item() == pytest.approx(grey, abs=1e-6)
    assert torch.allclose(
        aug.adjust_saturation(image, torch.tensor([0.0])), torch.full_like(image, grey), atol=1e-6
    )
    assert torch.allclose(aug.adjust_saturation(image, torch.tensor([1.0])), image)


@pytest.mark.parametrize("turn", [-0.5, -0.21, 0.0, 0.1, 0.5])
def test_hue_against_the_standard_library(colours, turn):
    result = aug.adjust_hue(colours, torch.full((4,), turn))
    expected = torch.empty_like(colours)
    for index in np.ndindex(4, 6, 7):
        sample, row, column = index
        hue, saturation, value = colorsys.rgb_to_hsv(*colours[sample, :, row, column].tolist())
        expected[sample, :, row, column] = torch.tensor(
            colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)
        )
    assert torch.allclose(result, expected, atol=2e-6)


def test_grey_pixels_survive_a_turn_of_the_hue():
    image = torch.full((1, 3, 2, 2), 0.4)
    assert torch.allclose(aug.adjust_hue(image, torch.tensor([0.3])), image)
    assert torch.isfinite(aug.adjust_hue(torch.zeros(1, 3, 2, 2), torch.tensor([0.3]))).all()


def test_one_channel_ignores_saturation_and_hue(generator):
    images = torch.rand(5, 1, 4, 4, generator=generator)
    assert torch.equal(augment(images, Augmentation(crop=0, saturation=0.5, hue=0.5), generator), images)


def test_jitter_stays_in_range_and_leaves_its_input_alone(colours, generator):
    before = colours.clone()
    settings = Augmentation(crop=0, brightness=2.0, contrast=2.0, saturation=2.0, hue=0.5)
    for _ in range(10):
        varied = augment(colours, settings, generator)
        assert varied.min() >= 0
        assert varied.max() <= 1
    assert torch.equal(colours, before)


def test_each_sample_has_its_own_factor_but_keeps_its_own_image(generator):
    images = torch.linspace(0.1, 0.4, 50).view(50, 1, 1, 1).expand(50, 1, 3, 3)
    varied = augment(images, Augmentation(crop=0, brightness=0.5), generator)
    factors = (varied / images)[:, 0, 0, 0]
    assert factors.min() >= 0.5 - 1e-6
    assert factors.max() <= 1.5 + 1e-6
    assert factors.unique().numel() == 50


def test_same_generator_state_same_images(colours):
    settings = Augmentation(crop=1, flip=0.5, brightness=0.5, contrast=0.1, saturation=0.1, hue=0.15)
    first, second = (augment(colours, settings, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"crop": -1}, "crop"),
        ({"flip": 1.5}, "flip"),
        ({"hue": 0.6}, "hue"),
        ({"contrast": -0.1}, "contrast"),
    ],
)
def test_impossible_settings_are_named(values, word):
    with pytest.raises(UserError, match=word):
        Augmentation(**values)


def test_a_crop_must_leave_something():
    with pytest.raises(UserError, match="leaves nothing of 8x8"):
        augment(torch.zeros(1, 1, 8, 8), Augmentation(crop=4))


def test_jitter_needs_one_or_three_channels():
    with pytest.raises(UserError, match="1 or 3 channels"):
        augment(torch.zeros(1, 2, 4, 4), Augmentation(crop=0, contrast=0.5))
