"""Neuron, surrogate, encoder and layer files of the original program: the expected value of every array."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from dalton import LayerSpec, NeuronParameters, encode, run, spike, surrogate_derivative
from dalton.data.encoding import EncoderParameters
from dalton.engines.choice import choose_engine
from dalton.engines.packing import Layout
from dalton.model.architectures import Architecture, ConvSpec
from dalton.model.neuron import after_reset, threshold_distance
from golden_methods import Golden, Value
from torch import Tensor

FLOAT = (0.0, 3e-5)
Checked = tuple[dict[str, Value], set[str]]


def _time_major(value: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(value).transpose(0, 1).to(dtype).contiguous()


def _batch_major(value: Tensor) -> np.ndarray:
    return value.detach().transpose(0, 1).numpy()


def check_surrogate(golden: Golden, engine: str) -> Checked:
    del engine
    scale = json.loads(str(golden["config_json"]))["surrogate_scale"]
    delta = torch.from_numpy(golden["x"]).requires_grad_()
    spikes = spike(delta, scale)
    spikes.backward(torch.from_numpy(golden["upstream"]))
    assert delta.grad is not None
    by_hand = surrogate_derivative(delta.detach(), scale) * torch.from_numpy(golden["upstream"])
    assert torch.equal(by_hand, delta.grad)
    values = {"spike": Value(spikes.detach().numpy(), 0.0), "grad_x": Value(delta.grad.numpy(), *FLOAT)}
    return values, {"x", "upstream", "config_json"}


def check_encoder(golden: Golden, engine: str) -> Checked:
    values, inputs = {}, set()
    for key in [k for k in golden if "_gain_bias_" in k]:
        kind, number = key.split("_gain_bias_")
        gain, bias = (float(v) for v in golden[key])
        x = torch.from_numpy(golden[f"{kind}_x_{number}"])
        wanted = golden[f"{kind}_spk_{number}"]
        steps = wanted.shape[1]
        frames = x[:, None].expand(wanted.shape) if kind == "static" else x
        frames = frames.transpose(0, 1)
        parameters = EncoderParameters(gain, bias)
        chosen = choose_engine(engine, torch.device("cpu"))  # pyright: ignore
        signal, _ = chosen.encode(
            x if kind == "static" else frames.contiguous(), parameters,
            steps if kind == "static" else None, torch.float32, None,
        )  # fmt: skip
        whole = chosen.dense(signal, tuple(x.shape[-3:]), torch.float32)
        values[f"{kind}_spk_{number}"] = Value(_batch_major(whole), 0.0)
        voltage, voltages = torch.zeros_like(frames[0]), []
        for frame in frames:
            _, voltage = encode(frame[None], parameters, voltage=voltage)
            voltages.append(voltage)
        values[f"{kind}_v_{number}"] = Value(_batch_major(torch.stack(voltages)), *FLOAT)
        inputs |= {key, f"{kind}_x_{number}"}
    return values, inputs


def _prefixes(golden: Golden, last: str) -> list[str]:
    return [key.removesuffix(last) for key in golden if key.endswith(last)]


def _gradient(online: bool, engine: str, u: Tensor, g: Tensor, neuron: NeuronParameters) -> Tensor:
    """dLoss/dI; online each step for itself."""
    chosen = choose_engine(engine, torch.device("cpu"))  # pyright: ignore
    parts = u.split(1) if online else [u]
    errors = g.clone().split(1) if online else [g.clone()]
    return torch.cat([chosen.errors(a, b, neuron, None, 1.0) for a, b in zip(parts, errors, strict=True)])


def check_neuron(golden: Golden, engine: str) -> Checked:
    """By the plain functions; the engines' neurons are part of their layers, see check_convlayer."""
    del engine
    values, inputs = {}, set()
    for prefix in _prefixes(golden, "_tau"):
        tau = float(golden[f"{prefix}_tau"])
        neuron = NeuronParameters(None if np.isnan(tau) else tau)
        u, _ = run(_time_major(golden[f"{prefix}_current"]), neuron)
        v = after_reset(u, neuron)
        c = u - torch.cat([torch.zeros_like(v[:1]), v[:-1]])
        e = _gradient(
            prefix.startswith("rtrl"), "torch", u, _time_major(golden[f"{prefix}_upstream"]), neuron
        )
        values |= {
            f"{prefix}_spike": Value(_batch_major((u > neuron.threshold).float()), 0.0),
            f"{prefix}_dv": Value(_batch_major(threshold_distance(u, neuron)), *FLOAT),
            f"{prefix}_v": Value(_batch_major(v), *FLOAT),
            f"{prefix}_c": Value(_batch_major(c), *FLOAT),
            f"{prefix}_grad_current": Value(_batch_major(e), *FLOAT),
        }
        inputs |= {f"{prefix}_{key}" for key in ("tau", "current", "upstream")}
    return values, inputs


def check_convlayer(golden: Golden, engine: str) -> Checked:
    values, inputs = {}, set()
    chosen = choose_engine(engine, torch.device("cpu"))  # pyright: ignore
    for prefix in _prefixes(golden, "_config_json"):
        config = json.loads(str(golden[f"{prefix}_config_json"]))
        neuron = NeuronParameters(config["tau_cur"])
        x, weight = _time_major(golden[f"{prefix}_x"]), torch.from_numpy(golden[f"{prefix}_w"])
        conv = ConvSpec(len(weight), config["kernel"], config["stride"] or 1, config["pool"] or 1)
        arch = Architecture((conv,), (1,), "max" if config["pool_type"] == "MaxPool" else "avg")
        spec = replace(arch.layers(tuple(x.shape[2:]))[0], name="conv2")  # pyright: ignore
        below = LayerSpec("conv1", "conv", spec.input_shape, spec.input_shape, ())
        layer = chosen.bind(spec, weight)
        signal = chosen.undropped(_to_engine(x * 2, engine), NeuronParameters(), below)
        assert torch.equal(chosen.dense(signal, spec.input_shape, torch.float32), x)
        fired = layer.fire(signal, neuron, None, None)
        g = _to_engine(_time_major(golden[f"{prefix}_upstream"]), engine)
        e = _gradient(config["setting"] == "rtrl", engine, fired.u, g, neuron)
        u = chosen.plain(fired.u, spec)
        spikes = chosen.dense(fired.signal, spec.output_shape, torch.float32)
        values |= {
            f"{prefix}_spike": Value(_batch_major(spikes), 0.0),
            f"{prefix}_dv": Value(_batch_major(threshold_distance(u, neuron)), *FLOAT),
            f"{prefix}_grad_w": Value(layer.weight_gradient(signal, e, fired.switches).numpy(), *FLOAT),
            f"{prefix}_grad_x": Value(
                _batch_major(chosen.plain(layer.adjoint(e, fired.switches), below)), *FLOAT
            ),
        }
        inputs |= {f"{prefix}_{key}" for key in ("config_json", "x", "w", "upstream")}
    return values, inputs


def _to_engine(value: Tensor, engine: str) -> Tensor:
    if engine == "torch":
        return value
    layout = Layout.of(tuple(value.shape[2:]), 16)
    result = value.new_zeros((*value.shape[:2], *layout.shape))
    maps = value.reshape(*value.shape[:2], layout.channels, layout.height, layout.width)
    result[..., : layout.channels] = maps.movedim(2, -1)
    return result


UNITS: dict[str, Callable[[Golden, str], Checked]] = {
    "unit_surrogate": check_surrogate,
    "unit_encoder": check_encoder,
    "unit_neuron": check_neuron,
    "unit_convlayer": check_convlayer,
}
