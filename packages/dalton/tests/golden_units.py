"""Neuron, surrogate, encoder and layer files of the original program: what every array should be."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import torch
from dalton import NeuronParameters, current_gradient, encode, run, spike, surrogate_derivative
from dalton.architectures import Architecture, ConvSpec
from dalton.encoder import EncoderParameters
from dalton.engine import choose_engine
from dalton.neuron import after_reset, threshold_distance
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
        whole = choose_engine(engine, torch.device("cpu")).encode(  # pyright: ignore
            x if kind == "static" else frames.contiguous(), parameters,
            steps if kind == "static" else None, torch.float32, None,
        )[0]  # fmt: skip
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
    """dLoss/dI; online each step for itself. By the oracle and by the engine, which must agree."""
    chosen = choose_engine(engine, torch.device("cpu"))  # pyright: ignore

    def both(u: Tensor, g: Tensor) -> Tensor:
        plain = current_gradient(u, g, neuron)
        other = chosen.errors(u, g.clone(), neuron, None, 1.0)
        torch.testing.assert_close(other, plain, rtol=1e-5, atol=1e-6)
        return other

    if not online:
        return both(u, g)
    return torch.cat([both(u[t : t + 1], g[t : t + 1]) for t in range(len(u))])


def check_neuron(golden: Golden, engine: str) -> Checked:
    values, inputs = {}, set()
    for prefix in _prefixes(golden, "_tau"):
        tau = float(golden[f"{prefix}_tau"])
        neuron = NeuronParameters(None if np.isnan(tau) else tau)
        currents = _time_major(golden[f"{prefix}_current"])
        fired = choose_engine(engine, torch.device("cpu")).fire(currents.clone(), neuron, None, None)  # pyright: ignore
        plain, _ = run(currents, neuron)
        torch.testing.assert_close(fired.u, plain, rtol=0, atol=1e-6)
        v = after_reset(fired.u, neuron)
        c = fired.u - torch.cat([torch.zeros_like(v[:1]), v[:-1]])
        g = _time_major(golden[f"{prefix}_upstream"])
        e = _gradient(prefix.startswith("rtrl"), engine, fired.u, g, neuron)
        values |= {
            f"{prefix}_spike": Value(_batch_major(fired.spikes), 0.0),
            f"{prefix}_dv": Value(_batch_major(threshold_distance(fired.u, neuron)), *FLOAT),
            f"{prefix}_v": Value(_batch_major(v), *FLOAT),
            f"{prefix}_c": Value(_batch_major(c), *FLOAT),
            f"{prefix}_grad_current": Value(_batch_major(e), *FLOAT),
        }
        inputs |= {f"{prefix}_{key}" for key in ("tau", "current", "upstream")}
    return values, inputs


def check_convlayer(golden: Golden, engine: str) -> Checked:
    values, inputs = {}, set()
    for prefix in _prefixes(golden, "_config_json"):
        config = json.loads(str(golden[f"{prefix}_config_json"]))
        neuron = NeuronParameters(config["tau_cur"])
        x, weight = _time_major(golden[f"{prefix}_x"]), torch.from_numpy(golden[f"{prefix}_w"])
        conv = ConvSpec(len(weight), config["kernel"], config["stride"] or 1, config["pool"] or 1)
        arch = Architecture((conv,), (1,), "max" if config["pool_type"] == "MaxPool" else "avg")
        spec = arch.layers(tuple(x.shape[2:]))[0]  # pyright: ignore
        chosen = choose_engine(engine, torch.device("cpu"))  # pyright: ignore
        layer = chosen.bind(spec, weight)
        currents, switches = layer.current(x)
        fired = chosen.fire(currents, neuron, None, None)
        g = _time_major(golden[f"{prefix}_upstream"])
        e = _gradient(config["setting"] == "rtrl", engine, fired.u, g, neuron)
        values |= {
            f"{prefix}_spike": Value(_batch_major(fired.spikes), 0.0),
            f"{prefix}_dv": Value(_batch_major(threshold_distance(fired.u, neuron)), *FLOAT),
            f"{prefix}_grad_w": Value(layer.weight_gradient(x, e, switches).numpy(), *FLOAT),
            f"{prefix}_grad_x": Value(_batch_major(layer.adjoint(e, switches)), *FLOAT),
        }
        inputs |= {f"{prefix}_{key}" for key in ("config_json", "x", "w", "upstream")}
    return values, inputs


UNITS: dict[str, Callable[[Golden, str], Checked]] = {
    "unit_surrogate": check_surrogate,
    "unit_encoder": check_encoder,
    "unit_neuron": check_neuron,
    "unit_convlayer": check_convlayer,
}
