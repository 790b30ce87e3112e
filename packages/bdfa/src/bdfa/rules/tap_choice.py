"""Which layers carry the feedback points: the user's choice, checked, or an automatic one.

One forward pass in evaluation mode, which draws no random numbers and changes no statistics, notes every layer's
output and refuses scores the rules cannot use. Its autograd graph tells which outputs are *cuts*: places every path
from input to scores goes through. Only a cut isolates the blocks on its two sides, which is what the direct rules
promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from reprokit import UserError
from torch import Tensor, nn

from bdfa.rules.taps import IN_PLACE


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
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            if isinstance(output, Tensor) and output.requires_grad and torch.is_grad_enabled():
                output = output.view_as(output)  # a layer that returns its input gets a node of its own
            version = output._version if isinstance(output, Tensor) else 0
            calls.append(Call(name, output, version))
            return output

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


TapChoice = str | Sequence[str] | Callable[[str, nn.Module], bool]


def choose_taps(model: nn.Module, seen: Probe, taps: TapChoice) -> list[str]:
    """Names of the feedback points, from the input up.

    Args:
        model: The network.
        seen: Its probe pass.
        taps: ``"auto"`` (the last cut before each next weight layer), names, or ``taps(name, module) ->
            bool``.

    Returns:
        Tap names in the order they run.

    Raises:
        UserError: When a chosen layer is no cut, runs never or twice, or when there is nothing to tap.
    """
    if isinstance(taps, str) and taps == "auto":
        names = _automatic(model, seen)
        if not names:
            raise UserError(
                "taps='auto' found no hidden layer whose output all paths go through; the network has no "
                "hidden layer, or only branches. Name the taps, or use rule='bp' or 'fa'."
            )
        return names
    if callable(taps):
        names = [name for name, module in model.named_modules() if name and taps(name, module)]
    elif isinstance(taps, Sequence):
        names = [taps] if isinstance(taps, str) else list(taps)
    else:
        raise UserError(
            f"taps={taps!r} is not understood; give 'auto', layer names, or taps(name, module) -> bool."
        )
    known = dict(model.named_modules())
    for name in names:
        if name not in known or not name:
            listed = ", ".join(list(known)[1:13])
            raise UserError(f"tap {name!r} is no layer of the network; its layers are: {listed}.")
    if len(set(names)) < len(names):
        raise UserError(f"taps={names} names a layer twice; each tap may appear once.")
    if not names:
        raise UserError("taps selects no layer; name at least one hidden layer, or use rule='bp'.")
    for name in names:
        check_tap(model, seen, name)
    order = [call.name for call in seen.calls]
    return sorted(names, key=order.index)


def check_tap(model: nn.Module, seen: Probe, name: str) -> None:
    """Refuse a tap that does not isolate what is below it from what is above.

    Raises:
        UserError: When the layer never runs, runs twice, is off the path, is the output, sits inside a
            branch, is followed by an in-place operation, or splits a tied weight.
    """
    calls = [call for call in seen.calls if call.name == name]
    if len(calls) != 1:
        times = "never" if not calls else f"{len(calls)} times"
        raise UserError(
            f"tap {name!r} runs {times} in a forward pass; a tap must be a layer that runs exactly once "
            "(give each place its own module)."
        )
    output = calls[0].output
    if not isinstance(output, Tensor):
        raise UserError(f"tap {name!r} returns a {type(output).__name__}; a tap must return one tensor.")
    if output._version != calls[0].version:
        raise UserError(IN_PLACE.format(name=name))
    node = output.grad_fn
    if node is None or node not in _ancestors(seen.scores.grad_fn):
        raise UserError(
            f"tap {name!r} is not on the path from the input to the scores; its error signal would train "
            "nothing that the scores depend on."
        )
    if node is seen.scores.grad_fn:
        raise UserError(f"tap {name!r} is the network's output; feedback points belong after hidden layers.")
    _check_isolation(model, seen, name, node)


def _check_isolation(model: nn.Module, seen: Probe, name: str, node: Any) -> None:
    shared = _shared(seen, node)
    tied = _tied(model, shared)
    if tied:
        raise UserError(
            f"weight {tied!r} is tied: it is used on both sides of tap {name!r}, so no single signal trains it; "
            "untie it, or use rule='bp'."
        )
    if shared:
        raise UserError(
            f"tap {name!r} sits inside a branch: another path goes round it from its inputs to the scores, so the "
            "true gradient would leak past the feedback; tap the output of the whole block instead (taps='auto' "
            "does)."
        )


def _shared(seen: Probe, node: Any) -> set[Any]:
    """Graph nodes below `node` that the scores also reach on another path."""
    return (_ancestors(node) - {node}) & _ancestors(seen.scores.grad_fn, without=node)


def _tied(model: nn.Module, shared: set[Any]) -> str:
    """Name of a parameter, when parameters are all that two sides share; else empty."""
    owners = {id(parameter): key for key, parameter in model.named_parameters()}
    leaves = [leaf for leaf in shared if hasattr(leaf, "variable") and id(leaf.variable) in owners]
    return (
        min((owners[id(leaf.variable)] for leaf in leaves), default="") if len(leaves) == len(shared) else ""
    )


def _automatic(model: nn.Module, seen: Probe) -> list[str]:
    """Last cut of each stretch between two layers with weights (parameters of rank ≥ 2)."""
    final = seen.scores.grad_fn
    cuts: list[tuple[str, Any, frozenset[int]]] = []
    counts: dict[str, int] = {}
    for call in seen.calls:
        counts[call.name] = counts.get(call.name, 0) + 1
    on_path = _ancestors(final)
    everything = _weights(on_path)
    for call in seen.calls:
        node = call.output.grad_fn if isinstance(call.output, Tensor) else None
        if node is None or node is final or counts[call.name] > 1 or call.output._version != call.version:
            continue
        weights = _weights(_ancestors(node))
        if node not in on_path or not weights or weights == everything:
            continue
        shared = _shared(seen, node)
        if _tied(model, shared):
            _check_isolation(model, seen, call.name, node)
        if not shared:
            cuts.append((call.name, node, weights))
    last = {weights: name for name, _, weights in cuts}
    return list(last.values())


def _weights(nodes: set[Any]) -> frozenset[int]:
    leaves = (node.variable for node in nodes if hasattr(node, "variable"))
    return frozenset(id(leaf) for leaf in leaves if isinstance(leaf, nn.Parameter) and leaf.dim() >= 2)


def _ancestors(node: Any, without: Any = None) -> set[Any]:
    """All graph nodes reachable from `node` without passing through `without`."""
    found: set[Any] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if current is None or current is without or current in found:
            continue
        found.add(current)
        stack.extend(parent for parent, _ in current.next_functions)
    return found


def tap_widths(names: list[str], outputs: dict[str, Any], scores: Tensor) -> list[int]:
    """Elements per sample of each tap; leading dimensions must be those of the scores.

    Raises:
        UserError: When a tap's leading dimensions are not the scores'.
    """
    leading = scores.shape[:-1]
    widths = []
    for name in names:
        shape = outputs[name].shape
        if shape[: len(leading)] != leading or len(shape) <= len(leading):
            raise UserError(
                f"tap {name!r} has shape {tuple(shape)} but the scores have {tuple(scores.shape)}; a tap "
                f"must begin with the scores' {tuple(leading)} (batch, and time if the scores have it) and "
                "have units."
            )
        widths.append(shape[len(leading) :].numel())
    return widths
