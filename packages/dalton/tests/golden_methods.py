"""Training of the original program, replayed: the expected value of every array of a method file."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import numpy as np
import torch
from dalton import Architecture, ConvSpec, SpikingCNN, observe, predict, train_step, trainable
from dalton import classes as to_classes
from torch import Tensor

Golden = dict[str, np.ndarray]
NAME = re.compile(r"(surrgd|tfr|dalton)_(bptt|rtrl)__\w+")
BOOKKEEPING = {"config_json"}


class Value(NamedTuple):
    """Our value of an array and how close it must be: |difference| <= absolute + relative max|golden|."""

    ours: np.ndarray
    absolute: float
    relative: float = 0.0


class Case(NamedTuple):
    config: dict[str, Any]
    method: str
    setting: str
    net: SpikingCNN
    masks: dict[str, Tensor]

    @property
    def double(self) -> bool:
        return self.net.dtype == torch.float64


def make_case(golden: Golden) -> Case:
    config = json.loads(str(golden["config_json"]))
    method, setting = config["method"].split("_")
    conv = tuple(
        ConvSpec(c["out"], c["kernel"], c["stride"] or 1, c["pool"] or 1, c["dropout"] or 0.0)
        for c in config["conv"]
    )
    pool = "max" if config["pool_type"] == "MaxPool" else "avg"
    net = SpikingCNN(
        Architecture(conv, tuple(config["dense"]), pool), tuple(config["input"]), config["num_classes"],
        tau_current=config["tau_cur"], dt=config["dt"], gain=config["gain"], bias=config["bias"],
        threshold=config["v_threshold"], surrogate_scale=config["surrogate_scale"],
        dtype=torch.float64 if config.get("dtype") == "float64" else torch.float32,
    )  # fmt: skip
    with torch.no_grad():
        for name in [*net.layer_names, "out"]:
            if f"w0_{name}" in golden:
                net.weight(name).copy_(torch.from_numpy(golden[f"w0_{name}"]))
            if f"w0_readout_{name}" in golden:
                net.readout(name).copy_(torch.from_numpy(golden[f"w0_readout_{name}"]))
    masks = {k[5:]: torch.from_numpy(golden[k]) for k in golden if k.startswith("mask_")}
    return Case(config, method, "online" if setting == "rtrl" else "bptt", net, masks)


def time_major(inputs: np.ndarray, case: Case) -> tuple[Tensor, int | None]:
    tensor = torch.from_numpy(inputs)
    if case.config["input_kind"] == "event_frames":
        return tensor.transpose(0, 1).contiguous(), None
    return tensor, case.config["time_steps"]


def check_method(golden: Golden, engine: str) -> tuple[dict[str, Value], set[str]]:
    """Replay the file; returns values by key and the keys that are inputs."""
    case = make_case(golden)
    net, config = case.net, case.config
    names = list(trainable(net, case.method))
    assert sorted(names) == sorted(config["trainable"]), "the trained weights differ"
    optimizer = torch.optim.Adam(trainable(net, case.method).values(), lr=config["learning_rate"])
    record = ("encoder", "delta", "v", "c", "spikes", "readout", "target", "gradient", "weight")
    losses, weights, gradients, first = [], [], [], None
    for batch in range(config["n_train_batches"]):
        inputs, steps = time_major(golden["x"][batch], case)
        masks = {name: mask[batch].transpose(0, 1).contiguous() for name, mask in case.masks.items()}
        result = train_step(
            case.method, net, optimizer, inputs, torch.from_numpy(golden["y"][batch]), steps, case.setting,
            burn_in=config["burn_in"] or 0, dropout_masks=masks, engine=engine, record=record,  # pyright: ignore
        )  # fmt: skip
        first = first or result
        losses.append(np.atleast_1d(np.asarray(result.loss)))
        weights.append({name: net.weight(name).detach().clone().numpy() for name in names})
        gradients.append({name: result.records["gradient"][name].numpy() for name in names})
    assert first is not None
    values = _inside(golden, case, first.records)
    tight = (1e-9, 1e-9)
    values["loss"] = Value(np.stack(losses), *(tight if case.double else (0.0, 3e-5)))
    values["pred"] = Value(first.predictions.numpy(), 0.0)
    gradient = tight if case.double else (0.0, 5e-3 if case.method == "dalton" else 5e-5)
    weight = tight if case.double else (1e-4, 0.0)
    for name in names:
        values[f"w_{name}"] = Value(np.stack([w[name] for w in weights]), *weight)
        ours = gradients[0][name]
        if case.setting == "online":
            values[f"grad_{name}"] = Value(ours, *gradient)
            values[f"wstep_{name}"] = Value(first.records["weight"][name].numpy(), *weight)
        else:
            values[f"grad_{name}"] = Value(ours[0], *gradient)
            values[f"grad_all_{name}"] = Value(np.concatenate([g[name] for g in gradients]), *gradient)
    values |= _test(golden, case, engine)
    inputs = {k for k in golden if re.fullmatch(r"w0_\w+|mask_\w+|x|y|x_test|y_test", k)}
    return values, inputs | BOOKKEEPING


def _inside(golden: Golden, case: Case, records: dict[str, dict[str, Tensor]]) -> dict[str, Value]:
    """Values of the time courses of batch 0."""
    values = {"enc_spk": Value(_batch_major(records["encoder"]["input"]), 0.0)}
    analog = (1e-9, 1e-9) if case.double else (1e-4, 2e-6)
    keys = {"delta": "dv", "v": "v", "c": "c", "spikes": "spk"}
    for record, key in keys.items():
        for name, value in records[record].items():
            exact = record == "spikes"
            values[f"{key}_{name}"] = Value(_batch_major(value), *((0.0, 0.0) if exact else analog))
    for name, value in records["readout"].items():
        values[f"logits_{name}"] = Value(_batch_major(value), *analog)
    for name, value in records.get("target", {}).items():
        ours = _batch_major(value)
        wanted = golden.get(f"target_{name}")
        if wanted is not None and wanted.ndim == 3:  # the original flattens one of them
            ours = ours.reshape(*ours.shape[:2], -1)
        values[f"target_{name}"] = Value(ours, *((1e-9, 1e-9) if case.double else (5e-4, 0.0)))
    return values


def _test(golden: Golden, case: Case, engine: str) -> dict[str, Value]:
    inputs, steps = time_major(golden["x_test"], case)
    burn_in = case.config["burn_in"] or 0
    outputs = predict(case.net, inputs, steps, burn_in, engine)  # pyright: ignore
    again, _ = observe(case.net, inputs, steps, burn_in, engine, record=("spikes",))  # pyright: ignore
    assert torch.equal(outputs, again)
    found = to_classes(outputs)
    accuracy = (found.numpy() == golden["y_test"]).mean()
    # float32 weights may differ by a tenth of an Adam step, so do outputs.
    tolerance = (1e-9, 1e-9) if case.double else (2e-3, 2e-3)
    return {
        "test_logits": Value(_batch_major(outputs), *tolerance),
        "test_pred": Value(found.numpy(), 0.0),
        "test_acc": Value(np.asarray(accuracy), 1e-9),
    }


def _batch_major(value: Tensor) -> np.ndarray:
    return value.detach().transpose(0, 1).numpy()
