"""Devices without float64, such as mps: checks in float64 go to the CPU. `meta` is used as such a device."""

import torch
from bdfa.model import outputs


def test_float64_is_made_on_the_cpu_where_a_device_lacks_it(monkeypatch) -> None:
    monkeypatch.setattr(outputs, "NARROW", ("meta",))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: torch.zeros(tensor.shape, dtype=tensor.dtype))
    found = outputs.in_float64(torch.zeros(2, 3, device="meta", requires_grad=True))
    assert (found.device.type, found.dtype, found.requires_grad) == ("cpu", torch.float64, False)
    assert outputs.in_float64(torch.zeros(2)).dtype == torch.float64
