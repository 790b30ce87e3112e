"""Any pytree of arrays as named arrays and back, for the checkpoints of a run directory.

run.checkpoints().save(step, named_arrays((model, state)), {})
model, state = restored((model, state), run.checkpoints().load_latest().arrays)
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from reprokit import UserError

Tree = TypeVar("Tree")


def named_arrays(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a pytree by their path in it; leaves that are not arrays of numbers are skipped."""
    return {name: np.asarray(leaf) for name, leaf in _leaves(tree) if _is_array(leaf)}


def restored(tree: Tree, arrays: Mapping[str, np.ndarray]) -> Tree:
    """The pytree with its arrays replaced by those of the same names; nothing else changes.

    Raises:
        UserError: An array that is missing, or has another shape or dtype than the one it replaces.
    """
    leaves = []
    for name, leaf in _leaves(tree):
        if not _is_array(leaf):
            leaves.append(leaf)
            continue
        found = arrays.get(name)
        if found is None or found.shape != leaf.shape or found.dtype != leaf.dtype:
            held = "is missing" if found is None else f"is {found.dtype} {found.shape}"
            raise UserError(
                f"array {name} {held}; needed is {leaf.dtype} {leaf.shape}: build the model as it was saved."
            )
        leaves.append(jax.numpy.asarray(found))
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    """Path and leaf, in the order of `jax.tree.leaves`."""
    return [
        (jax.tree_util.keystr(path).strip("."), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)
