r"""The two networks of the original, for inputs of any size.

``mlp``: flatten → [dropout] → {linear → [batch norm] → f → [dropout]} × L → linear.
``conv``: {convolution 5×5 pad 2 → [batch norm] → f → [dropout] → max pool 3×3 stride 2} × 3 → flatten →
{linear → [batch norm] → f → [dropout]} × 2 → linear.

Both end in logits. Layers are named ``linear1``, ``nonlinearity1``, ... so that taps and alignment tables are
readable.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Literal

import torch
from reprokit import UserError
from torch import nn

from bdfa.checks import whole, wholes

Nonlinearity = Literal["tanh", "sigmoid", "relu"]
NONLINEARITIES: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "relu": nn.ReLU}
DropoutMode = Literal["none", "input", "full", "conv"]
CONV_MAPS = (96, 128, 256)
CONV_HIDDEN = (2048, 2048)


class Network(nn.Sequential):
    """A chain of named layers that knows the shape of its input.

    Attributes:
        input_shape: Shape of one sample, without the batch dimension.
        nonlinearity: Name of the hidden nonlinearity.
    """

    input_shape: tuple[int, ...]
    nonlinearity: str


def nonlinearity(name: str) -> nn.Module:
    """Return the module of a hidden nonlinearity.

    Args:
        name: ``"tanh"``, ``"sigmoid"`` (or the original's ``"sigm"``) or ``"relu"``.

    Returns:
        A new module.

    Raises:
        UserError: For an unknown name (the original silently took relu, DEV-3).
    """
    name = "sigmoid" if name == "sigm" else name
    if name not in NONLINEARITIES:
        raise UserError(f"nonlinearity={name!r} is unknown; choose one of {', '.join(NONLINEARITIES)}.")
    return NONLINEARITIES[name]()


def mlp(
    inputs: int | Sequence[int] = 784,
    hidden: Sequence[int] = (800, 800),
    classes: int = 10,
    *,
    nonlinearity_name: str = "tanh",
    dropout_input: float = 0.0,
    dropout_hidden: float = 0.0,
    batchnorm: bool = False,
    bias: bool = True,
) -> Network:
    """Multi-layer perceptron of the original.

    Args:
        inputs: Shape of one sample, or its number of elements.
        hidden: Units of each hidden layer, from the input up.
        classes: Number of class scores.
        nonlinearity_name: Hidden nonlinearity, see `nonlinearity`.
        dropout_input: Probability of dropping an input element (original with ``-dropout 1``: 0.1).
        dropout_hidden: Probability of dropping a hidden unit (original with ``-dropout 1``: 0.5).
        batchnorm: Batch normalisation between each hidden linear layer and its nonlinearity.
        bias: Whether the linear layers have biases.

    Returns:
        The network; input (batch, *inputs), output logits (batch, classes).

    Raises:
        UserError: For sizes or probabilities out of range.
    """
    shape = wholes("inputs", (inputs,) if isinstance(inputs, Integral) else inputs)
    hidden, classes = wholes("hidden", hidden), whole("classes", classes, 2)
    if not shape:
        raise UserError("inputs=() is not allowed; give the shape of a sample, or its number of elements.")
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    _add_dropout(layers, 0, dropout_input)
    width = _add_dense(
        layers, math.prod(shape), hidden, 1, nonlinearity_name, dropout_hidden, batchnorm, bias
    )
    layers["output"] = nn.Linear(width, classes, bias=bias)
    return _network(layers, shape, nonlinearity_name)


def conv(
    input_shape: Sequence[int] = (3, 32, 32),
    classes: int = 10,
    *,
    maps: Sequence[int] = CONV_MAPS,
    hidden: Sequence[int] = CONV_HIDDEN,
    nonlinearity_name: str = "tanh",
    dropout: DropoutMode = "none",
    batchnorm: Literal["none", "all", "second"] = "none",
    bias: bool = True,
) -> Network:
    """Convolutional network of the original, for any image size.

    Args:
        input_shape: (channel, height, width) of one image.
        classes: Number of class scores.
        maps: Feature maps of each convolution.
        hidden: Units of each hidden linear layer.
        nonlinearity_name: Hidden nonlinearity, see `nonlinearity`.
        dropout: ``"full"`` is 0.1 on the input, 0.25 after all convolutions but the last, 0.5 after the last
            convolution and the linear layers; ``"conv"`` is only the 0.25 ones; ``"input"`` only the 0.1.
        batchnorm: After every hidden layer (``"all"``), or only after the second convolution (``"second"``).
        bias: Whether convolutions and linear layers have biases.

    Returns:
        The network; input (batch, channel, height, width), output logits (batch, classes).

    Raises:
        UserError: For sizes out of range, or an image too small for three poolings.
    """
    shape = wholes("input_shape", input_shape)
    if len(shape) != 3:
        raise UserError(f"input_shape={shape} has {len(shape)} numbers; give (channel, height, width).")
    maps, hidden, classes = wholes("maps", maps), wholes("hidden", hidden), whole("classes", classes, 2)
    if dropout not in ("none", "input", "full", "conv"):
        raise UserError(f"dropout={dropout!r} is unknown; choose 'none', 'input', 'full' or 'conv'.")
    if batchnorm not in ("none", "all", "second"):
        raise UserError(f"batchnorm={batchnorm!r} is unknown; choose 'none', 'all' or 'second'.")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    _add_dropout(layers, 0, 0.1 if dropout in ("full", "input") else 0.0)
    channels, height, width = shape
    for k, out in enumerate(maps, 1):
        if min(height, width) < 3:
            raise UserError(
                f"input_shape={shape} is too small: pooling {k} would see {height}×{width}, it needs 3×3."
            )
        layers[f"convolution{k}"] = nn.Conv2d(channels, out, 5, padding=2, bias=bias)
        if batchnorm == "all" or (batchnorm == "second" and k == 2):
            layers[f"batchnorm{k}"] = nn.BatchNorm2d(out, eps=1e-3, momentum=0.1)
        layers[f"nonlinearity{k}"] = nonlinearity(nonlinearity_name)
        last = 0.5 if dropout == "full" else 0.0
        _add_dropout(layers, k, last if k == len(maps) else 0.25 if dropout in ("full", "conv") else 0.0)
        layers[f"pool{k}"] = nn.MaxPool2d(3, 2)
        channels, height, width = out, (height - 3) // 2 + 1, (width - 3) // 2 + 1
    layers["flatten"] = nn.Flatten()
    drop = 0.5 if dropout == "full" else 0.0
    features = channels * height * width
    features = _add_dense(
        layers, features, hidden, len(maps) + 1, nonlinearity_name, drop, batchnorm == "all", bias
    )
    layers["output"] = nn.Linear(features, classes, bias=bias)
    return _network(layers, shape, nonlinearity_name)


def _add_dense(
    layers: OrderedDict[str, nn.Module],
    features: int,
    hidden: Sequence[int],
    first: int,
    name: str,
    dropout: float,
    batchnorm: bool,
    bias: bool,
) -> int:
    for k, width in enumerate(hidden, first):
        layers[f"linear{k}"] = nn.Linear(features, width, bias=bias)
        if batchnorm:
            layers[f"batchnorm{k}"] = nn.BatchNorm1d(width, eps=1e-5, momentum=0.1)
        layers[f"nonlinearity{k}"] = nonlinearity(name)
        _add_dropout(layers, k, dropout)
        features = width
    return features


def _add_dropout(layers: OrderedDict[str, nn.Module], index: int, probability: float) -> None:
    if not (isinstance(probability, Real) and 0.0 <= probability < 1.0):
        raise UserError(f"dropout probability {probability} is not in 0 ≤ p < 1.")
    if probability > 0:
        layers[f"dropout{index}"] = nn.Dropout(probability)


def _network(layers: OrderedDict[str, nn.Module], shape: tuple[int, ...], name: str) -> Network:
    network = Network(layers)
    network.input_shape = shape
    network.nonlinearity = "sigmoid" if name == "sigm" else name
    return network


def example_input(network: nn.Module, batch: int = 2) -> torch.Tensor | None:
    """Zeros of the network's input shape, or None when the network does not state one."""
    shape = getattr(network, "input_shape", None)
    if shape is None:
        return None
    parameter = next(network.parameters())
    return torch.zeros(batch, *shape, dtype=parameter.dtype, device=parameter.device)
