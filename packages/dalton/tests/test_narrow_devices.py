"""Devices without float64, such as mps: nothing of a step is computed in it there. The CPU stands in for one."""

import dalton
import pytest
import torch
from small_runs import DROPPED
from torch.utils._python_dispatch import TorchDispatchMode


class NoFloat64(TorchDispatchMode):
    """Refuses tensors of float64, as mps does."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else [found]:
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64:
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return found


@pytest.mark.parametrize("method", dalton.METHODS)
def test_a_step_and_a_prediction_need_no_float64(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = dalton.SpikingCNN(DROPPED, (1, 8, 8), 4)
    images, optimizer = (
        torch.rand(3, 1, 8, 8),
        torch.optim.SGD(dalton.trainable(net, method).values(), lr=0.1),
    )
    options = {"steps": 4, "engine": "torch", "dropout_masks": {}}
    with NoFloat64(), pytest.raises(TypeError, match="float64"):  # what it does elsewhere, in float64
        dalton.train_step(method, net, optimizer, images, torch.arange(3), **options)
    monkeypatch.setattr("dalton.checks.NARROW", ("mps", "cpu"))
    with NoFloat64():
        result = dalton.train_step(method, net, optimizer, images, torch.arange(3), **options)
        outputs = dalton.predict(net, images, 4, engine="torch")
    assert result.class_outputs.shape == outputs.shape == (4, 3, 4)
