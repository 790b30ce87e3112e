r"""Initial weights and feedback matrices.

Forward weights and biases: U(−1/√fan_in, 1/√fan_in), fan_in the inputs of a linear unit or channels·kernel of
a convolution. Feedback with ``scale`` X ≠ 0: U(−X, X). With X = 0, direct matrices are U(±1/√units), and layer
feedback has the distribution of the initial forward weights, U(±1/√fan_in).

For tanh and sigmoid the original sets weights to zero: all of them for rule dfa, those of layers with a
feedback matrix for rule fa. Its fa with relu and X = 0 starts with F = W, which is back-propagation (DEV-4:
profile ``fixed`` draws F independently).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from reprokit import UserError
from torch import Tensor, nn

from bdfa.checks import choice, real, whole
from bdfa.rules.protocol import LearningRule
from bdfa.rules.table import Rule, get_rule

Distribution = Literal["uniform", "normal", "orthogonal"]
Zero = Literal["auto", "zero", "uniform"]


def generator(seed: int | None) -> torch.Generator:
    """Return a new CPU generator started from `seed`; None takes a seed from the global generator.

    Raises:
        UserError: For a seed that is not a whole number from 0 to 2**64 - 1.
    """
    if seed is None:
        seed = int(torch.randint(2**62, ()))
    return torch.Generator().manual_seed(whole("seed", seed, 0, 2**64 - 1))


def fan_in(weight: Tensor) -> int:
    """Number of inputs of one unit: the product of all dimensions of a weight but the first."""
    return math.prod(weight.shape[1:])


def feedback_matrix(
    classes: int,
    units: int,
    *,
    random: torch.Generator,
    scale: float = 0.0,
    distribution: Distribution = "uniform",
) -> Tensor:
    """Draw a direct feedback matrix `B`, shape (classes, units), dtype float64.

    Args:
        classes: Rows, the elements of the error.
        units: Columns, the receiving units.
        random: Source of random numbers.
        scale: Half-width X of the uniform range; 0 means 1/√units. The other distributions get the same
            variance, X²/3.
        distribution: ``"uniform"``, ``"normal"``, or ``"orthogonal"`` (orthogonal rows).

    Returns:
        The matrix.

    Raises:
        UserError: For an unknown distribution, sizes that are not positive numbers, or a negative or non-finite scale.
    """
    classes, units = whole("classes", classes, 1), whole("units", units, 1)
    if not isinstance(random, torch.Generator):
        raise UserError(
            f"random={random!r} is not allowed; give torch.Generator().manual_seed(1), for example."
        )
    scale = real("feedback scale", scale, least=0)
    bound = scale or 1 / math.sqrt(units)
    if distribution == "uniform":
        return torch.empty(classes, units, dtype=torch.float64).uniform_(-bound, bound, generator=random)
    normal = torch.empty(classes, units, dtype=torch.float64).normal_(generator=random)
    if distribution == "normal":
        return normal * (bound / math.sqrt(3))
    if distribution == "orthogonal":
        orthogonal = torch.linalg.qr(normal.T if units >= classes else normal).Q
        rows = orthogonal.T if units >= classes else orthogonal
        return rows * (bound / math.sqrt(3) * math.sqrt(max(units, classes)))
    raise UserError(
        f"feedback distribution {distribution!r} is unknown; choose 'uniform', 'normal' or 'orthogonal'."
    )


@torch.no_grad()
def initialise(
    model: nn.Module,
    rule: str | Rule = "bp",
    *,
    nonlinearity: str = "tanh",
    seed: int = 0,
    zero: Zero = "auto",
    batchnorm: Literal["ones", "uniform"] = "ones",
) -> nn.Module:
    """Give linear, convolution and batch-norm layers the original's initial values, in place.

    Call it before the network is wrapped: rule fa copies its feedback from the layers' random weights.

    Args:
        model: Network whose layers are set, in the order of registration.
        rule: Rule that will train it; decides which layers ``zero="auto"`` sets to zero.
        nonlinearity: Hidden nonlinearity; relu networks are never zeroed.
        seed: Seed of the draws.
        zero: ``"auto"`` (the original), ``"uniform"`` (never zero) or ``"zero"`` (as for tanh).
        batchnorm: Batch-norm weights: ``"ones"``, or U(0,1) as Torch7 drew them (DEV-5).

    Returns:
        The same model.

    Raises:
        UserError: For an unknown option.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"model is a {type(model).__name__}; give a torch.nn.Module.")
    choice("zero", zero, ("auto", "zero", "uniform"))
    choice("batchnorm", batchnorm, ("ones", "uniform"))
    random = generator(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            bound = 1 / math.sqrt(fan_in(module.weight))
            for parameter in (module.weight, module.bias):
                if parameter is not None:
                    _draw_uniform(parameter, -bound, bound, random)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            if batchnorm == "uniform":
                _draw_uniform(module.weight, 0.0, 1.0, random)
            else:
                module.weight.fill_(1.0)
            module.bias.zero_()
    if zero == "zero" or (zero == "auto" and nonlinearity in ("tanh", "sigmoid", "sigm")):
        zero_weights(model, rule)
    return model


@torch.no_grad()
def zero_weights(model: nn.Module, rule: str | Rule | LearningRule) -> None:
    """Zero the layers that the original zeroes for `rule`: dfa and bdfa all, fa those with feedback, others none.

    A multi-layer perceptron's first linear layer owns no feedback matrix and keeps its weights under fa; a
    convolutional network is zeroed entirely.
    """
    family = get_rule(rule)
    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.modules.conv._ConvNd)]
    if family.name == "fa" and layers and isinstance(layers[0], nn.Linear):
        layers = layers[1:]
    elif family.name != "fa" and family.family != "direct":
        return
    for layer in layers:
        layer.weight.zero_()
        if layer.bias is not None:
            layer.bias.zero_()


def _draw_uniform(parameter: Tensor, low: float, high: float, random: torch.Generator) -> None:
    values = torch.empty(parameter.shape, dtype=torch.float64).uniform_(low, high, generator=random)
    parameter.copy_(values)
