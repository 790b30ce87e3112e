"""The original's weight files, read and written.

``Weight_L<layer>_S<step>.npy`` holds weights (I, J), ``EpsXY_L<layer>_S<step>.npy`` epsilon_xy (X, Y).
SbS layers are counted from 0, pooling ones included; ordinary torch stages between them do not count. File
names are compared by number: the original's own pattern ``Weight_L1*`` also matches layers 10 and 11
(DEV-27).
"""

import io
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from reprokit import UserError
from reprokit.files import write_array, write_file
from reprokit.files.reading import array_of
from torch import Tensor, nn

from sbs.model.layer import SbSLayer
from sbs.model.networks import sbs_layers

KINDS = ("Weight", "EpsXY")


def save_original(
    network: nn.Module, weight_path: str | Path, epsilon_path: str | Path, step: int
) -> list[Path]:
    """Write every SbS layer's weights and epsilon_xy as float64 files that the original program reads.

    Args:
        network: Any module that contains SbS layers.
        weight_path: Folder of the weight files; created if missing.
        epsilon_path: Folder of the epsilon files; created if missing.
        step: Number after ``_S``.

    Returns:
        The paths written.
    """
    written = []
    for index, layer in enumerate(sbs_layers(network)):
        for kind, folder, value in (
            ("Weight", Path(weight_path), layer.weights),
            ("EpsXY", Path(epsilon_path), layer.epsilon_xy),
        ):
            path = folder / f"{kind}_L{index}_S{step}.npy"
            written.append(write_array(path, value.detach().cpu().to(torch.float64).numpy()))
    return written


def load_step(network: nn.Module, weight_path: str | Path, epsilon_path: str | Path, step: int) -> list[Path]:
    """Load the files of one step; layers that were never trained need no file, because the original writes none.

    Raises:
        UserError: No file of that step exists, or one does not fit its layer.
    """
    files: dict[tuple[str, int], Path] = {}
    for kind, folder in (("Weight", weight_path), ("EpsXY", epsilon_path)):
        for index in range(len(sbs_layers(network))):
            path = Path(folder) / f"{kind}_L{index}_S{step}.npy"
            if path.is_file():
                files[kind, index] = path
    if not any(kind == "Weight" for kind, _ in files):
        raise UserError(
            f"no file Weight_L*_S{step}.npy in {weight_path}; steps there: {_steps(Path(weight_path))}"
        )
    missing = [
        index
        for index, layer in enumerate(sbs_layers(network))
        if not layer.is_pooling_layer and ("Weight", index) not in files
    ]
    if missing:
        raise UserError(
            f"{weight_path} lacks Weight_L{missing[0]}_S{step}.npy, the weights of layer {missing[0]}"
        )
    return _assign(network, files)


def load_overload(network: nn.Module, folder: str | Path) -> list[Path]:
    """Load the single file per layer and kind found in a folder; layers without one keep their values.

    Raises:
        UserError: The folder is missing or contains no such file, a layer has several, a file names a layer the
            network does not have, or one does not fit its layer.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"the folder of previous weights {folder} does not exist")
    count = len(sbs_layers(network))
    found: dict[tuple[str, int], list[Path]] = {}
    for path in sorted(folder.glob("*.npy")):
        match = re.match(r"(Weight|EpsXY)_L(\d+)(?!\d)", path.name)
        if match:
            found.setdefault((match[1], int(match[2])), []).append(path)
    if not found:
        raise UserError(f"{folder} holds no file Weight_L<layer>*.npy or EpsXY_L<layer>*.npy")
    for (kind, index), paths in found.items():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise UserError(f"{folder}: {len(paths)} files for {kind} of layer {index} ({names}); keep one")
        if index >= count:
            raise UserError(f"{paths[0]}: the network has layers 0 to {count - 1} only")
    return _assign(network, {key: paths[0] for key, paths in found.items()})


def load_npz(network: nn.Module, path: str | Path) -> list[str]:
    """Load the arrays ``weights_L<layer>`` (and ``epsilon_xy_L<layer>``, if any) of one .npz file.

    Returns:
        The names of the arrays used.

    Raises:
        UserError: The file is unreadable or lacks the weights of a trainable layer, or one does not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {
                name: array_of(file[name])
                for name in file.files
                if re.fullmatch(r"(weights|epsilon_xy)_L\d+", name)
            }
    except (OSError, ValueError, EOFError, AttributeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    taken = []
    for index, layer in enumerate(sbs_layers(network)):
        name = f"weights_L{index}"
        if name in arrays:
            set_weights(layer, arrays.pop(name), f"{path}, array {name}")
            taken.append(name)
        elif not layer.is_pooling_layer:
            raise UserError(f"{path} lacks the array {name}, the weights of layer {index}")
        if (name := f"epsilon_xy_L{index}") in arrays:
            set_epsilon(layer, arrays.pop(name), f"{path}, array {name}")
            taken.append(name)
    if arrays:
        raise UserError(f"{path}: {sorted(arrays)[0]} belongs to no layer of this network")
    return taken


def save_npz(network: nn.Module, path: str | Path) -> Path:
    """Write every SbS layer's ``weights_L<layer>`` and ``epsilon_xy_L<layer>``, float32, into one .npz file."""
    arrays = {}
    for index, layer in enumerate(sbs_layers(network)):
        arrays[f"weights_L{index}"] = layer.weights.detach().cpu().numpy()
        arrays[f"epsilon_xy_L{index}"] = layer.epsilon_xy.detach().cpu().numpy()
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return write_file(path, buffer.getvalue())


def set_weights(layer: SbSLayer, values: npt.NDArray, source: str) -> None:
    """Check and set a layer's weights (I, J); columns are normalised to sum 1."""
    layer.weights = _checked(values, layer.weights, source)


def set_epsilon(layer: SbSLayer, values: npt.NDArray, source: str) -> None:
    """Check and set a layer's epsilon_xy."""
    layer.epsilon_xy = _checked(values, layer.epsilon_xy, source)


def _assign(network: nn.Module, files: dict[tuple[str, int], Path]) -> list[Path]:
    """Read all files before changing the first layer, then set them all."""
    layers = sbs_layers(network)
    arrays = {}
    for (kind, index), path in files.items():
        try:
            arrays[kind, index] = array_of(np.load(path, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"cannot read {path}: {error}") from error
        current = layers[index].weights if kind == "Weight" else layers[index].epsilon_xy
        _checked(arrays[kind, index], current, str(path))
    for (kind, index), values in arrays.items():
        setter = set_weights if kind == "Weight" else set_epsilon
        setter(layers[index], values, str(files[kind, index]))
    return list(files.values())


def _checked(values: npt.NDArray, like: Tensor, source: str) -> Tensor:
    if values.shape != tuple(like.shape):
        raise UserError(f"{source} has shape {values.shape}; the layer needs {tuple(like.shape)}")
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all() or values.min(initial=0.0) < 0:
        raise UserError(f"{source} must hold finite numbers of 0 or more")
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(like.device)


def _steps(folder: Path) -> str:
    steps = {
        int(match[1])
        for path in folder.glob("*.npy")
        if (match := re.fullmatch(r"Weight_L\d+_S(\d+)\.npy", path.name))
    }
    return ", ".join(map(str, sorted(steps))) or "none"
