"""Devices without float64, such as mps: the limits of weights are worked out elsewhere. `meta` stands in for one."""

import torch
from nalsm import PlasticityParameters, ReferenceLiquid
from nalsm_small import small_network
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
