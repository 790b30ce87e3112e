"""Invalid arguments of public functions: one sentence that names the argument; NumPy's numbers are accepted."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from reprokit import UserError
from sbs import (
    Augmentation,
    Presentation,
    SbSLayer,
    accuracy_against_spikes,
    augment,
    build_network,
    constrained,
    evaluate,
    normalise,
    on_off_split,
    plateau,
    pooling_weights,
    preset,
    sbs_pooling,
)
from sbs.data.images import Images
from torch import nn

IMAGE = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
PICTURES = Images(np.ones((3, 1, 6, 6), np.uint8), np.arange(3), 1.0)
PLAIN = Presentation(Augmentation(crop=0), (0.5,))


def layer(**options: Any) -> SbSLayer:
    return SbSLayer(1, 3, 6, 6, 10, **options)


def target(shape: tuple[int, ...]) -> Callable[[], Any]:
    return lambda: layer(local_learning=True)(IMAGE, target=torch.zeros(shape))


class Broken(nn.Module):
    """A network of one layer whose output is made impossible."""

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer, self.change = layer(), change

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.change(self.layer(image))


def broken(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], Any]:
    return lambda: evaluate(Broken(change), PLAIN, PICTURES)


DIGITS = preset("digits-smoke").network
CASES: list[tuple[str, Callable[[], Any]]] = [
    ("images are torch.uint8", lambda: augment(torch.ones(2, 1, 4, 4, dtype=torch.uint8), Augmentation())),
    (r"images are torch.float32 \(4, 4\)", lambda: augment(torch.ones(4, 4), Augmentation(crop=0))),
    ("images are ndarray", lambda: augment(np.ones((2, 1, 4, 4)), Augmentation())),  # type: ignore[arg-type]
    ("leaves nothing", lambda: augment(IMAGE, Augmentation(crop=3))),
    (r"images are torch.float32 \(1, 4, 4\)", lambda: on_off_split(torch.ones(1, 4, 4), (0.5,))),
    ("mean has 2 entries", lambda: on_off_split(IMAGE, (0.5, 0.5))),
    ("mean is .*nan", lambda: on_off_split(IMAGE, (float("nan"),))),
    (r"weights have shape \(4,\)", lambda: normalise(torch.ones(4))),
    ("weights have type list", lambda: constrained([[1.0]], 0.1)),  # type: ignore[arg-type]
    ("threshold is -1", lambda: constrained(torch.ones(2, 2), -1)),
    ("order is 'last'", lambda: constrained(torch.ones(2, 2), 0.1, "last")),  # type: ignore[arg-type]
    ("channels is 2.5", lambda: pooling_weights(2.5, (2, 2))),  # type: ignore[arg-type]
    (r"kernel\[1\] is 0", lambda: pooling_weights(2, (2, 0))),
    ("number_of_input_neurons is 0", lambda: sbs_pooling(0, (4, 4), 2, 10)),
    ("number_of_input_neurons is -1", lambda: build_network(DIGITS, channels=-1, size=(8, 8), classes=10)),
    (
        "10 neurons .* are needed|11 neurons",
        lambda: build_network(DIGITS, channels=1, size=(8, 8), classes=11),
    ),
    ("seed is -1", lambda: layer()(IMAGE, seed=-1)),
    (r"seed is .*below 2\^64", lambda: layer()(IMAGE, seed=2**64)),
    ("seed is 1.5", lambda: layer()(IMAGE, seed=1.5)),
    ("first_sample is -1", lambda: layer()(IMAGE, first_sample=-1)),
    ("target is given", lambda: layer()(IMAGE, target=torch.zeros(2, 3, 1, 1))),
    (r"target is \(2, 3\)", target((2, 3))),
    (r"target is \(1, 3, 1, 1\)", target((1, 3, 1, 1))),
    ("number_of_spikes is 2.5", lambda: evaluate(layer(), PLAIN, PICTURES, number_of_spikes=2.5)),  # type: ignore[arg-type]
    ("batch_size is 0", lambda: evaluate(layer(), PLAIN, PICTURES, batch_size=0)),
    ("seed is -3", lambda: evaluate(layer(), PLAIN, PICTURES, seed=-3)),
    ("numbers of spikes", lambda: accuracy_against_spikes(layer(), PLAIN, PICTURES, (10, 2.5))),  # type: ignore[arg-type]
    (r"returns \(3, 3, 2, 1\)", broken(lambda h: h.repeat(1, 1, 2, 1))),
    (r"returns \(1, 3, 1, 1\)", broken(lambda h: h[:1])),
    ("not finite", broken(lambda h: h * torch.nan)),
    ("factor is 1", lambda: plateau(torch.optim.SGD(layer().parameters(), 1.0), 1, 3)),
    ("patience is 2.5", lambda: plateau(torch.optim.SGD(layer().parameters(), 1.0), 0.5, 2.5)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("words", "call"), CASES, ids=[words for words, _ in CASES])
def test_nonsense_is_one_sentence(words: str, call: Callable[[], Any]) -> None:
    with pytest.raises(UserError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_count_as_numbers() -> None:
    whole, real = np.int64(2), np.float32(0.5)
    assert torch.equal(pooling_weights(whole, (whole, whole)), pooling_weights(2, (2, 2)))  # type: ignore[arg-type]
    one = layer()
    assert torch.equal(one(IMAGE, seed=np.uint64(2**63)), one(IMAGE, seed=2**63))
    assert evaluate(one, PLAIN, PICTURES, batch_size=whole, number_of_spikes=whole).total == 3
    assert constrained(torch.ones(2, 2), real).shape == (2, 2)
