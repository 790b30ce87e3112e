"""Evaluation: the number of spikes asked for is drawn, and no result depends on the batch size."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from reprokit import UserError
from sbs import Presentation, SbSLayer, accuracy_against_spikes, evaluate, sbs_pooling
from sbs.config import Augmentation
from sbs.data.images import Images
from sbs.training.evaluation import BLOCK, spikes_from
from torch import nn

PRESENTATION = Presentation(Augmentation(crop=0), (0.5,))


def images(count: int) -> Images:
    generator = np.random.default_rng(0)
    return Images(generator.random((count, 1, 6, 6), np.float32), generator.integers(0, 3, count), 1.0)


def network(**settings) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        SbSLayer(1, 5, 6, 3, 20, "power", 1.0, weight_noise_amplitude=5.0, **settings),
        nn.AvgPool2d(2),
        sbs_pooling(5, 2, 2, 20, epsilon_t="power", **settings),
        SbSLayer(5, 3, 1, 1, 20, "power", 1.0, weight_noise_amplitude=5.0, **settings),
    )


class Recorded(nn.Module):
    """Keeps every output of a network, in the order of the images."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside, self.outputs = inside, []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.outputs.append(self.inside(image))
        return self.outputs[-1]


def outputs(batch_size: int, engine: str = "auto") -> torch.Tensor:
    recorded = Recorded(network(engine=engine))
    evaluate(recorded, PRESENTATION, images(BLOCK + 30), batch_size=batch_size, seed=4)
    return torch.cat(recorded.outputs)


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_no_output_depends_on_the_batch_size(engine: str) -> None:
    expected = outputs(BLOCK, engine)
    for batch_size in (1, 7, 64, 1000):
        assert torch.equal(outputs(batch_size, engine), expected), batch_size


def test_a_batch_of_a_hundred_sees_the_spikes_it_always_saw() -> None:
    whole = network().eval()
    shown = PRESENTATION.test(images(BLOCK + 30).batch(slice(0, None))[0])
    with torch.no_grad():
        parts = []
        for number, start in enumerate(range(0, len(shown), BLOCK)):
            with spikes_from(4, 4, number):
                parts.append(whole(shown[start : start + BLOCK]))
    assert torch.equal(outputs(BLOCK), torch.cat(parts))


def test_the_number_asked_for_wins_over_that_of_eval_mode() -> None:
    layers = network(eval_number_of_spikes=7)
    plain = network()
    for count in (3, 50):
        result = evaluate(layers, PRESENTATION, images(60), number_of_spikes=count)
        assert result.correct == evaluate(plain, PRESENTATION, images(60), number_of_spikes=count).correct
    assert [layers[k].eval_number_of_spikes for k in (0, 2, 3)] == [7, 7, 7]
    curve = accuracy_against_spikes(layers, PRESENTATION, images(BLOCK), [1, 5, 400])
    assert len({result.correct for _, result in curve}) > 1


def test_the_offset_ends_with_an_evaluation_even_after_an_error() -> None:
    layers = network()
    offsets = []

    class Failing(Recorded):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            offsets.append(layers[0].sample_offset)
            if offsets[-1]:
                raise ZeroDivisionError
            return super().forward(image)

    with pytest.raises(ZeroDivisionError):
        evaluate(Failing(layers), PRESENTATION, images(50), batch_size=30)
    assert offsets == [0, 30]
    assert layers[0].sample_offset == 0


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"batch_size": 2.5}, {"seed": -1}, {"number_of_spikes": 0}]
)
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        evaluate(network(), PRESENTATION, images(3), **wrong)
    with pytest.raises(UserError, match="no images"):
        evaluate(network(), SimpleNamespace(), Images(np.zeros((0, 1, 6, 6)), np.zeros(0), 1.0))
