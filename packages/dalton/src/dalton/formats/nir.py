"""A trained network as a graph of the Neuromorphic Intermediate Representation (NIR); needs nir.

    input -> encoder_scale (Conv2d) -> encoder (CubaLIF) -> conv1 (Conv2d) -> conv1_neurons (CubaLIF) -> ... -> out

NIR describes neurons by differential equations; readers integrate them in their own Euler steps,

    I_t = I_{t-1} + (h / tau_syn) (w_in S_t - I_{t-1}),    v_t = v_{t-1} + (h / tau_mem) (r I_t - v_{t-1}),
    spike and v = 0 if v_t > threshold,

snnTorch always with h = 1e-4 s; SpikingJelly with h = 1e-4 s and Norse with h = 1e-3 s by default. The
parameters are chosen for steps of h so that this is dalton's neuron: tau_syn = h / (1 - d) and w_in = 1 / (1 - d)
give the current filter c_t = d c_{t-1} + I; tau_mem = 2^40 h and r = 2^40 give an integrator whose leak is below the
resolution of float32. Thresholds are strict in all of them. A reader with another h produces other spikes,
mostly without a warning.

To this extent the models agree: spikes are equal except for rounding of the current filter (1 part in 10^7).
They differ as follows:

- dalton clips negative potentials at 0, NIR has no such neuron. A network whose potentials never become
  negative (for instance one without negative weights) gives the same spikes directly. Any other network, and so
  every trained one, does after `clip_at_zero` of the module that snnTorch, Norse or SpikingJelly made from the graph.
- Soft reset (NIR resets to a fixed potential) and max-pooling (NIR has no such node) cannot be exported.
- Dropout is left out: the graph is the network as it is evaluated.

Mean-pooling is folded into the convolution before it: kernel k + (p - 1) s, stride s p, the average of the shifted
kernels. Dense layers are convolutions whose kernel covers the map, so spikes and class outputs are (unit, 1, 1):
readers disagree on whether the dimensions of NIR's Flatten count the batch.

Source: Pedersen et al. 2024, Nature Communications 15, "Neuromorphic intermediate representation".
"""

from __future__ import annotations

import importlib
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reprokit import UserError
from reprokit.files.atomic import write_file
from torch import Tensor, nn

from dalton.model.architectures import LayerSpec
from dalton.model.network import SpikingCNN

SNNTORCH_DT = 1e-4  # s, fixed in snnTorch's reader
NORSE_DT = 1e-3  # s, the default of Norse's reader
SPIKINGJELLY_DT = 1e-4  # s, the default of SpikingJelly's reader
READERS = {  # time-step, and the Python expression that reads the file
    "snntorch": (SNNTORCH_DT, "snntorch.import_nir.import_from_nir(nir.read(file))"),
    "norse": (NORSE_DT, "norse.torch.from_nir(nir.read(file), dt={dt:g})"),
    "spikingjelly": (
        SPIKINGJELLY_DT,
        "spikingjelly.activation_based.nir_exchange.import_from_nir(file, dt={dt:g})",
    ),
}
_INTEGRATOR = 2.0**40  # membrane time constant in steps


def to_nir(net: SpikingCNN, dt: float = NORSE_DT, *, encoder: bool = True) -> Any:
    """Return a network as a `nir.NIRGraph`.

    Args:
        net: A network with hard reset and without max-pooling.
        dt: Duration h in s of the reader's time-step: 1e-4 for snnTorch; for Norse and SpikingJelly their `dt`, by
            default 1e-3 and 1e-4. One step of the reader is one step of the network, whatever the network's own `dt`.
        encoder: Whether the graph starts with the encoder and takes images or counts (channel, height, width), the
            same image in every step; otherwise it takes the encoder's spikes.

    Raises:
        UserError: nir is not installed, `dt` not above 0, soft reset, or max-pooling.
    """
    nir = _nir()
    _check(net, dt)
    nodes: dict[str, Any] = {"input": nir.Input(np.array(net.input_shape))}
    if encoder:
        channels = net.input_shape[0]
        scale = net.encoder.gain * np.eye(channels)[:, :, None, None]
        bias = np.full(channels, net.encoder.bias)
        nodes["encoder_scale"] = _convolution(nir, net.input_shape, scale, bias=bias)
        nodes["encoder"] = _neurons(nir, net.input_shape, 0.0, 1.0, dt)
    shape = net.input_shape
    for layer in net.layers:
        nodes[layer.name] = _convolution(nir, shape, *_kernel(layer, net.weight(layer.name)))
        shape = layer.output_shape if layer.kind == "conv" else (*layer.output_shape, 1, 1)
        nodes[f"{layer.name}_neurons"] = _neurons(nir, shape, net.neuron.decay, net.neuron.threshold, dt)
    nodes["out"] = _convolution(nir, shape, _values(net.out)[:, :, None, None])
    nodes["output"] = nir.Output(np.array((net.classes, 1, 1)))
    names = list(nodes)
    return nir.NIRGraph(nodes, list(pairwise(names)))


def write_nir(net: SpikingCNN, path: str | Path, dt: float = NORSE_DT, *, encoder: bool = True) -> Path:
    """Write a network as a NIR file; arguments as `to_nir`.

    Args:
        net: The network.
        path: The file, usually .nir; it is replaced when the new one is complete.
        dt: The reader's time-step in s.
        encoder: Whether the encoder is part of the graph.

    Returns:
        The path.

    Raises:
        UserError: As `to_nir`.
    """
    buffer = io.BytesIO()
    _nir().write(buffer, to_nir(net, dt, encoder=encoder))
    return write_file(path, buffer.getvalue())


def clip_at_zero(module: nn.Module) -> int:
    """Make the neurons of a module that another library made from a graph clip negative potentials at 0.

    The potential after every step becomes max(v, 0), as in dalton; the encoder's potential is left alone.

    Args:
        module: What ``snntorch.import_nir.import_from_nir``, ``norse.torch.from_nir`` or
            ``spikingjelly.activation_based.nir_exchange.import_from_nir`` (single steps) returned.

    Returns:
        Number of layers that clip from now on.

    Raises:
        UserError: No neurons of the three libraries are found, or SpikingJelly's run many steps at once.
    """
    if not isinstance(module, nn.Module):
        raise UserError(
            f"the module is {type(module).__name__}; give what a library's function for NIR returned"
        )
    count = 0
    for name, part in module.named_modules():
        if name.split(".")[-1] == "encoder" or ".encoder." in f".{name}.":
            continue
        hook = _CLIPS.get(type(part).__name__)
        if hook is not None:
            if hook is _clip_spikingjelly:
                _check_single_step(part)
            part.register_forward_hook(hook)
            count += 1
    if not count:
        raise UserError(
            "the module has no neurons that snnTorch, Norse or SpikingJelly made from a NIR graph of dalton; give what "
            "their function for NIR returned"
        )
    return count


def _clip_snntorch(part: Any, _: Any, __: Any) -> None:
    part.mem = part.mem.clamp(min=0)


def _clip_norse(_: Any, __: Any, output: Any) -> Any:
    spikes, state = output
    return spikes, state._replace(v=state.v.clamp(min=0))


def _clip_spikingjelly(part: Any, _: Any, output: Any) -> Any:
    _check_single_step(part)
    spikes, state = output
    named = importlib.import_module("spikingjelly.activation_based.base").named_memories(part.module)
    names = [name.rpartition(".")[2] for name, _ in named]
    return spikes, tuple(
        value.clamp(min=0) if name == "v" else value for name, value in zip(names, state, strict=True)
    )


def _check_single_step(part: Any) -> None:
    if part.module.step_mode != "s":
        raise UserError(
            "SpikingJelly's neurons take many steps at once (step_mode 'm'), between which nothing can be clipped; "
            "read the graph with step_mode='s'"
        )


_CLIPS = {"Synaptic": _clip_snntorch, "LIFBoxCell": _clip_norse, "_NIRStatefulModule": _clip_spikingjelly}


def how_to_read(reader: str, dt: float, *, signed: bool) -> list[str]:
    """Return the lines of Python that read an exported file, to show to users.

    Args:
        reader: One of `READERS`.
        dt: The time-step it was written for, s.
        signed: Whether the network has negative weights, so that potentials must be clipped.
    """
    lines = [f"{reader}, time-steps of {dt:g} s: module = {READERS[reader][1].format(dt=dt)}"]
    if signed:
        lines.append("negative potentials are clipped in dalton, not in NIR: dalton.clip_at_zero(module)")
    return lines


def _check(net: SpikingCNN, dt: float) -> None:
    if isinstance(dt, str | bool) or not 0 < dt < float("inf"):
        raise UserError(f"dt is {dt}; give the reader's time-step in s, above 0")
    if net.neuron.reset != "hard":
        raise UserError(
            "NIR's neurons reset to a fixed potential; a network with reset='soft' cannot be exported"
        )
    for layer in net.layers:
        if layer.max_pooled:
            raise UserError(
                f"NIR has no max-pooling, so {layer.name} cannot be exported; train with downsample='avgpool' or "
                "'stride'"
            )


def _values(weight: Tensor) -> np.ndarray:
    return weight.detach().cpu().double().numpy()


def _kernel(layer: LayerSpec, weight: Tensor) -> tuple[np.ndarray, int, tuple[int, int]]:
    """Return the kernel (out, in, side, side), stride and padding that give a layer's currents."""
    if layer.kind == "dense":
        return _covering_kernel(layer, _values(weight))
    values, pool, stride = weight.detach().cpu().double(), layer.pool, layer.stride
    side = values.shape[2] + (pool - 1) * stride
    folded = torch.zeros(*values.shape[:2], side, side, dtype=torch.float64)
    for row in range(0, pool * stride, stride):
        for column in range(0, pool * stride, stride):
            folded[:, :, row : row + values.shape[2], column : column + values.shape[3]] += values / pool**2
    return folded.numpy(), stride * pool, (0, 0)


def _covering_kernel(layer: LayerSpec, weight: np.ndarray) -> tuple[np.ndarray, int, tuple[int, int]]:
    """Return a dense layer as a square kernel that covers its input map.

    nir infers shapes for square kernels only, so the shorter side of a map is padded; with a stride equal to
    the kernel's side, the output is 1 x 1 even if the padding is one more than needed.
    """
    shape = layer.input_shape if len(layer.input_shape) == 3 else (*layer.input_shape, 1, 1)
    channels, height, width = shape
    side = max(height, width)
    top, left = (side - height + 1) // 2, (side - width + 1) // 2
    kernel = np.zeros((len(weight), channels, side, side))
    kernel[:, :, top : top + height, left : left + width] = weight.reshape(len(weight), *shape)
    return kernel, side, (top, left)


def _convolution(
    nir: Any,
    shape: tuple[int, ...],
    weight: np.ndarray,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
    bias: np.ndarray | None = None,
) -> Any:
    return nir.Conv2d(
        input_shape=tuple(shape[1:]),
        weight=weight,
        stride=(stride, stride),
        padding=padding,
        dilation=(1, 1),
        groups=1,
        bias=np.zeros(len(weight)) if bias is None else bias,
    )


def _neurons(nir: Any, shape: tuple[int, ...], decay: float, threshold: float, dt: float) -> Any:
    """Return neurons with current filter `decay` and no leak for Euler steps of `dt`."""

    def filled(value: float) -> np.ndarray:
        return np.full(shape, value)

    return nir.CubaLIF(
        tau_syn=filled(dt / (1 - decay)),
        tau_mem=filled(_INTEGRATOR * dt),
        r=filled(_INTEGRATOR),
        v_leak=filled(0.0),
        v_threshold=filled(threshold),
        v_reset=filled(0.0),
        w_in=filled(1 / (1 - decay)),
    )


def _nir() -> Any:
    try:
        import nir
    except ImportError as error:
        raise UserError("NIR export needs nir; pip install nir") from error
    return nir
