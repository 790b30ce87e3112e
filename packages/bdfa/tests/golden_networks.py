"""Networks, weights and feedback of one golden file, and the values of one training step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import bdfa
import numpy as np
import torch
from torch import Tensor, nn

Arrays = Mapping[str, np.ndarray]
Pairs = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """The content of a file's name: rule, criterion, nonlinearity and variant."""

    rule: str
    criterion: str
    nonlinearity: str
    variant: str = ""
    faithful: bool = True


class FixedMask(nn.Module):
    """Dropout with a recorded mask."""

    mask: Tensor | None = None

    def forward(self, values: Tensor) -> Tensor:
        return values if self.mask is None else values * self.mask.view_as(values)


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array))


def layer_names(net: nn.Module) -> list[str]:
    return [name for name, module in net.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def network(golden: Arrays, case: Case) -> bdfa.Network:
    """Network of the file's sizes with its initial weights, float64."""
    weights = []
    while (key := f"init.W{len(weights) + 1}") in golden:
        weights.append(golden[key])
    maps = [len(w) for w in weights if w.ndim == 4]
    hidden = [len(w) for w in weights[len(maps) : -1]]
    classes, shape = len(weights[-1]), golden["x"].shape[2:]
    options = {"nonlinearity_name": case.nonlinearity}
    if maps:
        net = bdfa.conv(shape, classes, maps=maps, hidden=hidden, **options)
    else:
        drop = {"dropout_input": 0.1, "dropout_hidden": 0.5} if case.variant == "drop" else {}
        net = bdfa.mlp(shape, hidden, classes, batchnorm=case.variant == "bn", **drop, **options)
    net.double()
    for name, module in list(net.named_children()):
        if isinstance(module, nn.Dropout):
            setattr(net, name, FixedMask())
    copy_in(net, golden, "init.")
    return net


@torch.no_grad()
def copy_in(net: nn.Module, golden: Arrays, prefix: str) -> None:
    for k, name in enumerate(layer_names(net), 1):
        layer = net.get_submodule(name)
        layer.weight.copy_(tensor(golden[f"{prefix}W{k}"]))
        layer.bias.copy_(tensor(golden[f"{prefix}b{k}"]))
        if f"{prefix}gamma{k}" in golden:
            norm = net.get_submodule(f"batchnorm{k}")
            norm.weight.copy_(tensor(golden[f"{prefix}gamma{k}"]))
            norm.bias.copy_(tensor(golden[f"{prefix}beta{k}"]))


def wrap(golden: Arrays, case: Case, **options: object) -> bdfa.FeedbackModel:
    """The file's network under its rule, with its feedback."""
    net = network(golden, case)
    model = bdfa.FeedbackModel(
        net, case.rule, criterion=case.criterion, example=tensor(golden["x"][0]),
        profile="faithful" if case.faithful else "fixed", **options,
    )  # fmt: skip
    with torch.no_grad():
        for key, value in feedback(model).items():
            value.copy_(tensor(golden[f"init.{key}"]))
    return model


def set_masks(net: nn.Module, golden: Arrays, step: int) -> None:
    index = 1
    for module in net.modules():
        if isinstance(module, FixedMask):
            module.mask = tensor(golden[f"step{step}.dropmask{index}"])
            index += 1


def feedback(model: bdfa.FeedbackModel) -> dict[str, Tensor]:
    """Feedback tensors by their golden name."""
    if model.rule.name == "bfa":
        return {f"FB{j}": weight for j, weight in enumerate(model.feedback.weights, 1)}
    if model.rule.family == "direct":
        return {f"B{k}": matrix for k, matrix in enumerate(model.feedback.matrices, 1)}
    layers = [model.model.get_submodule(name) for name in layer_names(model.model)]
    return {f"B{k}": layer.feedback for k, layer in enumerate(layers, 1) if hasattr(layer, "feedback")}


@dataclass
class Trace:
    """Layer outputs of the last forward pass, with their gradients."""

    outputs: dict[str, Tensor] = field(default_factory=dict)

    def attach(self, net: nn.Module) -> Trace:
        for name, module in net.named_children():
            module.register_forward_hook(self._hook(name))
        return self

    def _hook(self, name: str):
        def hook(_module, _inputs, output):
            if output.requires_grad:
                output.retain_grad()
            self.outputs[name] = output

        return hook


def parameters(net: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by their golden name (W1, b1, gamma1, beta1, ...)."""
    found: dict[str, nn.Parameter] = {}
    for k, name in enumerate(layer_names(net), 1):
        layer = net.get_submodule(name)
        found |= {f"W{k}": layer.weight, f"b{k}": layer.bias}
    for name, module in net.named_children():
        if name.startswith("batchnorm"):
            k = name.removeprefix("batchnorm")
            found |= {f"gamma{k}": module.weight, f"beta{k}": module.bias}
    return found
