"""Devices without float64, such as mps: its sums are taken on the CPU. `meta` stands in for one."""

import torch
from sbs.engines import reference


def test_sums_are_taken_on_the_cpu_where_a_device_lacks_float64(monkeypatch) -> None:
    summed = []
    monkeypatch.setattr(reference, "NARROW", ("meta",))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: summed.append(1) or torch.ones(tensor.shape))
    found = reference.cumulative(torch.ones(2, 4, device="meta"))
    assert (found.device.type, found.dtype, found.shape) == ("meta", torch.float32, (2, 4))
    assert summed == [1]
