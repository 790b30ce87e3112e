"""Images as training wants them: split, colour-converted, normalised, on the device, augmented on the fly."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from reprokit import UserError
from reprokit.config import derived_seed
from reprokit.data.subset import choose
from reprokit.run.identity import DataIdentity
from torch import Tensor

from bdfa.config import DATASETS, TrainConfig
from bdfa.data.preprocess import Mode, Preprocessing, fit_cached, rgb_to_yuv
from bdfa.randomness import stream

if TYPE_CHECKING:
    from reprokit.types import ImageSplits

RESIDENT_BYTES = 3_000_000_000  # above this size, images are converted to floating point batch by batch
EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Portion:
    """Labelled images of one split.

    Attributes:
        images: (sample, channel, height, width): floating point and ready, or uint8 when ``pending`` is set.
        labels: (sample,), int64, 0..classes-1.
        pending: Transformation still to be applied to each batch, for data too large to keep transformed.
    """

    images: Tensor
    labels: Tensor
    pending: Pipeline | None = None

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def take(self, index: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return the images and labels of some samples, ready for the network."""
        images = self.images[index]
        return (images if self.pending is None else self.pending(images)), self.labels[index]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over all samples in order; the last batch may be smaller."""
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))


@dataclass(frozen=True)
class Pipeline:
    """Colour conversion followed by the fitted normalisation or whitening."""

    color: str
    preprocessing: Preprocessing

    def __call__(self, images: Tensor) -> Tensor:
        """Transform raw images (sample, channel, height, width)."""
        return self.preprocessing.apply(to_color(images, self.color))


@dataclass(frozen=True)
class Data:
    """Everything a run reads.

    Attributes:
        name: Name of the data really used, for the results ledger.
        classes: Number of classes.
        input_shape: (channel, height, width).
        train: Samples to learn from.
        validation: Samples held out of the training set, or None.
        test: Samples to report on.
        pipeline: The transformation fitted on ``train``.
        class_names: One name per class.
        identity: Identity of the whole data set as it was read.
        note: For own data, one line that says what was read and kept; empty for others.
    """

    name: str
    classes: int
    input_shape: tuple[int, int, int]
    train: Portion
    validation: Portion | None
    test: Portion
    pipeline: Pipeline
    class_names: tuple[str, ...]
    identity: DataIdentity
    note: str = ""


def to_color(images: Tensor, color: str) -> Tensor:
    """Return raw images as floating point in the colour space ``"rgb"`` (unchanged) or ``"yuv"``."""
    values = images if images.is_floating_point() else images.float()
    return rgb_to_yuv(values) if color == "yuv" else values


@contextmanager
def _data_folder(folder: Path | None) -> Iterator[None]:
    """Look for data sets in `folder`, inside the ``with`` block only."""
    before = os.environ.get("REPROKIT_DATA")
    if folder is not None:
        os.environ["REPROKIT_DATA"] = str(folder)
    try:
        yield
    finally:
        if before is not None:
            os.environ["REPROKIT_DATA"] = before
        elif folder is not None:
            del os.environ["REPROKIT_DATA"]


def read_images(dataset: str) -> ImageSplits:
    """Read a data set by name, or your own images from a path, see `bdfa.data.own`.

    Raises:
        UserError: For an unknown name or path, or files that cannot be read.
    """
    import reprokit

    from bdfa.data.own import read_own

    path = Path(dataset)
    if dataset.lower() not in DATASETS and path.exists():
        return read_own(path)
    try:
        return reprokit.load_images(dataset)
    except UserError as error:
        folder = Path(os.environ.get("REPROKIT_DATA") or "") / dataset.lower()
        if not (os.environ.get("REPROKIT_DATA") and folder.is_dir() and any(folder.iterdir())):
            raise
        raise UserError(
            f"{str(error).rstrip('.')}; to train with the files in {folder} as they are, as your own data: "
            f"--data {folder}"
        ) from error


def load_data(config: TrainConfig, device: torch.device | str = "cpu") -> Data:
    """Load, split and transform the data set of a run.

    The transformation is fitted on the training portion after the split and applied to all portions. With
    profile ``faithful`` a validation split replaces the test set, as in the original (DEV-22).

    Args:
        config: Options ``dataset``, ``val_split``, ``train_size``, ``normalize``, ``color``, ``whiten``,
            ``zero_variance``, ``cache_dir``, ``data_dir``, ``dtype``.
        device: Where the images are kept.

    Raises:
        UserError: For an unknown or unsuitable data set, or a split larger than it.
    """
    with _data_folder(config.data_dir):
        splits = read_images(config.dataset)
    train, test = _tensors(splits.train, "training"), _tensors(splits.test, "test")
    if config.own_data:
        _check_own_labels(config.dataset, train[1], test[1])
    whole = len(train[1])
    train, validation = _split(train, config)
    if validation is not None and config.faithful:
        test, validation = validation, None
    dtype = getattr(torch, config.dtype)
    mode: Mode = config.whiten if config.whiten != "none" else config.normalize
    raw = to_color(train[0], config.color).to(dtype)
    fitted = fit_cached(raw, mode, config.cache_dir, color=config.color, zero_variance=config.zero_variance)
    pipeline = Pipeline(config.color, fitted.to(device=device, dtype=dtype))
    classes = max(len(splits.class_names), int(train[1].max()) + 1, 2)
    if int(test[1].max()) >= classes:
        raise UserError(
            f"data set {splits.name} has test label {int(test[1].max())} outside its {classes} classes."
        )
    total = sum(part[0].numel() for part in (train, test, validation) if part is not None)
    resident = total * raw.element_size() <= RESIDENT_BYTES

    def portion(part: tuple[Tensor, Tensor]) -> Portion:
        images, labels = part[0].to(device), part[1].to(device)
        if not resident:
            return Portion(images, labels, pipeline)
        ready = torch.cat([pipeline(chunk) for chunk in images.split(EVALUATION_BATCH)])
        return Portion(ready.contiguous(), labels)

    channel, height, width = (int(size) for size in train[0].shape[1:])
    return Data(
        name=splits.name,
        classes=classes,
        input_shape=(channel, height, width),
        train=portion(train),
        validation=None if validation is None else portion(validation),
        test=portion(test),
        pipeline=pipeline,
        class_names=tuple(str(name) for name in splits.class_names),
        identity=DataIdentity.of(splits),
        note=_note(config, whole, train, validation, test) if config.own_data else "",
    )


def _note(
    config: TrainConfig,
    whole: int,
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor] | None,
    test: tuple[Tensor, Tensor],
) -> str:
    """Tell the user what was read of own data."""
    channel, height, width = train[0].shape[1:]
    cut = f" of {whole}" if len(train[1]) < whole else ""
    held = "" if validation is None else f", {len(validation[1])} validation"
    flat = [images.flatten(1) for images, _ in (train, test)]
    constant = sum(int((part.amax(1) == part.amin(1)).sum()) for part in flat)
    blank = f"; {constant} images have one value everywhere" if constant else ""
    return (
        f"{config.dataset}: {len(train[1])}{cut} training{held} and {len(test[1])} test images, {channel} x {height} x "
        f"{width}, {len(train[1].unique())} classes{blank}"
    )


def _check_own_labels(source: str, train: Tensor, test: Tensor) -> None:
    """Refuse labels that do not start at 0, and warn about classes without training samples."""
    first, last = int(train.min()), int(train.max())
    if min(first, int(test.min())) > 0:
        raise UserError(
            f"{source}: labels run from {first} to {last}, so class 0 has no sample; subtract {first} from all labels."
        )
    seen = set(train.unique().tolist())
    missing = [label for label in range(max(last, int(test.max())) + 1) if label not in seen]
    if missing:
        warnings.warn(
            f"{source}: no training sample of class {', '.join(map(str, missing[:8]))}"
            f"{' ...' if len(missing) > 8 else ''}; number the classes without gaps, or add samples.",
            stacklevel=3,
        )


def other_portion(data: Data, dataset: str, which: str) -> Portion:
    """Load another data set's ``"train"`` or ``"test"`` images, transformed as the training images of ``data`` were.

    Raises:
        UserError: For an unknown data set, or one whose images or labels the network cannot take.
    """
    splits = read_images(dataset)
    images, labels = _tensors(splits.train if which == "train" else splits.test, which)
    if tuple(images.shape[1:]) != data.input_shape:
        raise UserError(
            f"{dataset} has images of shape {tuple(images.shape[1:])}, the network takes {data.input_shape}; choose "
            "another data set."
        )
    if int(labels.max()) >= data.classes:
        raise UserError(f"{dataset} has label {int(labels.max())}, the network has {data.classes} classes.")
    device = data.train.labels.device
    return Portion(images.to(device), labels.to(device), data.pipeline)


def data_folder_of(source: str | None, dataset: str) -> tuple[Path | None, str | None]:
    """Understand ``--data``: a folder of downloaded data sets if it contains ``dataset``, otherwise a data set.

    Args:
        source: A folder that contains a folder ``dataset``, or the name or path of a data set; None: not given.
        dataset: Name of the data set that is wanted.

    Returns:
        (folder of downloaded data sets or None, name or path of a data set or None).
    """
    if source is not None and (Path(source) / dataset).is_dir():
        return Path(source), None
    return None, source


def _tensors(split: Any, which: str) -> tuple[Tensor, Tensor]:
    images, labels = torch.from_numpy(np.ascontiguousarray(split.images)), torch.from_numpy(split.labels)
    if len(labels) == 0:
        raise UserError(f"the {which} set is empty; choose a data set that has one.")
    if images.ndim != 4 or len(images) != len(labels):
        raise UserError(f"the {which} set has images {tuple(images.shape)} for {len(labels)} labels.")
    if int(labels.min()) < 0:
        raise UserError(f"the {which} set has the label {int(labels.min())}; labels must start at 0.")
    return images, labels.long()


def _split(
    train: tuple[Tensor, Tensor], config: TrainConfig
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor] | None]:
    """Hold out the last samples, unshuffled, then keep the first ``train_size``; own data are chosen by seed.

    Raises:
        UserError: When no or too few samples are left, or a class of the set is lost.
    """
    images, labels = train
    left = len(labels) - config.val_split
    if left < 1:
        raise UserError(
            f"--val-split {config.val_split} leaves no training samples of {len(labels)}; make it smaller."
        )
    if config.stratified:
        return _chosen(images, labels, config)
    validation = (images[left:], labels[left:]) if config.val_split else None
    size = config.train_size or left
    if size > left:
        raise UserError(
            f"--train-size is {size}, but there are only {left} training samples"
            f"{' after the validation split' if validation else ''}; make it smaller."
        )
    lost = sorted(set(labels.unique().tolist()) - set(labels[:size].unique().tolist()))
    if lost:
        cuts = " and ".join(
            f"{name} {value}"
            for name, value in (("--val-split", config.val_split), ("--train-size", config.train_size))
            if value
        )
        raise UserError(
            f"{cuts} leaves no training sample of class {lost[0]}"
            f"{f' and {len(lost) - 1} more' if len(lost) > 1 else ''}: samples are taken in the order of the file, "
            "which seems sorted by class; shuffle it, or take more."
        )
    return (images[:size], labels[:size]), validation


def _chosen(
    images: Tensor, labels: Tensor, config: TrainConfig
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor] | None]:
    """As `_split`, keeping each class's share (DEV-30), because own files are often sorted by class."""
    seed = config.seed if config.order_seed is None else config.order_seed
    kept, validation = torch.arange(len(labels)), None
    if config.val_split:
        held = _pick(labels, config.val_split, derived_seed(seed, "validation"), "--val-split")
        validation = (images[held], labels[held])
        mask = torch.ones(len(labels), dtype=torch.bool)
        mask[held] = False
        kept = kept[mask]
    if config.train_size:
        kept = kept[_pick(labels[kept], config.train_size, derived_seed(seed, "training"), "--train-size")]
    lost = sorted(set(labels.tolist()) - set(labels[kept].tolist()))
    if lost:
        raise UserError(
            f"--val-split {config.val_split} leaves no training sample of class {lost[0]}; make it smaller."
        )
    return (images[kept], labels[kept]), validation


def _pick(labels: Tensor, count: int, seed: int, option: str) -> Tensor:
    return torch.from_numpy(choose(labels.numpy(), count, seed=seed, option=option))


def epoch_order(config: TrainConfig, samples: int, epoch: int) -> Tensor:
    """Order of the training samples in an epoch (from 1): a permutation that depends on seed and epoch alone."""
    seed = config.seed if config.order_seed is None else config.order_seed
    return torch.randperm(samples, generator=stream(seed, "order", epoch))


def epoch_batches(order: Tensor, batch_size: int, drop_last: bool) -> list[Tensor]:
    """Split an epoch's order into batches of sample indices.

    Raises:
        UserError: When ``drop_last`` leaves nothing.
    """
    batches = list(order.split(batch_size))
    if drop_last and len(batches[-1]) < batch_size:
        batches.pop()
    if not batches:
        raise UserError(f"--drop-last with batches of {batch_size} leaves none of {len(order)} samples.")
    return batches


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crop each image at random, mirror it with probability ½ and resize it back.

    With S the shorter side, ``cut`` is drawn from 0..S/4 (8 for 32 pixels, as in the original), the crop is
    ``cut`` pixels smaller and starts at 0..max(cut, 1) - 1, and bilinear interpolation with aligned corners
    restores the size. All images of a batch are treated at once (the original: one by one, 32×32 only, DEV-24).

    Args:
        images: (sample, channel, height, width), floating point.
        generator: CPU generator of the draws.

    Returns:
        Images of the same shape.
    """
    count, _, height, width = images.shape
    largest = min(height, width) // 4
    cut = torch.randint(0, largest + 1, (count,), generator=generator)
    start = (torch.rand(2, count, generator=generator) * cut.clamp_min(1)).floor()
    flip = torch.rand(count, generator=generator) < 0.5
    rows = _coordinates(start[0], cut, height, None)
    columns = _coordinates(start[1], cut, width, flip)
    grid = torch.stack(
        (columns[:, None, :].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)), dim=-1
    )
    return F.grid_sample(images, grid.to(images), mode="bilinear", align_corners=True)


def _coordinates(start: Tensor, cut: Tensor, size: int, flip: Tensor | None) -> Tensor:
    """Source coordinate of each output pixel of each image, scaled to -1..1 as grid_sample wants it."""
    fraction = torch.linspace(0, 1, size).expand(len(start), size)
    if flip is not None:
        fraction = torch.where(flip[:, None], 1 - fraction, fraction)
    position = start[:, None] + fraction * (size - cut - 1)[:, None]
    return position / max(size - 1, 1) * 2 - 1
