"""What networks return: one tensor, or a tuple, dictionary or dataclass with the class scores in it.

A place in such a structure is a path of keys: ``()`` is the output itself, ``("logits",)`` the field of a Hugging Face
output, ``(1, 0)`` the first state of an LSTM. Structures are never changed; a changed copy is made instead.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from reprokit import UserError
from torch import Tensor

Path = tuple[Any, ...]
NAMES = ("logits", "scores")
RANKS = (2, 3)
NARROW = ("mps",)  # devices without float64


def in_float64(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, without autograd history, on the CPU if its device lacks float64."""
    detached = tensor.detach()
    return (detached.cpu() if detached.device.type in NARROW else detached).double()


def tensors(output: Any, path: Path = ()) -> dict[Path, Tensor]:
    """Floating-point tensors of an output by their place, in order; objects of other kinds are not searched."""
    if isinstance(output, Tensor):
        return {path: output} if output.is_floating_point() else {}
    found: dict[Path, Tensor] = {}
    for key, value in _entries(output):
        found |= tensors(value, (*path, key))
    return found


def _entries(output: Any) -> list[tuple[Any, Any]]:
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return [(field.name, getattr(output, field.name, None)) for field in dataclasses.fields(output)]
    if isinstance(output, Mapping):
        return list(output.items())
    if isinstance(output, tuple | list):
        return list(enumerate(output))
    return []


def take(output: Any, path: Path) -> Any:
    """The value at a place of an output.

    Raises:
        LookupError: When there is nothing at that place.
    """
    for key in path:
        if isinstance(output, tuple | list) or (
            isinstance(output, Mapping) and not dataclasses.is_dataclass(output)
        ):
            output = output[key]
        elif hasattr(output, str(key)):
            output = getattr(output, key)
        else:
            raise KeyError(key)
    return output


def put(output: Any, path: Path, value: Any) -> Any:
    """A copy of an output with another value at a place; the rest is shared."""
    if not path:
        return value
    key, inner = path[0], put(take(output, path[:1]), path[1:], value)
    if hasattr(output, "_replace"):
        return output._replace(**{output._fields[key]: inner})
    if isinstance(output, tuple | list):
        return type(output)([*output[:key], inner, *output[key + 1 :]])
    changed = copy.copy(output)
    if isinstance(output, Mapping):  # outputs of Hugging Face keep attribute and entry equal
        changed[key] = inner  # type: ignore[index]
    else:
        object.__setattr__(changed, key, inner)
    return changed


def score_path(output: Any) -> Path:
    """Place of the class scores: the output itself, its field ``logits`` or ``scores``, or the first tensor of scores.

    Raises:
        UserError: When there are none, or more than one tensor could be meant.
    """
    if isinstance(output, Tensor):
        return ()
    for name in NAMES:
        named = isinstance(output, Mapping) and name in output
        if isinstance(output[name] if named else getattr(output, name, None), Tensor):
            fields: Sequence[str] = getattr(output, "_fields", ())
            return (fields.index(name),) if fields else (name,)
    candidates = {path: tensor for path, tensor in tensors(output).items() if tensor.dim() in RANKS}
    first = next(iter(candidates), None)
    one = isinstance(output, tuple | list) or len(candidates) == 1
    if first is None or not one or [t.shape for t in candidates.values()].count(candidates[first].shape) > 1:
        listed = ", ".join(f"{'.'.join(map(str, p))} {tuple(t.shape)}" for p, t in candidates.items())
        raise UserError(
            f"the network returns a {type(output).__name__} with {listed or 'no tensor'} in it; it must return one "
            "floating-point tensor of class scores, alone, first in a tuple, or named 'logits'."
        )
    return first


def scores_of(output: Any) -> Tensor:
    """The class scores in what a network returns, see `score_path`."""
    return output if isinstance(output, Tensor) else take(output, score_path(output))
