"""Subsets of own data: chosen by seed, every class in proportion, whatever the order of the files."""

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from reprokit.errors import UserError


def choose(labels: ArrayLike, count: int, *, seed: int, option: str = "count") -> "np.ndarray[Any, Any]":
    """Choose `count` samples of own data (a folder, an .npz file) and keep each class's share.

        kept = choose(splits.train.labels, config.train_samples, seed=config.seed, option="--train-samples")
        train = ImageSet(splits.train.images[kept], splits.train.labels[kept])

    Of N samples, n_c of class c, class c gets the whole part of `count · n_c / N` and at least one; the rest
    goes to the largest remainders, lower classes first. Within a class, the samples with the smallest of N
    seeded random numbers are chosen. Own files are often sorted by class, so their first samples may all be of
    one class. Published data sets are shuffled and keep their first samples, to which recorded results refer.

    Args:
        labels: Whole numbers (sample,), of any values.
        count: Number of samples, from the number of classes up to all.
        seed: Seed of the choice; the same gives the same samples.
        option: The user's name for `count`, for the message.

    Returns:
        int64 (count,): indices of the chosen samples, ascending.

    Raises:
        UserError: `count` or `seed` is out of range, or the labels are not one-dimensional whole numbers.
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
    """Divide `count` among classes of these sizes by largest remainders; every class gets a sample."""
    total = int(sizes.sum())
    exact = [count * int(size) for size in sizes]  # in units of 1 / total, to avoid rounding
    shares = [max(1, share // total) for share in exact]
    while (rest := count - sum(shares)) != 0:
        step = 1 if rest > 0 else -1  # below 0 if small classes got more than their share
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
