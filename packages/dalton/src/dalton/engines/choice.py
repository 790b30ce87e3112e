"""Which engine runs: the compiled one on the CPU; plain PyTorch if it is missing, elsewhere, or on request."""

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
from dalton.names import Convolution, EngineName

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

_NO_DEVICE = (
    "dalton has no kernels for device {!r}: plain PyTorch runs there; engine torch silences this warning."
)


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=5)


def choose_engine(
    name: EngineName,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    beyond: str | None = None,
    convolution: Convolution = "full",
) -> Engine:
    """Return an engine for a device.

    Args:
        name: "auto" takes the compiled engine if it can. Otherwise the torch engine runs, which on a GPU has
            its own kernels for neurons if Triton is present; a warning, once, says if it runs without a kernel.
        device: Device of the weights.
        dtype: Type of the weights.
        beyond: A clause that says what the compiled engine cannot do; None: it can do everything needed.
        convolution: Digits of the convolutions, see :mod:`dalton.model.precision`; fewer than "full" are those of the
            torch engine.

    Raises:
        UserError: Unknown name, "native" where it cannot run, a type other than float32 and float64, or fewer digits
            for float64.
    """
    device = torch.device(device)
    if name not in ("auto", "native", "torch"):
        raise UserError(f"engine is {name!r}; choose auto, native or torch.")
    if dtype not in (torch.float32, torch.float64):
        raise UserError(
            f"the weights are {dtype}; the engines compute in float32 and float64, so use .float()."
        )
    if convolution != "full":
        if dtype != torch.float32:
            raise UserError(
                f"convolution is {convolution!r} and the weights are {dtype}; it takes float32, or use 'full'."
            )
        beyond = beyond or f"convolution is {convolution!r}, which the compiled engine does not compute"
    if name == "torch" or (name == "auto" and device.type != "cpu"):
        if device.type == "cuda" and not gpu_kernels.available(device):
            _warn_once(_NO_TRITON)
        elif name == "auto" and device.type != "cuda":
            _warn_once(_NO_DEVICE.format(device.type))
        return TorchEngine(device, convolution)
    if device.type != "cpu":
        raise UserError(f"engine 'native' runs on the CPU; the network is on {device}, choose engine torch.")
    if beyond is not None:
        if name == "native":
            raise UserError(f"{beyond}; choose engine torch.")
        _warn_once(f"{beyond}: the torch engine runs instead, several times slower.")
        return TorchEngine(device, convolution)
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
    return choose_engine(name, network.device, network.dtype, beyond=beyond, convolution=network.convolution)
