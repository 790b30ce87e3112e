"""Which samples are used: given lists, held-out validation samples, limits.

Held-out and limited sets are stratified: every class keeps its share, up to rounding (largest remainder). They
depend on the seed alone and keep the order of the data set. No class of own data is lost: if its share is less
than one sample, it gets one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from reprokit import UserError
from reprokit.config import derived_seed
from reprokit.data.subset import choose

from dalton.checks import whole
from dalton.data.samples import Portion, Splits

Subset = Path | str | Mapping[str, Sequence[int | str]]


def stratified(labels: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Choose `count` samples so that every class keeps its share.

    Class c with n_c of N samples gets floor(n_c count / N), and the largest remainders one more.

    Args:
        labels: int64 (sample,).
        count: Number of samples, 0 to N.
        generator: Source of the choice within each class.

    Returns:
        int64 (count,), ascending.
    """
    present, size = np.unique(labels, return_counts=True)
    exact = size * count
    quota = exact // len(labels)
    missing = count - int(quota.sum())
    quota[np.argsort(-(exact % len(labels)), kind="stable")[:missing]] += 1
    chosen = [
        generator.permutation(np.flatnonzero(labels == label))[:number]
        for label, number in zip(present, quota.tolist(), strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def hold_out(splits: Splits, validation: float, seed: int) -> Splits:
    """Move training samples to a validation set.

    Args:
        splits: The data set; its validation set is replaced.
        validation: A share below 1, or a number of samples; 0 holds nothing out.
        seed: Seed of the choice.

    Raises:
        UserError: Nothing is left for training or for validation.
    """
    if isinstance(validation, bool | str) or not math.isfinite(validation):
        raise UserError(f"validation is {validation!r}; give a share below 1 or a whole number of samples")
    if validation == 0:
        return splits
    total = len(splits.train)
    count = round(validation * total) if validation < 1 else int(validation)
    if validation < 0 or (count != validation and validation >= 1) or not 0 < count < total:
        raise UserError(
            f"validation is {validation}, that is {count} of {total} training samples; give a share above 0 and "
            "below 1, or a whole number of samples that leaves some for training"
        )
    held = _choose(splits.train, count, seed, "validation")
    left = np.setdiff1d(np.arange(total), held)
    if splits.own:
        _keeps_classes(splits, left, f"validation {validation:g}")
    kept = splits.train.subset(torch.from_numpy(held))
    steps = splits.test.steps
    return replace(
        splits,
        train=splits.train.subset(torch.from_numpy(left)),
        validation=replace(
            kept, samples=kept.samples.evaluated(steps), steps=steps, shuffle=False, drop_last=False
        ),
    )


def limit(splits: Splits, train_size: int | None, test_size: int | None, seed: int) -> Splits:
    """Use only some of the training and test samples.

    Args:
        splits: The data set.
        train_size: Number of training samples; None means all.
        test_size: Number of test samples; None means all.
        seed: Seed of the choice.

    Raises:
        UserError: More than exist, or fewer than 1.
    """
    for name, size in (("train", train_size), ("test", test_size)):
        if size is None:
            continue
        portion: Portion = getattr(splits, name)
        if whole(size) is None or not 1 <= size <= len(portion):
            held = " after the validation split" if name == "train" and splits.validation is not None else ""
            raise UserError(
                f"{name}_size is {size!r}, but {splits.name} has {len(portion)} {name} samples{held}; give 1 to "
                f"{len(portion)}"
            )
        chosen = _choose(portion, size, seed, f"{name} size")
        labels = portion.labels.cpu().numpy()
        if splits.own and len(np.unique(labels[chosen])) < len(
            np.unique(labels)
        ):  # shares too small for a class
            chosen = choose(labels, size, seed=seed, option=f"{name}_size")
        chosen = torch.from_numpy(chosen)
        splits = replace(splits, **{name: portion.subset(chosen)})
    return splits


def take_subset(splits: Splits, subset: Subset) -> Splits:
    """Use listed samples, in the order of the lists.

    Args:
        splits: The data set, complete.
        subset: Lists ``train`` and ``test``, one may be missing, or a JSON file of them. An entry is the number of
            a sample, or a file name whose stem is that number. If a test entry is beyond the test set, test numbers
            continue from the training set's.

    Raises:
        UserError: An unreadable file or a number beyond the data.
    """
    lists = _read(Path(subset)) if isinstance(subset, str | Path) else subset
    unknown = sorted(set(lists) - {"train", "test"})
    if unknown or not lists:
        raise UserError(f"subset has the lists {', '.join(lists) or '(none)'}; allowed: train and test")
    before = len(splits.train)
    for name, entries in lists.items():
        portion: Portion = getattr(splits, name)
        index = np.array([_number(entry, name) for entry in entries], np.int64)
        if name == "test" and index.max(initial=-1) >= len(portion):
            index = index - before
        if not len(index) or index.min() < 0 or index.max() >= len(portion):
            raise UserError(
                f"subset: the {name} list has {len(index)} entries, and each must be the number of one of the "
                f"{len(portion)} "
                f"{name} samples of {splits.name}"
            )
        splits = replace(splits, **{name: portion.subset(torch.from_numpy(index))})
    return splits


def _keeps_classes(splits: Splits, left: np.ndarray, what: str) -> None:
    """Refuse a choice that takes all training samples of a class."""
    labels = splits.train.labels.cpu().numpy()
    lost = np.setdiff1d(labels, labels[left])
    if len(lost):
        raise UserError(
            f"{what} takes all training samples of class {splits.class_names[lost[0]]} of {splits.name}; hold out "
            "fewer, or give more samples of it"
        )


def _choose(portion: Portion, count: int, seed: int, purpose: str) -> np.ndarray:
    generator = np.random.default_rng(derived_seed(seed, purpose))
    return stratified(portion.labels.cpu().numpy(), count, generator)


def _read(path: Path) -> Mapping[str, Sequence[int | str]]:
    try:
        lists = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"subset {path} is not a JSON file that can be read ({error}); check the path"
        ) from error
    if not isinstance(lists, dict) or not all(isinstance(entries, list) for entries in lists.values()):
        raise UserError(f"subset {path} must hold the lists train and test; write them as a JSON object")
    return lists


def _number(entry: int | str, name: str) -> int:
    """Return an entry's sample number."""
    if isinstance(entry, int) and not isinstance(entry, bool):
        return entry
    stem = re.fullmatch(r"\D*(\d+)", Path(str(entry)).stem)
    if stem is None:
        raise UserError(f"subset: {entry!r} of the {name} list is not a number or a file name with one")
    return int(stem[1])
