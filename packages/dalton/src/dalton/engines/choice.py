"""Which engine runs: the compiled one on the CPU, plain PyTorch where there is none, on a GPU, or on demand."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import torch
from reprokit import UserError

from dalton.engines import gpu as gpu_kernels
from dalton.engines.interface import Engine
from dalton.engines.packing import too_wide
from dalton.engines.reference import TorchEngine
from dalton.names import EngineName

if TYPE_CHECKING:
    from dalton.model.dropout import DropoutMask
    from dalton.model.network import SpikingCNN

try:
    from dalton import _kernel
except ImportError:
    _kernel = None


def kernel_available() -> bool:
    """Return whether the compiled engine was built and can be loaded."""
    return _kernel is not None


_NO_KERNEL = (
    "the compiled dalton engine is missing (no C++ compiler at installation?): the torch engine runs instead, "
    "several times slower; reinstall the package with g++ or clang++ present."
)
_NO_TRITON = (
    "Triton is missing: neurons run step by step on the GPU, several times slower; pip install triton."
)


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=5)


def choose_engine(
    name: EngineName, device: torch.device, dtype: torch.dtype = torch.float32, *, beyond: str | None = None
) -> Engine:
    """Return an engine for a device.

    Args:
        name: "auto" takes the compiled engine where it can; on a CPU it warns once when it cannot. On a GPU
            the torch engine runs, with its own kernels for neurons where Triton is present.
        device: Where the weights are.
        dtype: Of the weights.
        beyond: What the compiled engine cannot do of what is wanted, a clause; None: nothing.

    Raises:
        UserError: Unknown name, "native" where it cannot run, or another type than float32 and float64.
    """
    device = torch.device(device)
    if name not in ("auto", "native", "torch"):
        raise UserError(f"engine is {name!r}; choose auto, native or torch.")
    if dtype not in (torch.float32, torch.float64):
        raise UserError(
            f"the weights are {dtype}; the engines compute in float32 and float64, so use .float()."
        )
    if name == "torch" or (name == "auto" and device.type != "cpu"):
        if device.type == "cuda" and not gpu_kernels.available(device):
            _warn_once(_NO_TRITON)
        return TorchEngine(device)
    if device.type != "cpu":
        raise UserError(f"engine 'native' runs on the CPU; the network is on {device}, choose engine torch.")
    if beyond is not None:
        if name == "native":
            raise UserError(f"{beyond}; choose engine torch.")
        _warn_once(f"{beyond}: the torch engine runs instead, several times slower.")
        return TorchEngine(device)
    if _kernel is not None:
        from dalton.engines.compiled import NativeEngine

        return NativeEngine(_kernel, dtype)
    if name == "native":
        raise UserError(
            "engine 'native' was not built; reinstall with g++ or clang++ present, or choose torch."
        )
    _warn_once(_NO_KERNEL)
    return TorchEngine(device)


def engine_for(
    name: EngineName, network: SpikingCNN, masks: Mapping[str, DropoutMask] | None = None
) -> Engine:
    """Return an engine for a network and its dropout masks (see `choose_engine`)."""
    beyond = too_wide(network.layers)
    if any(mask.scale is None for mask in (masks or {}).values()):
        beyond = "dropout_masks have several values besides 0 in a layer, which the compiled engine cannot do"
    return choose_engine(name, network.device, network.dtype, beyond=beyond)
