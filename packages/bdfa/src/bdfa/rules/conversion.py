"""Turning the layers of a network into their feedback-alignment form."""

from __future__ import annotations

import warnings

import torch
from reprokit import UserError
from torch import nn

from bdfa.rules.fa import FAConv2d, FALinear, FeedbackLayer, attach_random, feedback_layers
from bdfa.rules.initialisation import generator
from bdfa.rules.protocol import LearningRule, Place


def convert(
    model: nn.Module,
    mode: str = "fa",
    *,
    scale: float = 0.0,
    seed: int | None = 0,
    first: bool = True,
    copy: bool = False,
) -> nn.Module:
    """Turn every `nn.Linear` and `nn.Conv2d` of a network into its feedback-alignment form, in place.

    Parameters are kept, not copied, so optimisers made before stay valid.

    Args:
        model: The network, or a single layer.
        mode: As in `FALinear`.
        scale: Half-width of F; 0 is automatic.
        seed: Seed of all feedback weights.
        first: Whether the first layer (in the order of registration) gets feedback too; where it is the first to
            run, that only matters for the gradient with respect to the network's input.
        copy: Start each F as a copy of the layer's weights, as the original does (profile ``faithful``).

    Returns:
        The same model.

    Raises:
        UserError: For an unknown mode, a network without such layers, a weight that two layers share, or recurrent
            layers, whose weights send errors back through time.

    Warns:
        UserWarning: When other layers with weights (other convolutions, subclasses) keep their transposes.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"model is a {type(model).__name__}; give a torch.nn.Module.")
    layers = [module for module in model.modules() if type(module) in (nn.Linear, nn.Conv2d)]
    if not layers:
        raise UserError(
            "convert found no nn.Linear or nn.Conv2d in the network; layer rules need at least one "
            "(subclasses are left alone)."
        )
    _refuse_recurrent(model)
    chosen = layers if first else layers[1:]
    _check_shared(model, layers)
    random = generator(seed)
    _warn_of_others(model)
    for layer in chosen:
        convert_layer(layer, mode, scale, random, copy=copy)
    return model


def convert_layer(layer: nn.Module, mode: str, scale: float, random: torch.Generator, *, copy: bool) -> None:
    """Turn one plain `nn.Linear` or `nn.Conv2d` into its feedback-alignment form, in place; arguments of `convert`."""
    layer.__class__ = FALinear if isinstance(layer, nn.Linear) else FAConv2d  # type: ignore[assignment]
    attach_random(layer, mode, scale, random, copy=copy)  # type: ignore[arg-type]


def convert_own(model: nn.Module, rule: LearningRule, *, seed: int | None, first: bool) -> None:
    """As `convert`, for a user's own rule.

    Raises:
        UserError: As for `convert`, or what the rule returns does not fit.
    """
    layers = [
        (name, module) for name, module in model.named_modules() if type(module) in (nn.Linear, nn.Conv2d)
    ]
    if not layers:
        raise UserError("the network has no nn.Linear or nn.Conv2d; layer rules need at least one.")
    _refuse_recurrent(model)
    chosen = layers if first else layers[1:]
    _check_shared(model, [layer for _, layer in layers])
    random = generator(seed)
    _warn_of_others(model)
    for number, (name, layer) in enumerate(chosen):
        convert_layer_own(layer, rule, Place(name, number, len(chosen), _weight_shape(layer)), random)


def convert_layer_own(layer: nn.Module, rule: LearningRule, place: Place, random: torch.Generator) -> None:
    """As `convert_layer`, for a user's own rule."""
    layer.__class__ = FALinear if isinstance(layer, nn.Linear) else FAConv2d  # type: ignore[assignment]
    try:
        layer.attach_own(rule, place, random)  # type: ignore[operator]
    except UserError:
        layer.__class__ = nn.Linear if isinstance(layer, nn.Linear) else nn.Conv2d  # type: ignore[assignment]
        raise


def _weight_shape(layer: nn.Module) -> tuple[int, ...]:
    return tuple(layer.weight.shape)  # type: ignore[union-attr]


def plain_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Layers that could be converted but are not, by name."""
    return {name: module for name, module in model.named_modules() if type(module) in (nn.Linear, nn.Conv2d)}


def revert(model: nn.Module) -> None:
    """Undo `convert` in place: the layers are plain again and own no feedback."""
    for layer in feedback_layers(model).values():
        layer._buffers.pop("feedback", None)
        layer._parameters.pop("feedback", None)
        layer.__class__ = nn.Linear if isinstance(layer, nn.Linear) else nn.Conv2d  # type: ignore[assignment]


def _refuse_recurrent(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            kind = type(module).__name__
            raise UserError(
                f"layer {name!r} is an nn.{kind}, whose weights feedback alignment cannot replace, so errors would go "
                "back through it as in back-propagation; use rule='dfa', 'bdfa' or 'bp'."
            )


def _check_shared(model: nn.Module, chosen: list[nn.Module]) -> None:
    """Refuse a weight that another module owns too, because there it would send errors back as in back-propagation."""
    converted = {id(layer.weight): layer for layer in chosen}
    names = {module: name for name, module in model.named_modules()}
    for name, module in model.named_modules():
        for parameter in module._parameters.values():
            layer = converted.get(id(parameter))
            if layer is not None and layer is not module:
                raise UserError(
                    f"the weight of layer {names[layer]!r} is tied to layer {name!r}; feedback alignment "
                    "needs a separate weight in every layer: untie it, or use rule='bp' or 'dfa'."
                )


def _warn_of_others(model: nn.Module) -> None:
    """Name the layers that keep sending their errors through their own weights."""
    own = [
        (name, module)
        for name, module in model.named_modules()
        if any(parameter.dim() >= 2 for parameter in module.parameters(recurse=False))
    ]
    left = [
        f"{name} ({type(module).__name__})"
        for name, module in own[1:]  # the first layer's error goes nowhere
        if not isinstance(module, (FeedbackLayer, nn.Embedding))
        and type(module) not in (nn.Linear, nn.Conv2d)
    ]
    if left:
        warnings.warn(
            f"no feedback weights for {', '.join(left[:8])}: only nn.Linear and nn.Conv2d are converted, these "
            "layers send their errors through their own weights, as back-propagation does.",
            UserWarning,
            stacklevel=3,
        )
