import numpy as np
import pytest
import torch
from dalton.data.augmentation import LARGEST_ANGLE, Draws, apply, augment, draw


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (9, 16)])
def test_the_three_steps_equal_pillows_to_the_last_bit(size):
    image_module = pytest.importorskip("PIL.Image", reason="needs Pillow")
    images = torch.randint(0, 256, (60, 1, *size), dtype=torch.uint8, generator=generator())
    draws = draw(len(images), generator(1))
    ours = apply(images, draws)
    for k, image in enumerate(images[:, 0].numpy()):
        row, column = draws.shift[:, k].tolist()
        step = np.pad(image, 4)[row : row + size[0], column : column + size[1]]
        step = step[:, ::-1] if draws.flip[k] else step
        pillow = image_module.fromarray(np.ascontiguousarray(step))
        rotated = pillow.rotate(float(draws.angle[k]), resample=image_module.Resampling.NEAREST)
        assert np.array_equal(ours[k, 0].numpy(), np.asarray(rotated))


def test_draws_cover_their_ranges():
    draws = draw(5000, generator())
    assert draws.shift.unique().tolist() == list(range(9))
    assert 0.45 < draws.flip.float().mean() < 0.55
    assert draws.angle.min() < -0.99 * LARGEST_ANGLE
    assert draws.angle.max() > 0.99 * LARGEST_ANGLE
    assert draws.angle.abs().max() <= LARGEST_ANGLE
    assert not draw(5000, generator(), flip=False).flip.any()


def test_no_draw_leaves_an_image_as_it_is():
    images = torch.rand(3, 2, 7, 8)
    nothing = Draws(
        torch.full((2, 3), 4), torch.zeros(3, dtype=torch.bool), torch.zeros(3, dtype=torch.float64)
    )
    assert torch.equal(apply(images, nothing), images)
    assert apply(images.double(), nothing).dtype == torch.float64


def test_augmenting_is_a_function_of_the_seed_and_per_image():
    images = torch.rand(1, 3, 16, 16).expand(8, -1, -1, -1)
    once = augment(images, generator(5))
    assert torch.equal(once, augment(images, generator(5)))
    assert not torch.equal(once, augment(images, generator(6)))
    assert not torch.equal(once[0], once[1])
