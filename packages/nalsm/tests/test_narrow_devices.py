"""Devices without float64, such as mps: limits of weights are computed elsewhere. `meta` is used as one."""

import pytest
import torch
from nalsm import PlasticityParameters, ReferenceLiquid, Simulator
from nalsm.engines import simulator
from nalsm_small import small_network
from reprokit import UserError
from torch.utils._python_dispatch import TorchDispatchMode


class NoFloat64(TorchDispatchMode):
    """Refuses tensors of float64 on the device, as mps does."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and (found.dtype, found.device.type) == (torch.float64, "meta"):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return found


def test_a_plastic_liquid_needs_no_float64_on_its_device(monkeypatch) -> None:
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: torch.zeros(tensor.shape, dtype=tensor.dtype))
    network = small_network()
    with NoFloat64():
        liquid = ReferenceLiquid(network, None, PlasticityParameters(rule="astrocyte"), device="meta")
        state = liquid.start(torch.zeros(int(network.active.sum()), device="meta"), 2)
        spikes = liquid.step(state, torch.zeros(2, network.inputs, device="meta"))
    assert spikes.device.type == "meta"
    assert liquid.low.dtype == torch.float32


def test_a_device_without_the_compiled_engine_takes_plain_pytorch_and_says_so_once() -> None:
    simulator._warn_of_device.cache_clear()
    with pytest.warns(
        RuntimeWarning, match="does not run on device 'meta': plain PyTorch runs there"
    ) as said:
        engines = [Simulator(small_network(), device="meta").engine for _ in range(2)]
    assert len(said) == 1
    engines.append(Simulator(small_network(), engine="torch", device="meta").engine)  # warnings are errors
    assert set(engines) == {"torch"}
    with pytest.raises(UserError, match="engine 'events' runs on the CPU; device is 'meta'"):
        Simulator(small_network(), engine="events", device="meta")
