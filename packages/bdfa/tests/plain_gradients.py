"""The direct rules written out plainly: an uncut pass, differentiated piece by piece with the rules' signals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IGNORED = -100
Pick = Callable[[Any], Tensor]


def plain_gradients(
    net: nn.Module,
    inputs: Any,
    labels: Tensor,
    rule: str,
    taps: Mapping[str, tuple[Pick, Tensor]],
    scores_of: Pick = lambda output: output,
) -> dict[str, Tensor]:
    """Gradients of the mean cross entropy under a direct rule.

    A parameter gets the signal of the lowest tap above it that depends on it; the scores count as the last tap.

    Args:
        net: The network, not wrapped.
        inputs: Its input.
        labels: Class indices, -100 for scores left out.
        rule: dfa, bdfa, sign-dfa or drtp.
        taps: By the name of the layer, from the input up: what takes the tapped tensor, beginning as the scores do, out
            of the layer's output, and its matrix.
        scores_of: Takes the scores out of the network's output.
    """
    seen: dict[str, Tensor] = {}

    def note(name: str, pick: Pick) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            seen[name] = pick(output)

        return hook

    modules = dict(net.named_modules())
    handles = [modules[name].register_forward_hook(note(name, pick)) for name, (pick, _) in taps.items()]
    scores = scores_of(net(inputs))
    for handle in handles:
        handle.remove()
    flat, index = scores.reshape(-1, scores.shape[-1]), labels.reshape(-1)
    loss = F.cross_entropy(flat, index, ignore_index=IGNORED)
    (error,) = torch.autograd.grad(loss, flat, retain_graph=True)
    hot = F.one_hot(index.clamp_min(0), flat.shape[1]) * (index != IGNORED)[:, None]
    sent = {"sign-dfa": error.sign(), "drtp": hot.to(error.dtype)}.get(rule, error)
    roots = [(seen[name], (sent @ matrix).reshape(seen[name].shape)) for name, (_, matrix) in taps.items()]
    weights = dict(net.named_parameters())
    found: dict[str, Tensor] = {}
    for root, signal in [*roots, (flat, error)]:
        below = torch.autograd.grad(
            root, list(weights.values()), signal, retain_graph=True, allow_unused=True
        )
        for name, gradient in zip(weights, below, strict=True):
            if gradient is not None:
                found.setdefault(name, gradient)
    return found


def learnt(matrix: Tensor, activation: Tensor, scores: Tensor, labels: Tensor, rate: float) -> Tensor:
    """`B − lr dB` of bdfa with target `y − 1/C` and the logistic loss."""
    flat, index = scores.detach().reshape(-1, scores.shape[-1]), labels.reshape(-1)
    kept = index != IGNORED
    target = F.one_hot(index[kept], flat.shape[1]).to(flat.dtype) - 1 / flat.shape[1]
    h = activation.detach().reshape(len(index), -1)[kept]
    s = ((target @ matrix) * h).sum(1)
    return matrix + rate * (target * (1 - torch.sigmoid(s))[:, None]).T @ h
