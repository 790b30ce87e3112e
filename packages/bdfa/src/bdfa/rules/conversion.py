"""Turning the layers of a network into their feedback-alignment form."""

from __future__ import annotations

import warnings

from reprokit import UserError
from torch import nn

from bdfa.rules.fa import FAConv2d, FALinear, FeedbackLayer, attach_random
from bdfa.rules.initialisation import generator


def convert(
    model: nn.Module,
    mode: str = "fa",
    *,
    scale: float = 0.0,
    seed: int = 0,
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
        first: Whether the first layer (in the order of registration) gets feedback too; it only matters for
            the gradient with respect to the network's input.
        copy: Start each F as a copy of the layer's weights, as the original does (profile ``faithful``).

    Returns:
        The same model.

    Raises:
        UserError: For an unknown mode, or a network without such layers.

    Warns:
        UserWarning: When other layers with weights (other convolutions, subclasses) keep their transposes.
    """
    layers = [module for module in model.modules() if type(module) in (nn.Linear, nn.Conv2d)]
    if not layers:
        raise UserError(
            "convert found no nn.Linear or nn.Conv2d in the network; layer rules need at least one "
            "(subclasses are left alone)."
        )
    random = generator(seed)
    _warn_of_others(model)
    for layer in layers if first else layers[1:]:
        layer.__class__ = FALinear if isinstance(layer, nn.Linear) else FAConv2d  # type: ignore[assignment]
        attach_random(layer, mode, scale, random, copy=copy)  # type: ignore[arg-type]
    return model


def _warn_of_others(model: nn.Module) -> None:
    """Name the layers that will go on sending their errors through their own weights."""
    own = [
        (name, module)
        for name, module in model.named_modules()
        if any(parameter.dim() >= 2 for parameter in module.parameters(recurse=False))
    ]
    left = [
        f"{name} ({type(module).__name__})"
        for name, module in own[1:]  # what the first sends back trains nothing
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
