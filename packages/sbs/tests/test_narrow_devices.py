"""Devices without compiled code: plain PyTorch and one warning, or one sentence that refuses.

`meta` is used as a device without float64, such as mps, whose sums are taken on the CPU.
"""

import subprocess
import sys

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


def test_a_gpu_without_triton_takes_plain_pytorch_and_says_so_once(monkeypatch) -> None:
    from sbs.engines import gpu

    kernel._warn.cache_clear()
    monkeypatch.setattr(gpu, "kernels", None)
    device = torch.device("cuda:0")
    with pytest.warns(
        RuntimeWarning, match="torch reference: Triton is missing .* on cuda:0; pip install"
    ) as said:
        assert not any(kernel.on_gpu("auto", device) for _ in range(2))
    assert len(said) == 1
    assert not kernel.on_gpu("reference", device)  # warnings are errors
    with pytest.raises(UserError, match="engine is 'kernel', but Triton is missing"):
        kernel.on_gpu("kernel", device)


@pytest.mark.parametrize("shape", [(10, 16385), (2**20, 2**11)])
def test_a_layer_that_is_too_large_for_the_gpus_kernels_is_named(monkeypatch, shape: tuple[int, int]) -> None:
    from sbs.engines import gpu

    monkeypatch.setattr(gpu, "kernels", gpu)  # anything but None
    device = torch.device("cuda:0")
    assert kernel.on_gpu("auto", device, (2**16, 16384))
    assert not kernel.on_gpu("auto", torch.device("cpu"), shape)
    with pytest.raises(
        UserError, match=f"{shape[0]} components and {shape[1]} neurons; .* at most 16384 neurons"
    ):
        kernel.on_gpu("kernel", device, shape)


@pytest.mark.slow
def test_triton_is_not_imported_for_a_layer_on_the_cpu() -> None:
    program = """
import sys, torch
from sbs import SbSLayer
SbSLayer(1, 2, 4, 2, 5)(torch.rand(1, 1, 4, 4)).sum().backward()
print([name for name in sys.modules if name.partition(".")[0] == "triton" or "triton_kernels" in name])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
