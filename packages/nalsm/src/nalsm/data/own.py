"""Rules for your own data (folders, files): subsets contain every class, and oddities are reported.

The named data sets are shuffled, and recorded results refer to their first samples; your own files are often
sorted by class.
"""

from __future__ import annotations

import numpy as np
from reprokit import UserError
from reprokit.data.loss import kept_line
from reprokit.data.subset import choose


def held_out(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split off a sixth for validation, chosen by seed with each class in proportion; indices are int64, ascending.

    If a class has one sample, or the sixth is smaller than the number of classes, the sixth is drawn from all samples.

    Args:
        labels: int (sample,).
        seed: seed of the choice.

    Returns:
        Indices for training, and indices for validation.

    Raises:
        UserError: if a class would be left without a training sample.
    """
    count = max(len(labels) // 6, 1)
    _, sizes = np.unique(labels, return_counts=True)
    if count >= len(sizes) and sizes.min() > 1:
        held = choose(labels, count, seed=seed)
    else:
        held = np.sort(np.random.default_rng(seed).permutation(len(labels))[:count])
    train = np.setdiff1d(np.arange(len(labels)), held)
    lost = np.setdiff1d(labels, labels[train])
    if len(lost):
        raise UserError(
            f"class {lost[0]} has too few training samples, because a sixth of all {len(labels)} is for "
            "validation; give at least two of each class, or another seed."
        )
    return train, held


def limited(index: np.ndarray, labels: np.ndarray, limit: int | None, seed: int, option: str) -> np.ndarray:
    """Return `limit` of the samples `index`, each class in proportion, in their order; all of them if they are fewer.

    Raises:
        UserError: if the limit is below the number of classes; the message names `option`.
    """
    if limit is None or limit >= len(index):
        return index
    return index[choose(labels[index], limit, seed=seed, option=option)]


def some(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return up to `count` samples covering all classes, or as many as fit, int64, ascending."""
    if count >= len(labels):
        return np.arange(len(labels))
    if count >= len(np.unique(labels)):
        return choose(labels, count, seed=seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    _, first = np.unique(labels[order], return_index=True)  # one sample of each class
    return np.sort(order[np.sort(first)[:count]])


def blank_note(name: str, blank: int, total: int, *, allow_loss: bool) -> list[str]:
    """Say how many images are constant zero and therefore send no events.

    Raises:
        UserError: if they are more than 5 % and that is not allowed.
    """
    if not blank:
        return []
    return [
        kept_line(
            name, "images", total - blank, total, cause="are constant zero and send no events", remedy="remove them",
            allow_loss=allow_loss,
        ).replace(" kept;", " are used;")
    ]  # fmt: skip


def class_note(name: str, labels: np.ndarray, classes: int) -> list[str]:
    """Say which classes have no training sample, as when labels count from 1."""
    absent = np.setdiff1d(np.arange(classes), labels)
    if not len(absent):
        return []
    shown = ", ".join(map(str, absent[:10])) + (", ..." if len(absent) > 10 else "")
    return [
        f"{name}: labels 0 to {classes - 1}, without a training sample of {shown}; they are never predicted correctly"
    ]
