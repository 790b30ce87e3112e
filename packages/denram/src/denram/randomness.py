"""Random numbers that do not depend on library versions or JAX's settings.

JAX: version 0.5 changed how its default generator lays out numbers; the original's figures were made with the
layout before that. `legacy_layout` restores it inside a ``with`` block only. Generator and types are explicit
in every draw, so neither `jax_enable_x64` nor `jax_default_prng_impl` changes a network.

torch: the original split and shuffled with torch's CPU generator. `TorchGenerator` gives the same numbers
from NumPy's Mersenne twister, without torch.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.xla_bridge import backends_are_initialized
from reprokit import UserError

GENERATOR = "threefry2x32"
_forked = False  # whether this process is the fork of one in which JAX had started


def _note_fork() -> None:
    global _forked
    _forked = _forked or backends_are_initialized()


os.register_at_fork(after_in_child=_note_fork)


def refuse_forked() -> None:
    """Raise `UserError` in a process forked after JAX had started, where JAX would wait forever."""
    if _forked:
        raise UserError(
            "this process was forked after JAX had started, and JAX cannot compute in a fork; start workers with "
            'multiprocessing.get_context("spawn") (scores and gradients of engine "events" work in a fork too).'
        )


def legacy_layout() -> AbstractContextManager[object]:
    """Context in which ``jax.random`` numbers are laid out as before JAX 0.5; no global state changes."""
    refuse_forked()
    return jax.threefry_partitionable(False)


def drawing() -> AbstractContextManager[object]:
    """Context in which numbers are drawn on the CPU, where there is one.

    An accelerator's logarithms differ in the last bit, and a delay near the middle between two steps would be rounded
    to the other one: a seed would not give the same network everywhere.
    """
    if jax.default_backend() == "cpu":
        return nullcontext()
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # JAX was told to use the accelerator alone
        return nullcontext()


def initial_key(seed: int) -> np.ndarray:
    """Key of a run, uint32 of shape (2,): ``jax.random.PRNGKey(seed)``.

    Raises:
        UserError: A seed that is not a whole number from 0 to 4294967295.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed!r}; it must be a whole number from 0 to 4294967295.")
    refuse_forked()
    return np.asarray(jax.random.key_data(jax.random.key(int(seed), impl=GENERATOR)))


def split_key(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a key in the legacy layout: (key to continue with, key to use now)."""
    with legacy_layout():
        carry, use = jax.random.key_data(jax.random.split(_typed(key)))
    return np.asarray(carry), np.asarray(use)


def draw_normals(key: np.ndarray | jax.Array, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normals of a key in the legacy layout, float32."""
    with legacy_layout():
        return np.asarray(jax.random.normal(_typed(key), shape, jnp.float32))


def draw_integers(key: np.ndarray | jax.Array, shape: tuple[int, ...], end: int) -> np.ndarray:
    """Whole numbers from 0 to ``end - 1`` of a key in the legacy layout, int32."""
    with legacy_layout():
        return np.asarray(jax.random.randint(_typed(key), shape, 0, end, jnp.int32))


def next_normals(key: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, jax.Array]:
    """Advance a key and draw standard normals with it, as the original does once per batch.

    Args:
        key: uint32 of shape (2,).
        shape: shape of the draw.

    Returns:
        The key to continue with, and float32 normals of the given shape.
    """
    with legacy_layout():
        carry, normals = carried_normals(key, shape)
    return np.asarray(carry), normals


@partial(jax.jit, static_argnames="shape")
def carried_normals(key: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """`next_normals` for use in compiled programs: call those inside of `legacy_layout`."""
    carry, use = jax.random.split(_typed(key))
    return jax.random.key_data(carry), jax.random.normal(use, shape, jnp.float32)


def _typed(key: np.ndarray | jax.Array) -> jax.Array:
    """The key in JAX's form, bound to its generator."""
    return jax.random.wrap_key_data(jnp.asarray(key, jnp.uint32), impl=GENERATOR)


class TorchGenerator:
    """torch's CPU generator (MT19937) without torch.

    Args:
        seed: as given to ``torch.manual_seed``; its lowest 32 bits count, as there.

    Source: the published MT19937 algorithm; which draws torch makes for each purpose was determined by
    observation and is tested against recorded orders.
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.MT19937()
        self._bits._legacy_seeding(seed & 0xFFFFFFFF)

    @property
    def state(self) -> dict[str, Any]:
        """State for a checkpoint: the 624 words and the position, as JSON-able values."""
        inner = cast(dict[str, Any], self._bits.state["state"])
        return {"words": [int(word) for word in inner["key"]], "position": int(inner["pos"])}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        words = np.asarray(state["words"], dtype=np.uint32)
        self._bits.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": state["position"]}}

    def random_seed(self) -> int:
        """``torch.empty((), dtype=torch.int64).random_()``: a whole number of 63 bits (two raw draws)."""
        high, low = (int(word) for word in self._bits.random_raw(2))
        return ((high << 32) | low) & 0x7FFFFFFFFFFFFFFF

    def permutation(self, count: int) -> np.ndarray:
        """``torch.randperm(count)``: int64 of shape (count,)."""
        order = list(range(count))
        if count > 1:
            draws = self._bits.random_raw(count - 1)
            targets = draws % np.arange(count, 1, -1, dtype=np.uint64) + np.arange(count - 1, dtype=np.uint64)
            for index, target in enumerate(targets.tolist()):
                order[index], order[target] = order[target], order[index]
        return np.asarray(order, dtype=np.int64)

    def split(self, sizes: tuple[int, ...]) -> list[np.ndarray]:
        """``torch.utils.data.random_split``: index arrays of the given sizes from one permutation."""
        return np.split(self.permutation(sum(sizes)), np.cumsum(sizes)[:-1])

    def shuffled_order(self, count: int) -> np.ndarray:
        """Order in which a shuffling ``DataLoader`` visits its samples in one pass.

        Two numbers are drawn: the loader's base seed, then the seed of the sampler's own generator.
        """
        self.random_seed()
        return TorchGenerator(self.random_seed()).permutation(count)

    def sequential_pass(self) -> None:
        """One pass of a ``DataLoader`` that does not shuffle: only its base seed is drawn."""
        self.random_seed()
