"""Data sets as training wants them, by name or path.

    splits = dalton.data.load("mnist", validation=0.1)
    for inputs, labels in splits.train.batches(50, epoch=1):
        ...

See `dalton.data.samples` for what `inputs` are.

The original drops a ragged last batch of recordings and shuffles its test set, so that other recordings are evaluated
in every epoch and at every batch size; `faithful` does that, `fixed` keeps every sample and the test set's order
(DEV-23).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from reprokit import DataIdentity, ImageSplits, UserError
from reprokit.config import nearest

from dalton.data import sources as event_sources
from dalton.data.cache import decoded_images, load_frames
from dalton.data.samples import Images, Portion, Recordings, Samples, Splits
from dalton.data.sources import event_source, is_event_source
from dalton.data.splits import Subset, hold_out, limit, take_subset
from dalton.names import DATASET_NAMES, DURATIONS, Duration, Reader, dataset_name, duration

IMAGE_NAMES = ("mnist", "fashion-mnist", "cifar10", "cifar100", "svhn", "stl10", "digits")
_DIGIT_SETS = ("mnist", "digits", "svhn")
_DIGITS = tuple("0123456789")


def load(
    source: str | Path,
    *,
    profile: str = "fixed",
    seed: int = 0,
    validation: float = 0.0,
    train_size: int | None = None,
    test_size: int | None = None,
    subset: Subset | None = None,
    steps: int | None = None,
    test_steps: int | None = None,
    augment: bool = False,
    flip: bool | None = None,
    time_window: int = 1000,
    cache_dir: Path | None = None,
    reader: Reader = "reprokit",
) -> Splits:
    """Load a data set by name or path.

    Args:
        source: ``mnist``, ``fashion-mnist``, ``cifar10``, ``digits`` and reprokit's other images; ``n-mnist``,
            ``dvs-gesture``, ``cifar10-dvs``, ``digits-events``; the original's MNIST, FMNIST, CIFAR10, DVS_MNIST,
            DVS_GESTURE, DVS_CIFAR10; or a path: an image folder or a .zip of one, an .npz file, a folder or .zip of
            N-MNIST recordings, a folder of DVS128 Gesture's AEDAT files.
        profile: ``fixed``, or ``faithful``: the original's windows, orders, dropped batches and mirrored digits.
        seed: Of the split, limits, orders, windows and augmentation.
        validation: Share (below 1) or number of training samples to hold out, the same share of every class.
        train_size: Use only so many training samples (after the split), the same share of every class.
        test_size: The same for the test set.
        subset: Samples to use, in order, instead of all: lists ``train`` and ``test`` of their numbers, or a JSON
            file of them. Test numbers may go on from the training set's; of a name the number in its stem counts.
        steps: Time-steps in training; the data set's own when None.
        test_steps: Time-steps in validation and test; `steps` or the data set's own when None.
        augment: Whether training images are augmented, see `dalton.data.augmentation`.
        flip: Whether augmenting may mirror; None: yes, but not digits (DEV-13; faithful: also digits).
        time_window: Duration of a frame in microseconds.
        cache_dir: Folder for prepared recordings; reprokit's data folder when None.
        reader: ``reprokit``, or ``tonic`` for the original's three event sets.

    Raises:
        UserError: Unknown data set, damaged or unsuitable files, impossible sizes.
    """
    if profile not in ("fixed", "faithful"):
        raise UserError(f"profile is {profile!r}; it must be fixed or faithful")
    source = dataset_name(str(source))
    _check_known(source)
    if is_event_source(source) or reader != "reprokit":
        if augment:
            raise UserError(f"augment is for images; {source} holds event recordings, leave it out")
        whole = _recordings(source, profile, seed, steps, test_steps, time_window, cache_dir, reader)
    else:
        whole = _images(decoded_images(source), profile, seed, steps, test_steps, augment, flip)
    if subset is not None:
        whole = take_subset(whole, subset)
    return limit(hold_out(whole, validation, seed), train_size, test_size, seed)


def _check_known(source: str) -> None:
    known = (*IMAGE_NAMES, *event_sources.NAMES, *DATASET_NAMES)
    if source.lower() not in known and not Path(source).exists():
        raise UserError(
            f"unknown data set {source!r}{nearest(source, known[::-1])}: neither a path that exists nor one of "
            f"{', '.join(known)}"
        )


def _lasting(own: Duration, steps: int | None, test_steps: int | None) -> Duration:
    """Replace a data set's own durations by the given ones."""
    for name, value in (("steps", steps), ("test_steps", test_steps)):
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}; it must be a positive integer")
    return Duration(steps or own.train, test_steps or steps or own.test)


def _images(
    splits: ImageSplits,
    profile: str,
    seed: int,
    steps: int | None,
    test_steps: int | None,
    augment: bool,
    flip: bool | None,
) -> Splits:
    """Return all samples of an image set."""
    lasting = _lasting(duration(splits.name, events=False), steps, test_steps)
    shape: Any = splits.train.images.shape[1:]
    if flip is None:
        digits = splits.name in _DIGIT_SETS or (splits.class_names == _DIGITS and shape[0] == 1)
        flip = profile == "faithful" or not digits
    portions = []
    for part, training in ((splits.train, True), (splits.test, False)):
        pixels = torch.from_numpy(np.ascontiguousarray(part.images))
        samples = Images(pixels, augment and training, flip)
        portions.append(_portion(samples, part.labels, lasting, training, False, profile, seed))
    identity = DataIdentity.of(splits)
    return Splits(
        splits.name, splits.class_names, shape, False, portions[0], None, portions[1], identity=identity
    )


def _recordings(
    source: str,
    profile: str,
    seed: int,
    steps: int | None,
    test_steps: int | None,
    time_window: int,
    cache_dir: Path | None,
    reader: Reader,
) -> Splits:
    """Return all samples of an event set."""
    origin = event_source(source, reader)
    found = load_frames(origin, origin.options(time_window), cache_dir)
    like = "dvs-gesture" if origin.large_sensor and found.name not in DURATIONS else found.name
    lasting = _lasting(duration(like, events=True), steps, test_steps)
    portions = []
    for part, training in ((found.train, True), (found.test, False)):
        length = lasting.train if training else lasting.test
        samples = Recordings(part, length, origin.large_sensor and training, profile == "faithful")
        portions.append(_portion(samples, part.labels, lasting, training, True, profile, seed))
    return Splits(found.name, found.class_names, found.train.shape, True, portions[0], None, portions[1])


def _portion(
    samples: Samples,
    labels: np.ndarray,
    lasting: Duration,
    training: bool,
    events: bool,
    profile: str,
    seed: int,
) -> Portion:
    as_original = profile == "faithful" and events
    return Portion(
        samples,
        torch.arange(len(labels)),
        torch.from_numpy(np.array(labels, np.int64)),
        lasting.train if training else lasting.test,
        events,
        seed,
        shuffle=training or as_original,
        drop_last=as_original,
    )
