"""From a configuration to a wrapped network with its initial weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from reprokit import UserError
from reprokit.config import derived_seed, nearest
from reprokit.own_code import check_source, is_import_path, load_factory, source_file
from torch import nn

from bdfa.config import TrainConfig
from bdfa.model.criteria import Criterion
from bdfa.model.networks import NONLINEARITIES, Network, conv, mlp
from bdfa.rules.feedback_model import FeedbackModel
from bdfa.rules.initialisation import initialise, zero_weights
from bdfa.rules.optimisers import make_optimiser
from bdfa.rules.protocol import LearningRule, load_rule

DROPOUT = {  # the original's -dropout 1 and 2: probability on the input, after linear layers, after two maps
    "none": (0.0, 0.0, 0.0),
    "full": (0.1, 0.5, 0.25),
    "input": (0.1, 0.0, 0.0),
    "conv": (0.0, 0.0, 0.25),
}


def build_network(config: TrainConfig, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build the network of a configuration, with random weights; zeros are set later.

    Args:
        config: Options of the section "network".
        input_shape: (channel, height, width) of one image.
        classes: Number of classes.

    Raises:
        UserError: For an import path that does not lead to a factory, or an unknown nonlinearity.
    """
    network = _construct(config, input_shape, classes)
    drawn = config.faithful and config.batchnorm != "none"
    return initialise(
        network, seed=derived_seed(config.seed, "weights"), zero="uniform",
        batchnorm="uniform" if drawn else "ones",
    )  # fmt: skip


def _construct(config: TrainConfig, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    if config.model not in ("mlp", "conv"):
        return _imported(config.model, input_shape, classes)
    known = config.act if config.act in NONLINEARITIES else "tanh"
    p_in, p_hidden, p_conv = dropout_probabilities(config)
    bias = config.bias or config.faithful
    if config.model == "mlp":
        network = mlp(
            input_shape, config.hidden, classes, nonlinearity_name=known, dropout_input=p_in,
            dropout_hidden=p_hidden, batchnorm=config.batchnorm != "none", bias=bias,
        )  # fmt: skip
    else:
        norm = "second" if config.batchnorm == "conv2" else config.batchnorm
        any_dropout = "full" if p_in or p_hidden or p_conv else "none"
        network = conv(
            input_shape, classes, nonlinearity_name=known, dropout=any_dropout, batchnorm=norm, bias=bias
        )
        for name, module in network.named_children():
            if isinstance(module, nn.Dropout):
                number = int(name.removeprefix("dropout"))
                module.p = p_in if number == 0 else p_conv if number <= 2 else p_hidden
    if config.act != known:
        _replace_nonlinearities(network, config.act)
    return network


def dropout_probabilities(config: TrainConfig) -> tuple[float, float, float]:
    """Probabilities on the input, after linear layers (and the last map), after the first two maps."""
    chosen = (config.p_in, config.p_hidden, config.p_conv)
    p_in, p_hidden, p_conv = (
        default if own is None else own for own, default in zip(chosen, DROPOUT[config.dropout], strict=True)
    )
    return p_in, p_hidden, p_conv


def _replace_nonlinearities(network: Network, name: str) -> None:
    kind = getattr(nn, name, None)
    if not (isinstance(kind, type) and kind.__module__ == "torch.nn.modules.activation"):
        names = [*NONLINEARITIES, "LeakyReLU", "ELU", "GELU", "SiLU", "Softplus", "Hardtanh"]
        raise UserError(
            f"--act is {name!r}; it must be tanh, sigmoid, relu or a torch.nn activation such as GELU"
            f"{nearest(name, names)}."
        )
    for child in [child for child, _ in network.named_children() if child.startswith("nonlinearity")]:
        setattr(network, child, kind())
    network.nonlinearity = name


def _imported(path: str, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    if not is_import_path(path):
        raise UserError(
            f"--model is {path!r}; it must be mlp, conv or an import path package.module:factory"
            f"{nearest(path, ('mlp', 'conv'))}."
        )
    factory = load_factory(path, "--model")
    network = factory(input_shape, classes)
    if not isinstance(network, nn.Module):
        raise UserError(f"--model {path} returned a {type(network).__name__}, not a torch.nn.Module.")
    return network


def own_files(config: TrainConfig) -> dict[str, Path]:
    """The files that define the user's own network and rule; this package's files are left out."""
    named = {"network": ("--model", config.model), "rule": ("--rule", config.rule)}
    return {
        use: source_file(path, option)
        for use, (option, path) in named.items()
        if is_import_path(path) and path.partition(":")[0].partition(".")[0] != "bdfa"
    }


def _rule(config: TrainConfig) -> str | LearningRule:
    """The rule of a configuration: its name, or the object that the user's own module makes.

    Raises:
        UserError: It cannot be imported, is not a rule, or its file changed since the configuration was made.
    """
    if not config.own_rule:
        return config.rule
    check_source(config.rule, "--rule", config.rule_source)
    return load_rule(config.rule)


def build_model(
    config: TrainConfig, input_shape: tuple[int, ...], classes: int, device: torch.device | str = "cpu"
) -> FeedbackModel:
    """Build the wrapped network of a configuration, with its feedback drawn and its weights zeroed where asked for.

    Feedback copied from the forward weights (fa, faithful) is taken before they are set to zero, as in the
    original.

    Args:
        config: Options of the run.
        input_shape: (channel, height, width) of one image.
        classes: Number of classes.
        device: Device of the network.
    """
    dtype = getattr(torch, config.dtype)
    network, rule = build_network(config, input_shape, classes).to(device=device, dtype=dtype), _rule(config)
    model = FeedbackModel(
        network, rule, criterion=config.loss, profile=config.profile,
        example=torch.zeros(2, *input_shape, device=device, dtype=dtype),
        feedback_scale=0.0 if config.fb_scale == "auto" else config.fb_scale,
        feedback_distribution=config.fb_dist, feedback_lr=config.resolved_fb_lr(),
        feedback_target=config.resolved_target(), feedback_loss=config.fb_loss,
        feedback_alpha=config.fb_alpha, feedback_order=config.fb_order, feedback_output=config.fb_output,
        seed=derived_seed(config.seed, "feedback"),
    )  # fmt: skip
    usual = config.init == "auto" and config.act in ("tanh", "sigmoid") and not config.own_rule
    if config.init == "zero" or usual:
        zero_weights(network, rule)
    return model


def build_criterion(config: TrainConfig, model: FeedbackModel) -> Criterion:
    """Loss of a configuration, for the scores its model returns."""
    reduction = None if config.reduction == "auto" else config.reduction
    return Criterion(config.loss, reduction, log_probabilities=model.log_probabilities)


def build_optimiser(config: TrainConfig, parameters: Any, lr: float) -> torch.optim.Optimizer:
    """Optimiser of a configuration; without ``decay_bias``, parameters of rank < 2 are not decayed."""
    parameters = list(parameters)
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if not config.decay_bias:
        groups = [
            {"params": [p for p in parameters if p.dim() >= 2]},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
    optimiser = make_optimiser(
        config.optim, groups, lr=lr, momentum=config.momentum, weight_decay=config.weight_decay,
        lr_decay=config.lr_decay, profile=config.profile,
    )  # fmt: skip
    if config.dampening is not None:
        for group in optimiser.param_groups:
            group["dampening"] = config.dampening
    return optimiser
