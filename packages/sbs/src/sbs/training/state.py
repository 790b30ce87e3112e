"""State dictionaries as named NumPy arrays and plain values, the two things a checkpoint holds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from reprokit import UserError

Arrays = dict[str, npt.NDArray]


def pack(values: Any, prefix: str, arrays: Arrays) -> Any:
    """Move the tensors of a nested state dictionary into ``arrays`` and return what is left, fit for JSON.

    Args:
        values: Nested dicts, lists and tuples of tensors and plain values.
        prefix: Beginning of the arrays' names.
        arrays: Receives the tensors as ``prefix.key.key...``.
    """
    if isinstance(values, torch.Tensor):
        arrays[prefix] = values.detach().cpu().numpy().copy()
        return {"tensor": prefix}
    if isinstance(values, Mapping):
        entries = [[_key(key), pack(value, f"{prefix}.{key}", arrays)] for key, value in values.items()]
        return {"mapping": entries}
    if isinstance(values, list | tuple):
        parts = [pack(value, f"{prefix}.{index}", arrays) for index, value in enumerate(values)]
        return {"tuple" if isinstance(values, tuple) else "list": parts}
    if values is None or isinstance(values, bool | int | float | str):
        return {"value": values}
    if isinstance(values, np.generic):
        return {"value": values.item()}
    raise TypeError(f"{prefix} is a {type(values).__name__}, which a checkpoint cannot hold")


def unpack(packed: Any, arrays: Mapping[str, npt.NDArray]) -> Any:
    """Return what `pack` was given.

    Raises:
        UserError: The checkpoint lacks an array.
    """
    ((kind, content),) = packed.items()
    if kind == "tensor":
        if content not in arrays:
            raise UserError(f"the checkpoint lacks the array {content!r}; it was written by another version")
        return torch.from_numpy(np.array(arrays[content]))
    if kind == "mapping":
        return {key: unpack(value, arrays) for key, value in content}
    if kind in ("list", "tuple"):
        parts = [unpack(part, arrays) for part in content]
        return tuple(parts) if kind == "tuple" else parts
    return content


def _key(key: Any) -> str | int:
    if not isinstance(key, str | int):
        raise TypeError(f"the key {key!r} cannot be kept in a checkpoint")
    return key
