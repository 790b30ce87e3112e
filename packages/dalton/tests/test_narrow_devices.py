"""Devices without float64, such as mps: steps do not use float64 there. The CPU is used as such a device."""

import dalton
import pytest
import torch
from dalton.engines import choice
from reprokit import UserError
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


def test_a_device_without_kernels_takes_plain_pytorch_and_says_so_once() -> None:
    choice._warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="no kernels for device 'mps': plain PyTorch runs there") as said:
        engines = [choice.choose_engine("auto", torch.device("mps")) for _ in range(2)]
    assert len(said) == 1
    engines.append(choice.choose_engine("torch", torch.device("mps")))  # warnings are errors
    assert {type(engine).__name__ for engine in engines} == {"TorchEngine"}
    with pytest.raises(UserError, match="engine 'native' runs on the CPU; the network is on mps"):
        choice.choose_engine("native", torch.device("mps"))
