"""Which layers carry the feedback points: the user's choice, checked, or an automatic one.

One forward pass in evaluation mode, which draws no random numbers and changes no statistics, notes every layer's
output and refuses scores the rules cannot use. Its autograd graph tells which outputs are *cuts*: places that
every path from input to scores passes through. Only a cut isolates the blocks on its two sides, as the direct
rules require.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from reprokit import UserError
from torch import Tensor, nn

from bdfa.model.outputs import Path, in_float64, put, scores_of, tensors
from bdfa.rules.taps import IN_PLACE, Place


@dataclass
class Call:
    """One layer's output during the probe pass.

    Attributes:
        name: Name of the layer.
        kind: Class of its output.
        tensors: Floating-point tensors in the output by their place, with their in-place counters.
    """

    name: str
    kind: str
    tensors: dict[Path, tuple[Tensor, int]]


@dataclass
class Probe:
    """What the probe pass saw.

    Attributes:
        calls: Every module call, in the order of completion.
        scores: The network's class scores.
        learning: Places in the network's output of tensors that depend on weights.
    """

    calls: list[Call]
    scores: Tensor
    learning: frozenset[Path]


def probe(model: nn.Module, inputs: Sequence[Any], keywords: dict[str, Any]) -> Probe:
    """Run the network once and note every layer's output.

    Raises:
        UserError: When the output holds no floating-point scores (..., classes) of rank 2 or 3.
    """
    calls: list[Call] = []

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            found: dict[Path, tuple[Tensor, int]] = {}
            for path, tensor in tensors(output).items():
                if tensor.requires_grad and torch.is_grad_enabled():
                    tensor = tensor.view_as(
                        tensor
                    )  # a layer that returns its input unchanged gets a node here
                    output = put(output, path, tensor)
                found[path] = (tensor, tensor._version)
            calls.append(Call(name, type(output).__name__, found))
            return output

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in model.named_modules() if name]
    try:
        with _evaluating(model), torch.inference_mode(False), torch.enable_grad():
            output = model(*(_probe_input(value) for value in inputs), **keywords)
    finally:
        for handle in handles:
            handle.remove()
    scores = scores_of(output)
    check_scores(scores)
    learning = frozenset(path for path, tensor in tensors(output).items() if tensor.requires_grad)
    return Probe(calls, scores, learning)


def check_scores(scores: Tensor) -> None:
    """Refuse a network output that cannot be class scores.

    Raises:
        UserError: For another dtype, rank or class count, or for outputs that are probabilities already.
    """
    if not scores.is_floating_point():
        raise UserError(
            f"the network returns a {scores.dtype} tensor; it must return one floating-point tensor of class scores."
        )
    if scores.dim() not in (2, 3) or scores.shape[-1] < 2:
        raise UserError(
            f"the network's output of shape {tuple(scores.shape)} is not class scores; it must be (batch, "
            "classes) or (batch, time, classes) with at least two classes."
        )
    detached = in_float64(scores)
    if detached.numel() == 0 or not bool(detached.isfinite().all()):
        return
    sums = detached.sum(-1)
    if bool((detached >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-5):
        raise UserError(
            "the network's outputs are probabilities (they sum to one); remove the final softmax, the rules "
            "need logits and the criterion applies it."
        )
    normaliser = detached.logsumexp(-1)
    if torch.allclose(normaliser, torch.zeros_like(normaliser), atol=1e-5):
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


def choose_taps(model: nn.Module, seen: Probe, taps: TapChoice) -> dict[str, Place]:
    """Feedback points, from the input up.

    Args:
        model: The network.
        seen: Its probe pass.
        taps: ``"auto"`` (the last cut before each next weight layer), names, or ``taps(name, module) ->
            bool``.

    Returns:
        Name and place of each tap in the order they run.

    Raises:
        UserError: When a chosen layer is not a cut, never runs or runs twice, or does not begin with the
            scores' dimensions, or when there is nothing to tap.
    """
    if isinstance(taps, str) and taps == "auto":
        found = _automatic(model, seen)
        if not found:
            raise UserError(
                "taps='auto' found no hidden layer whose output all paths go through; the network has no "
                "hidden layer, or only branches. Name the taps, or use rule='bp' or 'fa'."
            )
        return found
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
            raise UserError(f"tap {name!r} is not a layer of the network; its layers are: {listed}.")
    if len(set(names)) < len(names):
        raise UserError(f"taps={names} names a layer twice; each tap may appear once.")
    if not names:
        raise UserError("taps selects no layer; name at least one hidden layer, or use rule='bp'.")
    places = {name: check_tap(model, seen, name) for name in names}
    order = [call.name for call in seen.calls]
    return {name: places[name] for name in sorted(names, key=order.index)}


def check_tap(model: nn.Module, seen: Probe, name: str) -> Place:
    """Refuse a tap that does not isolate what is below it from what is above; otherwise return its place.

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
    if not calls[0].tensors:
        raise UserError(f"tap {name!r} returns a {calls[0].kind}; a tap must return a floating-point tensor.")
    scored = _ancestors(seen.scores.grad_fn)
    used = [(path, *held) for path, held in calls[0].tensors.items() if held[0].grad_fn in scored]
    if not used:
        raise UserError(
            f"tap {name!r} is not on the path from the input to the scores; its error signal would train "
            "nothing that the scores depend on."
        )
    if any(tensor._version != version for _, tensor, version in used):
        raise UserError(IN_PLACE.format(name=name))
    if any(tensor.grad_fn is seen.scores.grad_fn for _, tensor, _ in used):
        raise UserError(f"tap {name!r} is the network's output; feedback points belong after hidden layers.")
    alone = [path for path, tensor, _ in used if not _shared(model, seen, tensor.grad_fn)]
    if not alone:
        if len(used) > 1:
            listed = ", ".join(".".join(map(str, path)) for path, _, _ in used)
            raise UserError(
                f"tap {name!r} hands on several tensors that all reach the scores ({listed}), so no single one cuts "
                "what is below from what is above; tap a layer behind it that joins them."
            )
        _check_isolation(model, seen, name, used[0][1].grad_fn)
    return place_of(name, alone[0], dict(calls[0].tensors)[alone[0]][0], seen.scores)


def _check_isolation(model: nn.Module, seen: Probe, name: str, node: Any) -> None:
    shared = _shared(model, seen, node)
    tied = _tied(model, shared)
    if tied:
        raise UserError(
            f"weight {tied!r} is tied: it is used on both sides of tap {name!r}, so no single signal trains it; "
            "untie it, or use rule='bp'."
        )
    if shared:
        raise UserError(
            f"tap {name!r} sits inside a branch: another path bypasses it from its inputs to the scores, so the "
            "true gradient would leak past the feedback; tap the output of the whole block instead (taps='auto' "
            "does)."
        )


def _shared(model: nn.Module, seen: Probe, node: Any) -> set[Any]:
    """Graph nodes below `node` that the scores also reach by another path, except tied embeddings."""
    looked_up = lookups(model)
    both = (_ancestors(node) - {node}) & _ancestors(seen.scores.grad_fn, without=node)
    return {found for found in both if id(getattr(found, "variable", None)) not in looked_up}


def lookups(model: nn.Module) -> set[int]:
    """Identities of embedding weights: one that is tied to the output layer gets the sum of what both uses receive."""
    return {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}


def _tied(model: nn.Module, shared: set[Any]) -> str:
    """Name of a parameter if two sides share nothing but parameters, otherwise empty."""
    owners = {id(parameter): key for key, parameter in model.named_parameters()}
    leaves = [leaf for leaf in shared if hasattr(leaf, "variable") and id(leaf.variable) in owners]
    return (
        min((owners[id(leaf.variable)] for leaf in leaves), default="") if len(leaves) == len(shared) else ""
    )


def _automatic(model: nn.Module, seen: Probe) -> dict[str, Place]:
    """Last cut of each section between two layers with weights (parameters of rank ≥ 2).

    Cuts that begin with the scores' dimensions are preferred, then layers that return one tensor. Embeddings
    that are added up (tokens and positions) are one section.
    """
    final = seen.scores.grad_fn
    looked_up = lookups(model)
    counts: dict[str, int] = {}
    for call in seen.calls:
        counts[call.name] = counts.get(call.name, 0) + 1
    on_path = _ancestors(final)
    last: dict[frozenset[int], tuple[tuple[bool, bool], str, Path, Tensor]] = {}
    for call in seen.calls:
        if counts[call.name] > 1:
            continue
        for path, (tensor, version) in call.tensors.items():
            node = tensor.grad_fn
            if node is None or node is final or node not in on_path or tensor._version != version:
                continue
            weights, above = _weights(_ancestors(node)), _ancestors(final, without=node)
            if not weights or not _weights(above):
                continue
            if weights <= looked_up and any(other.name().startswith("Embedding") for other in above):
                continue
            shared = _shared(model, seen, node)
            if _tied(model, shared):
                _check_isolation(model, seen, call.name, node)
            if shared:
                continue
            merit = (any(_orders(tensor, seen.scores)), not path)
            if weights not in last or merit >= last[weights][0]:
                last[weights] = (merit, call.name, path, tensor)
    return {name: place_of(name, path, tensor, seen.scores) for _, name, path, tensor in last.values()}


def _orders(tensor: Tensor, scores: Tensor) -> tuple[bool, bool]:
    """Whether a tensor begins with the scores' dimensions: as it is, and with its first two dimensions swapped."""
    leading, shape = scores.shape[:-1], tensor.shape
    as_it_is = len(shape) > len(leading) and shape[: len(leading)] == leading
    swapped = (shape[1], shape[0], *shape[2:]) if len(shape) > 2 else ()
    return as_it_is, bool(swapped) and swapped[: len(leading)] == tuple(leading)


def place_of(name: str, path: Path, tensor: Tensor, scores: Tensor) -> Place:
    """Say in which order a tap's dimensions match those of the scores.

    Where both orders fit, the dependence of the first sample's scores decides: with time before batch, they
    depend on the first column of the tensor.

    Raises:
        UserError: When neither order fits.
    """
    as_it_is, swapped = _orders(tensor, scores)
    if as_it_is and swapped:
        (gradient,) = torch.autograd.grad(scores[0].sum(), tensor, retain_graph=True, allow_unused=True)
        met = None if gradient is None else gradient.reshape(*tensor.shape[:2], -1).ne(0).any(-1)
        column = met is not None and not bool(met[:, 1:].any()) and bool(met[1:].any())
        return Place(path, column)
    if not (as_it_is or swapped):
        leading = tuple(scores.shape[:-1])
        raise UserError(
            f"tap {name!r} has shape {tuple(tensor.shape)} but the scores have {tuple(scores.shape)}; a tap "
            f"must begin with the scores' {leading} (batch, and time if the scores have it) and have units."
        )
    return Place(path, swapped)


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


def tap_widths(places: Mapping[str, Place], seen: Probe) -> list[int]:
    """Number of elements per sample of each tap."""
    outputs = {call.name: call.tensors for call in seen.calls if call.name in places}
    ordered = [place.order(outputs[name][place.path][0]) for name, place in places.items()]
    return [tensor.shape[seen.scores.dim() - 1 :].numel() for tensor in ordered]
