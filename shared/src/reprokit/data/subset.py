"""A part of own data: seeded, every class in proportion, whatever the order of the files."""

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from reprokit.errors import UserError


def choose(labels: ArrayLike, count: int, *, seed: int, option: str = "count") -> "np.ndarray[Any, Any]":
    """Choose `count` samples of own data (a folder, an .npz file), each class in its share of the whole.

        kept = choose(splits.train.labels, config.train_samples, seed=config.seed, option="--train-samples")
        train = ImageSet(splits.train.images[kept], splits.train.labels[kept])

    Of N samples, n_c of class c, class c gets the whole part of `count · n_c / N` and at least one; what is left
    goes to the largest remainders, the lower class first. Within a class the samples with the smallest of N
    seeded random numbers are taken. Own files are often sorted by class, and their first samples are of one
    class only. The published data sets are mixed and keep their first samples, which recorded numbers belong to.

    Args:
        labels: Whole numbers (sample,), of any values.
        count: How many to choose: at least as many as there are classes, at most all.
        seed: Seed of the choice; the same gives the same samples.
        option: What the user calls `count`, for the message.

    Returns:
        int64 (count,): indices of the chosen samples, ascending.

    Raises:
        UserError: `count` or `seed` is outside what is allowed, or the labels are not whole numbers in a row.
    """
    given = np.asarray(labels)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise UserError(
            f"labels are {given.dtype} {given.shape}; they must be whole numbers, one for each sample"
        )
    wanted, seed = _whole(option, count), _whole("seed", seed)
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be at least 0")
    _, classes, sizes = np.unique(given, return_inverse=True, return_counts=True)
    if not max(1, len(sizes)) <= wanted <= len(given):
        least = max(1, len(sizes))
        raise UserError(
            f"{option} is {wanted}; give {least} (one of each class) to {len(given)} (all that there are)"
        )
    order = np.lexsort((np.random.default_rng(seed).random(len(given)), classes))
    starts = np.cumsum(sizes) - sizes
    parts = [
        order[start : start + share] for start, share in zip(starts, _shares(sizes, wanted), strict=True)
    ]
    return np.sort(np.concatenate(parts)).astype(np.int64)


def _shares(sizes: np.ndarray, count: int) -> list[int]:
    """Divide `count` among classes of these sizes by largest remainders, none without a sample."""
    total = int(sizes.sum())
    exact = [count * int(size) for size in sizes]  # in units of 1 / total, so that nothing is rounded
    shares = [max(1, share // total) for share in exact]
    while (rest := count - sum(shares)) != 0:
        step = 1 if rest > 0 else -1  # below 0 where small classes got more than their part
        able = [c for c, share in enumerate(shares) if step > 0 or share > 1]
        best = max(able, key=lambda c: (step * (exact[c] - shares[c] * total), -c))
        shares[best] += step
    return shares


def _whole(name: str, value: Any) -> int:
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise UserError(f"{name} is {value!r}; it must be a whole number") from None
