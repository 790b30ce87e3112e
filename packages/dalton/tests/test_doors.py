"""What data, options and export refuse: invalid arguments give one sentence, NumPy's numbers are accepted."""

import dalton
import numpy as np
import pytest
import torch
from dalton import TrainConfig
from dalton.data import load, splits_of
from dalton.data.frames import FrameOptions
from dalton.formats.nir import to_nir
from reprokit import UserError, run_id
from small_runs import TINY, small

IMAGES, LABELS = torch.rand(20, 1, 8, 8), torch.arange(20) % 2
NAN = float("nan")


@pytest.mark.parametrize(
    "call",
    [
        lambda: load("digits", steps=2.5),
        lambda: load("digits", steps=True),
        lambda: load("digits", steps="5"),
        lambda: load("digits", test_steps=NAN),
        lambda: load("digits", seed=-1),
        lambda: load("digits", seed=1.5),
        lambda: load("digits", validation=NAN),
        lambda: load("digits", validation=True),
        lambda: load("digits", validation="0.1"),
        lambda: load("digits", train_size=2.5),
        lambda: load("digits", test_size="3"),
        lambda: load("digits-events", denoise_us=-1),
        lambda: load("digits-events", spatial_factor=0.0),
        lambda: load("digits-events", spatial_factor=NAN),
        lambda: load("digits-events", time_window=0.5),
        lambda: splits_of((IMAGES, LABELS), seed=None),
        lambda: splits_of((IMAGES, LABELS), validation=-0.5),
        lambda: splits_of((IMAGES, LABELS), train_size=1.0),
        lambda: splits_of((IMAGES, LABELS), steps=0),
        lambda: list(load("digits").train.batches(2.5)),
        lambda: list(load("digits").train.batches(0)),
        lambda: dalton.evaluate(dalton.SpikingCNN(TINY, (1, 8, 8), 10), load("digits").test, batch_size=-1),
        lambda: FrameOptions(denoise_us=0),
        lambda: to_nir(dalton.SpikingCNN(TINY, (1, 8, 8), 10), "1e-3"),
        lambda: to_nir(dalton.SpikingCNN(TINY, (1, 8, 8), 10), NAN),
        lambda: dalton.clip_at_zero(None),
        lambda: TrainConfig(steps=2.5),
        lambda: TrainConfig(steps=True),
        lambda: TrainConfig(epochs="3"),
        lambda: TrainConfig(batch_size=1e1),
        lambda: TrainConfig(lr="fast"),
        lambda: TrainConfig(lr=NAN),
        lambda: TrainConfig(seed=None),
        lambda: TrainConfig(shuffle=1),
        lambda: TrainConfig(method=3),
        lambda: TrainConfig(sensor=(3,)),
        lambda: TrainConfig(sensor=(3.5, 4)),
        lambda: TrainConfig(sensor=(0, 4)),
        lambda: TrainConfig(validation=NAN),
        lambda: TrainConfig(lr_decay=NAN),
    ],
)
def test_nonsense_is_one_sentence(call):
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_taken():
    """They give the same run as Python's."""
    plain = small(lr=0.5, train_size=50, seed=3)
    given = small(lr=np.float64(0.5), train_size=np.int64(50), seed=np.uint8(3))
    assert run_id(given.content()) == run_id(plain.content())
    one, other = (
        load("digits", steps=s, train_size=n, seed=k) for s, n, k in ((5, 20, 1), np.array([5, 20, 1]))
    )
    assert torch.equal(one.train.rows, other.train.rows)
    assert one.train.steps == other.train.steps
    assert len(splits_of((IMAGES, LABELS), seed=np.int32(1), train_size=np.int64(10)).train) == 10
    assert TrainConfig(sensor=[3, 4]).sensor == (3, 4)


def test_a_run_of_data_from_python_says_that_they_are_missing(tmp_path):
    data = splits_of((IMAGES, LABELS), name="mine")
    dalton.train(
        small(dataset="mine", epochs=0, steps=None, train_size=None, test_size=None, out=tmp_path / "run"),
        data=data,
    )
    with pytest.raises(UserError, match="its data 'mine' are missing; give them again as --data PATH or, if"):
        dalton.evaluate_run(tmp_path / "run")
    assert dalton.evaluate_run(tmp_path / "run", data=data).accuracy >= 0
