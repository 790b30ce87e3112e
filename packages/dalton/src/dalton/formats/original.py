"""The original's `saved_model_epoch_<e>.pth`, read into a network and written from one.

The file is a dictionary {epoch, model_state_dict, optimizer_state_dict, loss}. Names of weights, i from 0:

    _spk_conv_lyrs.i._conv.weight    conv i + 1
    _spk_dense_lyrs.i._fc.weight     dense i + 1
    _otp_lyr._fc.weight              class matrix (SurrGD)
    _conv_rdt_lyrs.i..., _dense_rdt_lyrs.i...
                                     readouts (v-TFR, DALTON); the last is the class matrix

DALTON's other readouts repeat the weights of the layer above, which they share; v-TFR's are matrices (class, unit).
The part between the number and `weight` in a readout's name is not known for certain: any name is read, `_conv`
and `_fc` are written. Files are loaded with torch's `weights_only`, so nothing in them is executed. The
optimizer's state is ignored, because the original creates its optimizer anew every epoch.

Source: the files that the original program writes at the end of a run.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from reprokit import UserError
from reprokit.files.atomic import write_file
from reprokit.files.reading import guarded
from torch import Tensor

from dalton.model.architectures import ARCHITECTURES, Architecture, ConvSpec, Downsample, architecture
from dalton.model.network import SpikingCNN

_KEY = re.compile(
    r"_(spk_conv|spk_dense|conv_rdt|dense_rdt)_lyrs\.(\d+)\.(?:.*\.)?weight|_otp_lyr\.(?:.*\.)?weight"
)


@dataclass(frozen=True)
class OriginalCheckpoint:
    """The content of a file of the original.

    Args:
        epoch: The epoch after which it was written.
        method: ``surrgd``, ``tfr`` or ``dalton``, inferred from the readouts.
        weights: By dalton's names: conv1, ..., dense1, ..., out, and with tfr readout_conv1, ...
    """

    epoch: int
    method: str
    weights: dict[str, Tensor]

    def architecture(self, downsample: Downsample = "avgpool") -> Architecture:
        """Return the architecture of these weights; the file does not say how it was down-sampled.

        Args:
            downsample: As in the run. An architecture other than A1 to A5 is assumed to be down-sampled in
                every convolution, without dropout.
        """
        convs, dense = _sizes(self.weights)
        for name in ARCHITECTURES:
            known = architecture(name, downsample)
            if [(c.channels, c.kernel) for c in known.conv] == convs and list(known.dense) == dense:
                return known
        stride, pool = (2, 1) if downsample == "stride" else (1, 2)
        own = tuple(ConvSpec(channels, kernel, stride, pool) for channels, kernel in convs)
        return Architecture(own, tuple(dense), "max" if downsample == "maxpool" else "avg")

    def network(
        self, input_shape: tuple[int, int, int], downsample: Downsample = "avgpool", **constants: Any
    ) -> SpikingCNN:
        """Return a network with these weights.

        Args:
            input_shape: (channel, height, width).
            downsample: As in the run.
            constants: Arguments of `SpikingCNN`: tau_current, gain, bias, ...

        Raises:
            UserError: The weights do not fit images of this shape.
        """
        classes = len(self.weights["out"])
        dtype = self.weights["out"].dtype
        net = SpikingCNN(self.architecture(downsample), input_shape, classes, dtype=dtype, **constants)
        load_weights(net, self.weights)
        return net


def read_original(path: str | Path) -> OriginalCheckpoint:
    """Read a `saved_model_epoch_<e>.pth` of the original, of any of its five methods.

    Raises:
        UserError: The file is damaged, contains more than numbers and tensors, or lacks the original's names.
    """
    path = Path(path)
    with guarded(path, "a checkpoint of plain tensors"):
        content = torch.load(path, map_location="cpu", weights_only=True)
    state = content.get("model_state_dict") if isinstance(content, dict) else None
    if not isinstance(state, Mapping):
        raise UserError(f"{path}: has no model_state_dict; it is not a checkpoint of the original")
    found: dict[str, dict[int, Tensor]] = {}
    for key, value in state.items():
        match = _KEY.fullmatch(key)
        if match is None or not isinstance(value, Tensor):
            raise UserError(f"{path}: {key} is not a weight of the original's networks")
        found.setdefault(match[1] or "otp", {})[int(match[2] or 0)] = value
    for kind in ("spk_conv", "spk_dense"):
        if sorted(found.get(kind, {})) != list(range(len(found.get(kind, {})))) or kind not in found:
            raise UserError(f"{path}: the weights _{kind}_lyrs are missing or not numbered from 0")
    method, weights = _named(path, found)
    return OriginalCheckpoint(int(content.get("epoch", 0)), method, weights)


def write_original(
    net: SpikingCNN,
    path: str | Path,
    method: str,
    epoch: int,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    loss: float = 0.0,
) -> Path:
    """Write a network in the original's format.

    Args:
        net: The network.
        path: The file; replaced when the new one is complete.
        method: ``surrgd``, ``tfr`` or ``dalton``.
        epoch: Number of the epoch.
        optimizer: Its state is stored too; an empty one otherwise.
        loss: Loss of the epoch.

    Returns:
        The path.

    Raises:
        UserError: Unknown method.
    """
    if method not in ("surrgd", "tfr", "dalton"):
        raise UserError(f"method is {method!r}; it must be surrgd, tfr or dalton")
    names = net.layer_names
    convs = sum(name.startswith("conv") for name in names)
    state: dict[str, Tensor] = {}
    for index, name in enumerate(names):
        kind, number, leaf = ("conv", index, "_conv") if index < convs else ("dense", index - convs, "_fc")
        state[f"_spk_{kind}_lyrs.{number}.{leaf}.weight"] = net.weight(name).detach()
        if method == "surrgd":
            continue
        above = net.weight(names[index + 1]) if index + 1 < len(names) else net.out
        readout = net.readout(name) if method == "tfr" else above
        leaf = "_conv" if readout.dim() == 4 else "_fc"
        state[f"_{kind}_rdt_lyrs.{number}.{leaf}.weight"] = readout.detach()
    if method == "surrgd":
        state["_otp_lyr._fc.weight"] = net.out.detach()
    content = {
        "epoch": epoch,
        "model_state_dict": state,
        "optimizer_state_dict": {} if optimizer is None else optimizer.state_dict(),
        "loss": loss,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return write_file(path, buffer.getvalue())


def load_weights(net: SpikingCNN, weights: Mapping[str, Tensor]) -> None:
    """Copy weights by name into a network; readouts that are missing there stay as they are.

    Raises:
        UserError: A name or shape that the network does not have, or a missing layer.
    """
    own = dict(net.state_dict())
    missing = sorted({*net.layer_names, "out"} - set(weights))
    if missing or set(weights) - set(own):
        raise UserError(
            f"the network has the weights {', '.join(own)}; missing: {missing or 'none'}, unknown: "
            f"{sorted(set(weights) - set(own)) or 'none'}"
        )
    for name, value in weights.items():
        if value.shape != own[name].shape:
            raise UserError(
                f"{name} has shape {tuple(value.shape)}, the network needs {tuple(own[name].shape)}; check the "
                "input shape, the architecture and the down-sampling"
            )
    net.load_state_dict({**own, **weights})


def _named(path: Path, found: dict[str, dict[int, Tensor]]) -> tuple[str, dict[str, Tensor]]:
    """Return the method and the weights by dalton's names."""
    layers = {f"conv{i + 1}": found["spk_conv"][i] for i in sorted(found["spk_conv"])}
    layers |= {f"dense{i + 1}": found["spk_dense"][i] for i in sorted(found["spk_dense"])}
    if "otp" in found:
        return "surrgd", {**layers, "out": found["otp"][0]}
    readouts = {f"conv{i + 1}": value for i, value in found.get("conv_rdt", {}).items()}
    readouts |= {f"dense{i + 1}": value for i, value in found.get("dense_rdt", {}).items()}
    names = list(layers)
    if names[-1] not in readouts:
        raise UserError(f"{path}: has no class matrix: neither _otp_lyr nor the last of _dense_rdt_lyrs")
    weights = {**layers, "out": readouts[names[-1]]}
    lower = {name: readouts[name] for name in names[:-1] if name in readouts}
    shared = all(torch.equal(lower[n], layers[names[k + 1]]) for k, n in enumerate(names[:-1]) if n in lower)
    if shared:
        return "dalton", weights
    return "tfr", {**weights, **{f"readout_{name}": value for name, value in lower.items()}}


def _sizes(weights: Mapping[str, Tensor]) -> tuple[list[tuple[int, int]], list[int]]:
    """Return (channels, kernel) of the convolutions and the sizes of the dense layers."""
    convs = [(len(w), int(w.shape[2])) for name, w in weights.items() if name.startswith("conv")]
    return convs, [len(w) for name, w in weights.items() if name.startswith("dense")]
