"""From options to a network on a device, and its weights from and to checkpoints and files."""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reprokit import UserError
from reprokit.config import device_name, nearest
from reprokit.files.atomic import write_file
from reprokit.files.reading import array_of, guarded

from dalton.config import TrainConfig
from dalton.model.architectures import ARCHITECTURES, Architecture
from dalton.model.initialisation import WEIGHT_SCALE
from dalton.model.network import SpikingCNN

PREFIX = "net/"  # marks a network's weights among a checkpoint's arrays


def choose_device(name: str) -> torch.device:
    """Device of a name: auto, cpu, cuda:K, or the original's GPU number K (without that GPU: the CPU, with a warning).

    Raises:
        UserError: For anything else, or a named GPU that does not exist.
    """
    return torch.device(device_name(name, torch.cuda.device_count() if torch.cuda.is_available() else 0))


def find_architecture(name: str) -> Architecture | str:
    """``A1`` to ``A5`` as they are; an import path ``package.module:name`` becomes the object it names.

    Raises:
        UserError: Unknown name, or an import that fails or does not give an Architecture.
    """
    if name in ARCHITECTURES:
        return name
    module, colon, attribute = name.partition(":")
    if not colon:
        raise UserError(
            f"--arch is {name!r}; it must be one of {', '.join(ARCHITECTURES)}{nearest(name, ARCHITECTURES)}, or an "
            "import path package.module:name of an Architecture."
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"--arch {name!r} cannot be imported ({error}); check module and name.") from error
    if not isinstance(found, Architecture):
        raise UserError(f"--arch {name!r} is a {type(found).__name__}; it must be a dalton.Architecture.")
    return found


def architecture_file(name: str) -> Path | None:
    """Return the file that holds an architecture ``package.module:name``; None for ours, or without a file."""
    module = importlib.import_module(name.partition(":")[0]) if ":" in name else None
    path = getattr(module, "__file__", None)
    return None if path is None else Path(path)


def build_network(config: TrainConfig, input_shape: tuple[int, int, int], classes: int) -> SpikingCNN:
    """Network of a run with its initial weights, on the CPU.

    Args:
        config: Options of network, encoder, neurons and initial weights.
        input_shape: (channel, height, width) of the data.
        classes: Number of classes.

    Raises:
        UserError: An architecture too deep for the images, or unsuitable initial weights.
    """
    options: dict[str, Any] = {
        "downsample": config.downsample, "tau_current": config.tau_cur, "gain": config.gain, "bias": config.bias,
        "threshold": config.threshold, "surrogate_scale": config.surrogate_scale, "reset": config.reset,
        "readout_init": config.readout_init, "seed": config.seed, "dtype": getattr(torch, config.dtype),
        "convolution": config.convolution,
    }  # fmt: skip
    net = SpikingCNN(find_architecture(config.arch), input_shape, classes, **options)
    _scale(net, config)
    if config.init_weights is not None:
        _initialise(net, config.init_weights)
    return net


def _scale(net: SpikingCNN, config: TrainConfig) -> None:
    """Apply the weight scale to everything that is drawn from the normal distribution."""
    factor = config.weight_scale / WEIGHT_SCALE
    if factor == 1:
        return
    normal = config.readout_init == "normal"
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.startswith("dense") or (normal and not name.startswith("conv")):
                tensor.mul_(factor)


def _initialise(net: SpikingCNN, path: Path) -> None:
    """Copy the weights of an .npz file into the network; the file must have all weights; readouts are optional."""
    with (
        guarded(path, "an .npz file of weights", "write it again"),
        np.load(path, allow_pickle=False) as file,
    ):
        found = {name: array_of(file[name]) for name in file.files}
    load_weights(net, found, path, optional=("readout_",))


def save_weights(net: SpikingCNN, path: str | Path) -> Path:
    """Write weights and readouts by name as an .npz file for the option `init_weights`."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name.removeprefix(PREFIX): array for name, array in weights_of(net).items()}
    np.savez(buffer, **arrays)
    return write_file(path, buffer.getvalue())


def weights_of(net: SpikingCNN) -> dict[str, np.ndarray]:
    """Weights and readouts as arrays, named as in :class:`SpikingCNN` with the prefix ``net/``."""
    return {f"{PREFIX}{name}": t.detach().cpu().numpy().copy() for name, t in net.state_dict().items()}


def load_weights(
    net: SpikingCNN, arrays: Mapping[str, np.ndarray], source: object, optional: tuple[str, ...] = ()
) -> None:
    """Copy arrays into a network.

    Args:
        net: The network.
        arrays: Arrays by name, with or without the prefix ``net/``; others are left alone.
        source: Where they come from, for messages.
        optional: Prefixes of names that may be absent.

    Raises:
        UserError: A weight is absent or has the wrong shape.
    """
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            array = arrays.get(f"{PREFIX}{name}", arrays.get(name))
            if array is None:
                if name.startswith(optional) and optional:
                    continue
                raise UserError(
                    f"{source} lacks the weight {name}; use the options the weights were made with."
                )
            if tuple(array.shape) != tuple(tensor.shape):
                raise UserError(
                    f"{source}: weight {name} has shape {tuple(array.shape)}, the network {tuple(tensor.shape)}; "
                    "use the options the weights were made with."
                )
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))
