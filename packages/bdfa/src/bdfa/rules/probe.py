"""One forward pass that notes every layer's output and refuses scores the rules cannot use.

The pass runs in evaluation mode, so it draws no random numbers and changes no statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from reprokit import UserError
from torch import Tensor, nn


@dataclass
class Call:
    """One layer's output during the probe pass."""

    name: str
    output: Any
    version: int = 0


@dataclass
class Probe:
    """What the probe pass saw.

    Attributes:
        calls: Every module call with a tensor output, in the order of completion.
        scores: The network's output.
    """

    calls: list[Call]
    scores: Tensor


def probe(model: nn.Module, inputs: Sequence[Any], keywords: dict[str, Any]) -> Probe:
    """Run the network once and note every layer's output.

    Raises:
        UserError: When the output is not a floating-point tensor (..., classes) of rank 2 or 3.
    """
    calls: list[Call] = []

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            version = output._version if isinstance(output, Tensor) else 0
            calls.append(Call(name, output, version))

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in model.named_modules() if name]
    try:
        with _evaluating(model), torch.inference_mode(False), torch.enable_grad():
            scores = model(*(_probe_input(value) for value in inputs), **keywords)
    finally:
        for handle in handles:
            handle.remove()
    check_scores(scores)
    return Probe(calls, scores)


def check_scores(scores: Any) -> None:
    """Refuse a network output that cannot be class scores.

    Raises:
        UserError: For another type, rank or class count, or for outputs that are probabilities already.
    """
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        found = f"{scores.dtype} tensor" if isinstance(scores, Tensor) else type(scores).__name__
        raise UserError(
            f"the network returns a {found}; it must return one floating-point tensor of class scores."
        )
    if scores.dim() not in (2, 3) or scores.shape[-1] < 2:
        raise UserError(
            f"the network's output of shape {tuple(scores.shape)} is not class scores; it must be (batch, "
            "classes) or (batch, time, classes) with at least two classes."
        )
    detached = scores.detach().double()
    if detached.numel() == 0 or not bool(detached.isfinite().all()):
        return
    sums = detached.sum(-1)
    if bool((detached >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-5):
        raise UserError(
            "the network's outputs are probabilities (they sum to one); remove the final softmax, the rules "
            "need logits and the criterion applies it."
        )
    normaliser = detached.logsumexp(-1)
    if bool((detached.abs().sum(-1) > 0).all()) and torch.allclose(
        normaliser, torch.zeros_like(normaliser), atol=1e-5
    ):
        raise UserError(
            "the network's outputs are log-probabilities; remove the final log-softmax: broadcasting its "
            "gradient would send back the target instead of the error (profile='faithful' does that on "
            "purpose)."
        )


def _probe_input(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.detach().clone()
        return value.requires_grad_() if value.is_floating_point() else value
    return value


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
