"""Devices without float64, such as mps: its sums are taken on the CPU. `meta` is used as such a device."""

import pytest
import torch
from reprokit import UserError
from sbs.engines import kernel, reference


def test_sums_are_taken_on_the_cpu_where_a_device_lacks_float64(monkeypatch) -> None:
    summed = []
    monkeypatch.setattr(reference, "NARROW", ("meta",))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: summed.append(1) or torch.ones(tensor.shape))
    found = reference.cumulative(torch.ones(2, 4, device="meta"))
    assert (found.device.type, found.dtype, found.shape) == ("meta", torch.float32, (2, 4))
    assert summed == [1]


def test_a_device_without_the_kernel_takes_plain_pytorch_and_says_so_once() -> None:
    kernel._warn.cache_clear()
    device = torch.device("mps")
    reason = "layer is on mps" if kernel.kernel_available() else "kernel is missing"
    with pytest.warns(RuntimeWarning, match=reason) as said:
        assert not any(kernel.use_kernel("auto", device) for _ in range(2))
    assert len(said) == 1
    assert not kernel.use_kernel("reference", device)  # warnings are errors
    with pytest.raises(UserError, match=f"engine is 'kernel', but .*{reason}"):
        kernel.use_kernel("kernel", device)
