"""Own data from Python: `Splits` made of tensors, NumPy arrays and data sets of PyTorch.

    splits = dalton.data.splits_of((images, labels), (test_images, test_labels))
    splits = dalton.data.splits_of(torchvision.datasets.FakeData(transform=ToTensor()), validation=0.1)
    dalton.train(config, data=splits)

Nothing is rescaled, thinned or renumbered without a line in `Splits.notes`. Ambiguous data are refused:
implausible grey levels, channels last, negative counts, labels that are not whole numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from reprokit import DataIdentity, UserError, progress
from reprokit.data.loss import kept_line
from reprokit.data.subset import choose
from reprokit.run.identity import digest_arrays
from torch import Tensor
from torch.utils.data import IterableDataset

from dalton.checks import whole
from dalton.data.inspection import Inspection
from dalton.data.samples import Frames, Images, Portion, Samples, Splits, lasting
from dalton.data.splits import hold_out, limit
from dalton.names import STATIC_DURATION

TEST_SHARE = 5  # without a test set, one sample in five becomes a test sample


def splits_of(
    train: Any,
    test: Any = None,
    *,
    name: str = "own",
    class_names: Sequence[str] | None = None,
    validation: float = 0.0,
    train_size: int | None = None,
    test_size: int | None = None,
    steps: int | None = None,
    test_steps: int | None = None,
    augment: bool = False,
    flip: bool = True,
    seed: int = 0,
    allow_loss: bool = False,
) -> Splits:
    """Make a data set of own samples.

    Args:
        train: Inputs and labels, ``(inputs, labels)``, or a map-style ``torch.utils.data.Dataset`` of such pairs.
            Inputs are images (sample, height, width) or (sample, channel, height, width), uint8 from 0 to 255 or floats
            in [0, 1]; or frames (sample, time, channel, height, width) of event counts, whose length may differ
            between the samples of a ``Dataset``. Labels are whole numbers (sample,). A ``Dataset`` is read once
            here, then again in every epoch, so that its own random transforms take effect.
        test: The same for the test set; None: a fifth of the training samples, the same share of every class.
        name: Its name in logs and ledgers.
        class_names: One name per class, indexed by label; None: the sorted labels of the training set are the
            classes.
        validation: Share (below 1) or number of training samples to hold out.
        train_size: Use only this many training samples, the same share of every class.
        test_size: The same for the test set.
        steps: Time-steps in training. None: 60 for images, all for frames.
        test_steps: Time-steps in validation and test; None: as in training.
        augment: Whether training images are augmented, see `dalton.data.augmentation`.
        flip: Whether augmenting may mirror.
        seed: Seed of choices, orders and augmentation.
        allow_loss: Warn of a loss above 5 % of the events instead of refusing it.

    Raises:
        UserError: Data that do not fit or are ambiguous; the message names the part, its content and the remedy.
    """
    if whole(seed) is None or seed < 0:
        raise UserError(f"seed is {seed!r}; it must be a whole number of 0 or more.")
    for option, value in (("steps", steps), ("test_steps", test_steps)):
        if value is not None and (whole(value) or 0) < 1:
            raise UserError(f"{option} is {value!r}; it must be a whole number of 1 or more.")
    parts = {"train": _part(train, f"{name} train")}
    if test is not None:
        parts["test"] = _part(test, f"{name} test")
    first = parts["train"]
    for what, part in parts.items():
        if (part.shape, part.events) != (first.shape, first.events):
            raise UserError(
                f"{name} {what}: {part.kind} are {part.shape}, those of the training set {first.shape} ({first.kind}); "
                "both must agree."
            )
    if augment and first.events:
        raise UserError(f"augment is for images; {name} holds frames, leave it out.")
    notes: list[str] = []
    names = _number_classes(name, parts, class_names, notes)
    lengths = _lengths(parts, steps, test_steps)
    for what, part in parts.items():
        notes += part.notes(f"{name} {what}", lengths[what], allow_loss)
    portions = {
        what: Portion(
            part.samples(lengths[what], augment and what == "train", flip),
            torch.arange(len(part.labels)),
            torch.from_numpy(part.labels),
            lengths[what],
            part.events,
            seed,
            shuffle=what == "train",
        )
        for what, part in parts.items()
    }
    counts = {what: len(part.labels) for what, part in parts.items()}
    identity = DataIdentity(name, _digest(parts), counts, len(names))
    if test is None:
        portions |= _divided(portions["train"], lengths["test"], seed, f"{name} train")
        notes.append(
            f"{name}: no test set is given; {len(portions['test'])} of {counts['train']} samples, the same share of "
            "every class, are the test set"
        )
    splits = Splits(
        name, names, first.shape, first.events, portions["train"], None, portions["test"], tuple(notes), identity,
        own=True,
    )  # fmt: skip
    return limit(hold_out(splits, validation, seed), train_size, test_size, seed)


@dataclass
class _Part:
    """What was found in one part of own data.

    Attributes:
        labels: int64 (sample,).
        shape: (channel, height, width).
        lengths: int64 (sample,), frames of each sample; None for images.
        content: The inputs as a tensor, or the `Dataset`.
        constant: Number of samples whose values are all the same.
        alike: Whether all samples are the same.
        digest: SHA-256 of the inputs; empty if they differ between readings.
        active: Number of non-empty cells in each time-step, int64 (time,).
    """

    labels: np.ndarray
    shape: tuple[int, int, int]
    lengths: np.ndarray | None
    content: Any
    constant: int
    alike: bool
    digest: str
    active: np.ndarray

    @property
    def events(self) -> bool:
        return self.lengths is not None

    @property
    def kind(self) -> str:
        return "frames" if self.events else "images"

    def samples(self, steps: int, augment: bool, flip: bool) -> Samples:
        if not isinstance(self.content, Tensor):
            return Items(self.content, steps if self.events else None, augment, flip)
        return Frames(self.content, steps) if self.events else Images(self.content, augment, flip)

    def notes(self, where: str, steps: int, allow_loss: bool) -> list[str]:
        """Say what is kept and what is odd; refuse data from which nothing can be learnt."""
        count = len(self.labels)
        if self.alike and count > 1:
            raise UserError(f"{where}: all {count} samples are the same; check how they were made.")
        empty = f"; {self.constant} are empty or constant" if self.constant else ""
        lines = [f"{where}: {count} {self.kind} of {' x '.join(map(str, self.shape))}{empty}"]
        total = int(self.active.sum())
        if total:
            line = kept_line(
                where,
                "cells with events",
                int(self.active[:steps].sum()),
                total,
                cause=f"come after the {steps} time-steps that are shown",
                remedy="give more steps (--steps)",
                allow_loss=allow_loss,
            )
            lines.append(line)
        return lines


@dataclass(frozen=True)
class Items:
    """Samples of a map-style `Dataset`, read on demand.

    Args:
        data: The data set.
        steps: Frames that are shown; None for images.
        augment: Whether images are augmented.
        flip: Whether augmenting may mirror.
        device: Device of the inputs.
    """

    data: Any
    steps: int | None
    augment: bool = False
    flip: bool = True
    device: torch.device | str = "cpu"

    def take(self, rows: Tensor, seed: int, epoch: int, number: int) -> Tensor:
        """Return images (batch, channel, height, width), or frames (time, batch, channel, height, width)."""
        found = [_input(self.data[row], f"sample {row}") for row in rows.tolist()]
        if self.steps is not None:
            return torch.stack([lasting(frames, self.steps) for frames in found], 1).to(self.device)
        pixels = torch.stack([image if image.is_floating_point() else image.float() / 255 for image in found])
        images = Images(pixels.to(self.device), self.augment, self.flip)
        return images.take(torch.arange(len(pixels)), seed, epoch, number)

    def to(self, device: torch.device | str) -> Items:
        """Return the samples with inputs on another device."""
        return replace(self, device=device)

    def evaluated(self, steps: int) -> Items:
        """Return the samples without augmentation, frames for `steps` time-steps."""
        return replace(self, steps=None if self.steps is None else steps, augment=False)


def _part(data: Any, where: str) -> _Part:
    """Look at all samples of one part."""
    if isinstance(data, tuple | list) and len(data) == 2:
        return _from_arrays(data[0], data[1], where)
    if isinstance(data, IterableDataset) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise UserError(
            f"{where}: is {type(data).__name__}; give (inputs, labels), or a map-style Dataset with a length."
        )
    return _from_dataset(data, where)


def _from_arrays(inputs: Any, labels: Any, where: str) -> _Part:
    pixels = _tensor(inputs, where)
    if pixels.dim() == 3:
        pixels = pixels[:, None]
    if pixels.dim() not in (4, 5) or 0 in pixels.shape:
        raise UserError(
            f"{where}: inputs have shape {tuple(pixels.shape)}; give images (sample, channel, height, width) or frames "
            "(sample, time, channel, height, width), a sample or more."
        )
    events = pixels.dim() == 5
    look = Inspection(where, events)
    for image in pixels.split(max(1, (1 << 24) // max(1, pixels[0].numel()))):
        look.at(image)
    look.judge()
    if not pixels.is_floating_point():
        pixels = pixels.to(torch.uint8 if look.high <= 255 else torch.int32)
    found = _labels([labels], len(pixels), where)
    lengths = np.full(len(pixels), pixels.shape[1]) if events else None
    shape = _shape(pixels.shape[-3:], where)
    digest = digest_arrays({"inputs": pixels.numpy()})
    return _Part(found, shape, lengths, pixels, look.constant, look.alike, digest, look.active)


def _from_dataset(data: Any, where: str) -> _Part:
    if not len(data):
        raise UserError(f"{where}: the data set is empty; give a sample or more.")
    first = _input(data[0], f"{where}: sample 0")
    events = first.dim() == 4
    look, digest, labels, lengths = Inspection(where, events), hashlib.sha256(), [], []
    for index in progress(range(len(data)), description=where):
        item = data[index]
        found = _input(item, f"{where}: sample {index}")
        if found.dim() != first.dim() or found.shape[-3:] != first.shape[-3:]:
            raise UserError(
                f"{where}: sample {index} has shape {tuple(found.shape)}, the first {tuple(first.shape)}; all must "
                "have one size."
            )
        look.at(found[None])
        lengths.append(len(found))
        labels.append(item[1])
        digest.update(f"{found.dtype} {tuple(found.shape)}".encode())
        digest.update(np.ascontiguousarray(found.numpy()).tobytes())
    look.judge()
    fixed = torch.equal(first, _input(data[0], where))  # otherwise its transforms are random
    return _Part(
        _labels(labels, len(data), where),
        _shape(first.shape[-3:], where),
        np.array(lengths) if events else None,
        data,
        look.constant,
        look.alike,
        digest.hexdigest() if fixed else "",
        look.active,
    )


def _tensor(values: Any, where: str) -> Tensor:
    """Return real numbers in a tensor on the CPU: uint8, int64 or float32."""
    if hasattr(values, "getbands"):  # an image of Pillow: rows, columns, colours
        array = np.asarray(values)
        values = array if array.ndim == 2 else np.moveaxis(array, 2, 0)
    if isinstance(values, np.ndarray) and not (values.flags.writeable and values.flags.c_contiguous):
        values = values.copy()  # PyTorch accepts neither read-only arrays nor all strides
    try:
        if isinstance(values, list | tuple) and values and isinstance(values[0], Tensor | np.ndarray):
            values = torch.stack([torch.as_tensor(one).detach().cpu() for one in values])
        tensor = torch.as_tensor(values).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        detail = " ".join(str(error).split())
        raise UserError(f"{where}: inputs are not an array of numbers ({detail}); give a tensor.") from error
    if tensor.is_complex():
        raise UserError(f"{where}: inputs are complex; give real numbers.")
    if tensor.is_floating_point():
        return tensor.float()
    if tensor.dtype == torch.bool:
        return tensor.float()
    return tensor if tensor.dtype == torch.uint8 else tensor.to(torch.int64)


def _input(item: Any, where: str) -> Tensor:
    """Return the input of an item: an image (channel, height, width) or frames (time, channel, height, width)."""
    if not (isinstance(item, tuple | list) and len(item) == 2):
        raise UserError(f"{where}: an item is {type(item).__name__}; it must be a pair (input, label).")
    found = _tensor(item[0], where)
    found = found[None] if found.dim() == 2 else found
    if found.dim() not in (3, 4) or 0 in found.shape:
        raise UserError(
            f"{where}: the input has shape {tuple(found.shape)}; give an image (channel, height, width) or frames "
            "(time, channel, height, width)."
        )
    return found


def _shape(shape: Iterable[int], where: str) -> tuple[int, int, int]:
    channels, height, width = shape
    if width in (1, 2, 3, 4) and min(channels, height) > 4:
        raise UserError(
            f"{where}: the last side of {(channels, height, width)} looks like channels; give channels first, for "
            "example inputs.movedim(-1, -3)."
        )
    return channels, height, width


def _labels(labels: list[Any], count: int, where: str) -> np.ndarray:
    """Return labels as int64 (sample,); `labels` is one array of all, or a list with one label per sample."""
    one = "a whole number (for one-hot rows their argmax(1), for whole floats labels.long())"
    try:
        arrays = [label.detach().cpu().numpy() if isinstance(label, Tensor) else label for label in labels]
        found = np.asarray(arrays[0] if len(arrays) == 1 and count != 1 else arrays)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: labels differ in shape; each must be {one}.") from error
    found = found.reshape(-1) if found.size == count else found
    if found.shape != (count,):
        raise UserError(f"{where}: labels have shape {found.shape} for {count} samples; each must be {one}.")
    if found.dtype.kind not in "iub":
        raise UserError(f"{where}: labels are {found.dtype}; each must be {one}.")
    return found.astype(np.int64)


def _number_classes(
    name: str, parts: dict[str, _Part], class_names: Sequence[str] | None, notes: list[str]
) -> tuple[str, ...]:
    """Number the classes from 0 and return their names."""
    present = np.unique(parts["train"].labels)
    known = np.arange(len(class_names)) if class_names is not None else present
    for what, part in parts.items():
        strange = np.setdiff1d(part.labels, known)
        if len(strange):
            raise UserError(
                f"{name} {what}: label {strange[0]} belongs to no class; "
                + (f"class_names names 0 to {len(known) - 1}." if class_names is not None else "the training set has "
                   f"{_listed(known)}; give both the same classes.")
            )  # fmt: skip
        part.labels = np.searchsorted(known, part.labels).astype(np.int64)
    if len(known) < 2:
        raise UserError(f"{name}: all training samples are of one class; give at least two classes.")
    if class_names is not None:
        return tuple(str(one) for one in class_names)
    if not np.array_equal(known, np.arange(len(known))):
        notes.append(f"{name}: the labels {_listed(known)} are the classes 0 to {len(known) - 1}")
    return tuple(str(label) for label in known.tolist())


def _listed(values: np.ndarray) -> str:
    words = [str(value) for value in values.tolist()]
    return ", ".join(words if len(words) <= 8 else [*words[:3], "...", words[-1]])


def _lengths(parts: dict[str, _Part], steps: int | None, test_steps: int | None) -> dict[str, int]:
    """Time-steps of training and test."""
    found = [part.lengths for part in parts.values() if part.lengths is not None]
    own = max(int(lengths.max()) for lengths in found) if found else STATIC_DURATION.train
    return {"train": int(steps or own), "test": int(test_steps or steps or own)}


def _divided(train: Portion, test_steps: int, seed: int, where: str) -> dict[str, Portion]:
    """Set aside a fifth of the samples, the same share of every class, as the test set."""
    labels = train.labels.numpy()
    size = len(labels) // TEST_SHARE
    held = choose(labels, size, seed=seed, option=f"{where}: a fifth of the samples, without a test set,")
    left = np.setdiff1d(np.arange(len(labels)), held)
    if len(np.unique(labels[left])) < len(np.unique(labels)):
        raise UserError(f"{where}: a class has only one sample; give a test set, or more samples.")
    test = train.subset(torch.from_numpy(held))
    return {
        "train": train.subset(torch.from_numpy(left)),
        "test": replace(test, samples=test.samples.evaluated(test_steps), steps=test_steps, shuffle=False),
    }


def _digest(parts: dict[str, _Part]) -> str:
    lines = [f"{what} {part.digest} {digest_arrays({'labels': part.labels})}" for what, part in parts.items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
