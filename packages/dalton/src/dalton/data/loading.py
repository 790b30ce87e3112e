"""Data sets as training wants them, by name or path.

    splits = dalton.data.load("mnist", validation=0.1)
    for inputs, labels in splits.train.batches(50, epoch=1):
        ...

See `dalton.data.samples` for what `inputs` are.

The original drops a smaller last batch of recordings and shuffles its test set, so that each epoch and each
batch size evaluates different recordings. `faithful` does that; `fixed` keeps every sample and the test set's
order (DEV-23).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reprokit import DataIdentity, ImageSplits, UserError
from reprokit.config import nearest
from reprokit.data.loss import kept_line
from reprokit.types import TimeUnit

from dalton.checks import whole
from dalton.data import sources as event_sources
from dalton.data.cache import decoded_images, load_frames
from dalton.data.frames import FrameOptions, FrameSet, FrameSplits
from dalton.data.frames_file import is_frames_file, read_frames
from dalton.data.inspection import FEW_LEVELS
from dalton.data.recordings import SUFFIXES, Kept, told
from dalton.data.samples import Images, Portion, Recordings, Samples, Splits
from dalton.data.sources import EventSource, combined_digest, event_source, holds_images, is_event_source
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
    sensor: tuple[int, int] | None = None,
    time_unit: TimeUnit = "us",
    denoise_us: int | None = None,
    spatial_factor: float | None = None,
    allow_loss: bool = False,
) -> Splits:
    """Load a data set by name or path.

    Args:
        source: ``mnist``, ``fashion-mnist``, ``cifar10``, ``digits`` and reprokit's other images; ``n-mnist``,
            ``dvs-gesture``, ``cifar10-dvs``, ``digits-events``; the original's MNIST, FMNIST, CIFAR10, DVS_MNIST,
            DVS_GESTURE, DVS_CIFAR10; or a path: an image folder or a .zip of one, an .npz file of images or frames, a
            folder or .zip of recordings (see `dalton.data.recordings`), a folder of DVS128 Gesture's AEDAT files.
        profile: ``fixed``, or ``faithful``: the original's windows, orders, dropped batches and mirrored digits.
        seed: Seed of the split, limits, orders, windows and augmentation.
        validation: Share (below 1) or number of training samples to hold out, the same share of every class.
        train_size: Use only this many training samples (after the split), the same share of every class.
        test_size: The same for the test set.
        subset: Samples to use, in order, instead of all: lists ``train`` and ``test`` of their numbers, or a JSON
            file of them. Test numbers may continue from the training set's; for a file name, the number in its stem
            counts.
        steps: Time-steps in training; the data set's own when None.
        test_steps: Time-steps in validation and test; `steps` or the data set's own when None.
        augment: Whether training images are augmented, see `dalton.data.augmentation`.
        flip: Whether augmenting may mirror; None: yes, but not digits (DEV-13; faithful: also digits).
        time_window: Duration of a frame in microseconds.
        cache_dir: Folder for prepared recordings and decoded images; reprokit's data folder when None.
        reader: ``reprokit``, or ``tonic`` for the original's three event sets.
        sensor: (height, width) of own recordings; None: from the largest addresses.
        time_unit: Unit of the times in own .npy, .npz and .csv recordings: us, ms or s.
        denoise_us: Time of the noise filter, 0: none; None: the original's 100 ms, but none for own recordings.
        spatial_factor: Factor on x and y of events; None: 0.25 for DVS128 Gesture and CIFAR10-DVS, 1 for others.
        allow_loss: Warn of a loss above 5 % of own data instead of refusing it.

    Raises:
        UserError: Unknown data set, damaged or unsuitable files, impossible sizes, an option that cannot act on the
            data set, or a loss above 5 %.
    """
    if profile not in ("fixed", "faithful"):
        raise UserError(f"profile is {profile!r}; it must be fixed or faithful")
    if (whole(seed) is None) or seed < 0:
        raise UserError(f"seed is {seed!r}; it must be a whole number of 0 or more")
    source = dataset_name(str(source))
    _check_known(source)
    own = source.lower() not in (*IMAGE_NAMES, *event_sources.NAMES)
    if allow_loss and not own:
        raise UserError(f"allow_loss is for own data; {source} loses nothing, leave it out")
    if is_event_source(source) or reader != "reprokit":
        if augment:
            raise UserError(f"augment is for images; {source} holds event recordings, leave it out")
        origin = event_source(source, reader, sensor=sensor, time_unit=time_unit, allow_loss=allow_loss)
        options = origin.options(time_window, denoise_us, spatial_factor)
        found = load_frames(origin, options, cache_dir)
        splits = _recordings(found, origin, options, profile, seed, steps, test_steps)
        if own:
            splits = replace(
                splits,
                notes=(
                    *_own_notes(found, source, allow_loss),
                    *_late(splits, found, origin, options, steps, allow_loss),
                ),
            )
    else:
        _only_events(
            source,
            sensor=sensor,
            time_unit=time_unit,
            denoise_us=denoise_us,
            spatial_factor=spatial_factor,
            time_window=time_window,
        )
        if is_frames_file(source):
            if augment:
                raise UserError(f"augment is for images; {source} holds frames, leave it out")
            splits = read_frames(Path(source), steps, test_steps, seed, allow_loss)
        else:
            _check_images(source)
            splits = _images(
                decoded_images(source, cache_dir), profile, seed, steps, test_steps, augment, flip
            )
            splits = replace(splits, notes=tuple(_image_notes(splits))) if own else splits
    splits = replace(splits, own=own)
    if subset is not None:
        splits = take_subset(splits, subset)
    return limit(hold_out(splits, validation, seed), train_size, test_size, seed)


def is_known(source: str) -> bool:
    """Tell whether a data set has a known name or an existing path."""
    return source.lower() in (*IMAGE_NAMES, *event_sources.NAMES) or Path(source).exists()


def _check_known(source: str) -> None:
    known = (*IMAGE_NAMES, *event_sources.NAMES, *DATASET_NAMES)
    if not is_known(source):
        raise UserError(
            f"unknown data set {source!r}{nearest(source, known[::-1])}: neither a path that exists nor one of "
            f"{', '.join(known)}"
        )


def _lasting(own: Duration, steps: int | None, test_steps: int | None) -> Duration:
    """Replace a data set's own durations by the given ones."""
    for name, value in (("steps", steps), ("test_steps", test_steps)):
        if value is not None and (whole(value) or 0) < 1:
            raise UserError(f"{name} is {value!r}; it must be a positive integer")
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
    found: FrameSplits,
    origin: EventSource,
    options: FrameOptions,
    profile: str,
    seed: int,
    steps: int | None,
    test_steps: int | None,
) -> Splits:
    """Return all samples of an event set."""
    like = origin.like if origin.large_sensor and found.name not in DURATIONS else found.name
    lasting = _lasting(duration(like, events=True), steps, test_steps)
    portions = []
    for part, training in ((found.train, True), (found.test, False)):
        length = lasting.train if training else lasting.test
        samples = Recordings(part, length, origin.large_sensor and training, profile == "faithful")
        portions.append(_portion(samples, part.labels, lasting, training, True, profile, seed))
    digest = combined_digest([(found.content, repr(options))])
    counts = {"train": len(found.train), "test": len(found.test)}
    identity = DataIdentity(found.name, digest, counts, len(found.class_names))
    return Splits(
        found.name, found.class_names, found.train.shape, True, portions[0], None, portions[1], identity=identity
    )  # fmt: skip


def _own_notes(found: FrameSplits, source: str, allow_loss: bool) -> list[str]:
    """Say how own recordings were interpreted."""
    return told([note if isinstance(note, str) else Kept(*note) for note in found.notes], source, allow_loss)  # pyright: ignore[reportArgumentType]


def _late(
    whole: Splits, found: FrameSplits, origin: EventSource, options: FrameOptions, steps: int | None, allow_loss: bool
) -> list[str]:  # fmt: skip
    """Say how many events the filter and the window keep; refuse a window that loses more than 5 %."""
    lines = []
    for name in ("train", "test"):
        part: FrameSet = getattr(found, name)
        portion: Portion = getattr(whole, name)
        where = f"{found.name} {name}"
        framed, given = int(part.count.sum(dtype=np.int64)), found.given.get(name)
        if given is not None and given > framed:
            what = f"a noise filter of {options.denoise_us / 1000:g} ms" if options.denoise_us else "frames"
            tail = "" if options.tail else " and the incomplete last frames"
            lines.append(f"{where}: {what}{tail} let {framed} of {given} events pass")
        if isinstance(portion.samples, Recordings) and portion.samples.random:
            lines.append(f"{where}: {portion.steps} frames of each, from a random start")
            continue
        kept = int(part.count[part.frame < portion.steps].sum(dtype=np.int64))
        cause = f"come after the first {portion.steps} frames of {options.window_us / 1000:g} ms"
        if origin.like and (origin.large_sensor or steps is not None):
            # a published set's layout, whose protocol shows the beginning, or as much as the user asked for
            lines.append(f"{where}: {kept} of {framed} events kept; {framed - kept} {cause}")
            continue
        if np.median(part.frames) <= 1 and not origin.like:
            raise UserError(
                f"{where}: half of the recordings last no longer than one frame of {options.window_us / 1000:g} ms; if "
                "their times are not in us, set --time-unit, or give a shorter --time-window."
            )
        lasting = np.median(part.frames) * options.window_us
        remedy = (
            f"half of them last {lasting / 1000:g} ms or more: give more --steps or a longer --time-window"
        )
        lines.append(
            kept_line(where, "events", kept, framed, cause=cause, remedy=remedy, allow_loss=allow_loss)
        )
    return lines


def _check_images(source: str) -> None:
    """Refuse a folder or .zip without anything readable."""
    path = Path(source)
    if (path.is_dir() or path.suffix.lower() == ".zip") and not holds_images(path):
        raise UserError(
            f"{source} holds neither images nor event recordings in class folders; expected train/<class>/ and "
            f"test/<class>/ with images or {', '.join(SUFFIXES)} files"
        )


def _only_events(source: str, **options: object) -> None:
    """Refuse options that act only on recordings."""
    defaults = {"time_unit": "us", "time_window": 1000}
    for name, value in options.items():
        if value != defaults.get(name):
            raise UserError(f"{name} is for event recordings; {source} has none, leave it out")


def _image_notes(whole: Splits) -> list[str]:
    """Report oddities of own images."""
    lines = []
    for name in ("train", "test"):
        portion: Portion = getattr(whole, name)
        pixels = portion.samples.pixels.flatten(1)  # pyright: ignore[reportAttributeAccessIssue]
        where = f"{whole.name} {name}"
        constant = int((pixels == pixels[:, :1]).all(1).sum())
        largest = int(pixels.max())
        if name == "train" and 0 < largest <= FEW_LEVELS:
            raise UserError(
                f"{where}: the largest grey level is {largest} of 255, nearly black; scale the images to 0 to 255."
            )
        odd = f"; {constant} are empty or constant" if constant else ""
        odd += "; all are the same" if len(pixels) > 1 and bool((pixels == pixels[:1]).all()) else ""
        lines.append(f"{where}: {len(portion)} images of {' x '.join(map(str, whole.input_shape))}{odd}")
    present = torch.bincount(whole.train.labels, minlength=whole.classes)
    missing = torch.nonzero(present == 0).flatten().tolist()
    if missing:
        names = ", ".join(whole.class_names[k] for k in missing[:8])
        lines.append(
            f"{whole.name}: {len(missing)} of {whole.classes} classes have no training images ({names}); labels count "
            "from 0, and each has a class output"
        )
    return lines


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
