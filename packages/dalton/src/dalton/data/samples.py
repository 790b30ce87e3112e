"""Samples and their batches: what `dalton.data.load` returns.

    static images    float32 (batch, channel, height, width), grey levels / 255, not standardised
    recordings       uint8 (time, batch, polarity, height, width), event counts of 1 ms frames
    own frames       as given (time, batch, channel, height, width)

A `Portion` is a map-style data set of PyTorch, so `DataLoader` accepts it; frames are collated with time first.

Everything random is a function of (seed, purpose, epoch, batch number), so a run can continue at any batch.

A batch of recordings is padded with empty frames to the longest one and cut to a fixed number of steps. In the original
DVS128 Gesture and CIFAR10-DVS train on 500 frames from a random start and are tested on the first 1790 (1141);
N-MNIST always uses frames 0 to 299. A recording shorter than the window is padded with empty frames in both profiles
(DEV-11): the original ends with an IndexError when the longest recording of a batch has fewer than 300 frames (1790,
1141 in tests).
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, SupportsIndex

import numpy as np
import torch
from reprokit import DataIdentity, UserError
from reprokit.config import derived_seed
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.data._utils.collate import default_collate_fn_map

from dalton.checks import whole
from dalton.data.augmentation import augment as augmented
from dalton.data.frames import FrameSet
from dalton.randomness import stream


def window_starts(
    frames: np.ndarray, steps: int, *, random: bool, faithful: bool, generator: np.random.Generator
) -> np.ndarray:
    """Choose the first frame of every recording of a batch.

    - `faithful`: one start for the whole batch, drawn from [0, F - steps), F the longest recording of the batch, so
      that a window may lie in a shorter recording's padding, and the last possible start is never drawn.
    - otherwise (DEV-10): each recording has its own start, drawn from [0, F_i - steps] with F_i its number of
      frames; a window stays within valid frames unless the recording is shorter than the window, which then starts at
      0.

    Args:
        frames: (sample,), integers, number of frames of each recording, from 1.
        steps: Length of the window in frames.
        random: Whether the start is drawn at random; otherwise it is the first frame.
        faithful: Whether to use the original's rule.
        generator: Source of the draws; one per batch.

    Returns:
        int64 (sample,).
    """
    if not random:
        return np.zeros(len(frames), np.int64)
    if faithful:
        spare = int(frames.max()) - steps
        return np.full(len(frames), generator.integers(spare) if spare > 0 else 0, np.int64)
    return generator.integers(0, np.maximum(frames.astype(np.int64) - steps, 0) + 1)


class Samples(Protocol):
    """All samples of a split."""

    def take(self, rows: Tensor, seed: int, epoch: int, number: int) -> Tensor:
        """Return the inputs of a batch; `seed`, `epoch` and `number` determine its random draws."""
        ...

    def to(self, device: torch.device | str) -> Samples:
        """Return the samples with inputs on another device."""
        ...

    def evaluated(self, steps: int) -> Samples:
        """Return the samples as they are evaluated: for `steps` time-steps, without randomness."""
        ...


@dataclass(frozen=True)
class Images:
    """Static images.

    Args:
        pixels: uint8 (sample, channel, height, width), or floats in [0, 1].
        augment: Whether they are augmented.
        flip: Whether augmenting may mirror them.
    """

    pixels: Tensor
    augment: bool = False
    flip: bool = True

    def take(self, rows: Tensor, seed: int, epoch: int, number: int) -> Tensor:
        """Return float32 (batch, channel, height, width) in [0, 1]."""
        pixels = self.pixels[rows.to(self.pixels.device)]
        if self.augment:
            pixels = augmented(pixels, stream(seed, "augment", epoch, number), flip=self.flip)
        return pixels.float() if pixels.is_floating_point() else pixels.float().div_(255)

    def to(self, device: torch.device | str) -> Images:
        """Return the images on another device."""
        return replace(self, pixels=self.pixels.to(device))

    def evaluated(self, steps: int) -> Images:  # noqa: ARG002
        """Return the images without augmentation."""
        return replace(self, augment=False)


@dataclass(frozen=True)
class Recordings:
    """Event recordings as frames.

    Args:
        frames: Sparse frames of all recordings.
        steps: Length of the window.
        random: Whether its start is drawn at random.
        faithful: Whether it is drawn as in the original.
        device: Device on which dense frames are made.
    """

    frames: FrameSet
    steps: int
    random: bool
    faithful: bool
    device: torch.device | str = "cpu"

    def take(self, rows: Tensor, seed: int, epoch: int, number: int) -> Tensor:
        """Return counts (time, batch, polarity, height, width), uint8."""
        index = rows.cpu().numpy()
        start = window_starts(
            self.frames.frames[index],
            self.steps,
            random=self.random,
            faithful=self.faithful,
            generator=np.random.default_rng(derived_seed(seed, "window", epoch, number)),
        )
        return self.frames.dense(index, start, self.steps, self.device)

    def to(self, device: torch.device | str) -> Recordings:
        """Return the recordings with frames made on another device."""
        return replace(self, device=device)

    def evaluated(self, steps: int) -> Recordings:
        """Return the first `steps` frames of the recordings."""
        return replace(self, steps=steps, random=False)


@dataclass(frozen=True)
class Frames:
    """Own frames, kept as they were given.

    Args:
        frames: (sample, time, channel, height, width).
        steps: Number of frames shown: the first ones, followed by empty frames if there are fewer.
    """

    frames: Tensor
    steps: int

    def take(self, rows: Tensor, seed: int, epoch: int, number: int) -> Tensor:  # noqa: ARG002
        """Return frames (time, batch, channel, height, width)."""
        return lasting(self.frames[rows.to(self.frames.device)].transpose(0, 1), self.steps).contiguous()

    def to(self, device: torch.device | str) -> Frames:
        """Return the frames on another device."""
        return replace(self, frames=self.frames.to(device))

    def evaluated(self, steps: int) -> Frames:
        """Return the first `steps` frames."""
        return replace(self, steps=steps)


def lasting(frames: Tensor, steps: int) -> Tensor:
    """Return the first `steps` frames of (time, ...), followed by empty ones if there are fewer."""
    if len(frames) >= steps:
        return frames[:steps]
    return torch.cat((frames, frames.new_zeros((steps - len(frames), *frames.shape[1:]))))


class SampleFrames(Tensor):
    """Frames of one sample, (time, channel, height, width), which `DataLoader` stacks with time first."""


def _time_first(batch: list[Tensor], *, collate_fn_map: Any = None) -> Tensor:  # noqa: ARG001
    return torch.stack([frames.as_subclass(Tensor) for frames in batch], 1)


default_collate_fn_map[SampleFrames] = _time_first  # as torch documents for user-defined types


@dataclass(frozen=True)
class Portion(Dataset[tuple[Tensor, Tensor]]):
    """Labelled samples of the training, validation or test set.

        for inputs, labels in DataLoader(splits.train, batch_size=50, shuffle=True):
            dalton.train_step(method, net, optimizer, inputs, labels, steps=splits.train.static_steps)

    `batches` does the same faster, and in an order that depends on seed and epoch alone.

    Args:
        samples: All samples of the split they belong to.
        rows: int64 (sample,), the chosen ones, in order.
        labels: int64 (sample,).
        steps: Time-steps for which each is presented.
        events: Whether they are recordings.
        seed: Seed of orders, windows and augmentation.
        shuffle: Whether batches come in a new order every epoch unless told otherwise.
        drop_last: Whether a smaller last batch is left out unless told otherwise.
        epoch: The epoch for which augmentation and windows of single samples (``portion[k]``) are drawn.
    """

    samples: Samples
    rows: Tensor
    labels: Tensor
    steps: int
    events: bool
    seed: int = 0
    shuffle: bool = False
    drop_last: bool = False
    epoch: int = 1

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def __getitem__(self, index: SupportsIndex) -> tuple[Tensor, Tensor]:
        """Return one sample and its label, int64 ().

        An image is (channel, height, width), frames are (time, channel, height, width). Where augmentation or windows
        are drawn, ``replace(portion, epoch=k)`` draws those of epoch k.
        """
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"sample {place} of {len(self)}")
        place %= len(self)
        inputs, labels = self.take(slice(place, place + 1), self.epoch, place)
        return inputs[:, 0].as_subclass(SampleFrames) if self.events else inputs[0], labels[0]

    @property
    def static_steps(self) -> int | None:
        """Number of steps for which an image is repeated; None for recordings, which have a frame for each step."""
        return None if self.events else self.steps

    def batch_indices(
        self, batch_size: int, epoch: int = 1, shuffle: bool | None = None, drop_last: bool | None = None
    ) -> list[Tensor]:
        """Split the samples into batches.

        Args:
            batch_size: Samples per batch.
            epoch: From 1; with the seed it decides the order.
            shuffle: None means the portion's own rule, `shuffle`.
            drop_last: None means the portion's own rule, `drop_last`.

        Returns:
            int64 (batch,) each, numbers of samples of this portion.

        Raises:
            UserError: `batch_size` is below 1, or no batch is left.
        """
        if (whole(batch_size) or 0) < 1:
            raise UserError(f"batch_size is {batch_size!r}; it must be a whole number of 1 or more")
        order = torch.arange(len(self))
        if self.shuffle if shuffle is None else shuffle:
            order = torch.randperm(len(self), generator=stream(self.seed, "order", epoch))
        batches = list(order.split(batch_size)) if len(order) else []
        if batches and (self.drop_last if drop_last is None else drop_last) and len(batches[-1]) < batch_size:
            batches.pop()
        if not batches:
            raise UserError(
                f"batch_size {batch_size} leaves no complete batch of {len(self)} samples, and a smaller one "
                "is dropped; make it smaller"
            )
        return batches

    def take(self, index: Tensor | slice, epoch: int = 1, number: int = 0) -> tuple[Tensor, Tensor]:
        """Return inputs and labels of some samples.

        Args:
            index: Numbers of this portion's samples.
            epoch: The epoch for which windows and augmentation are drawn.
            number: The batch for which they are drawn.
        """
        return self.samples.take(self.rows[index], self.seed, epoch, number), self.labels[index]

    def batches(
        self,
        batch_size: int,
        epoch: int = 1,
        shuffle: bool | None = None,
        drop_last: bool | None = None,
        first: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over the samples: inputs and labels, batch by batch.

        Args:
            batch_size: Samples per batch.
            epoch: From 1.
            shuffle: As in `batch_indices`.
            drop_last: As in `batch_indices`.
            first: Number of the first batch, to continue in the middle of an epoch.
        """
        found = self.batch_indices(batch_size, epoch, shuffle, drop_last)
        for number in range(first, len(found)):
            yield self.take(found[number], epoch, number)

    def subset(self, index: Tensor) -> Portion:
        """Return a portion of some of these samples, int64 (sample,), in that order."""
        return replace(self, rows=self.rows[index], labels=self.labels[index])

    def to(self, device: torch.device | str) -> Portion:
        """Return the portion with inputs and labels on another device."""
        return replace(self, samples=self.samples.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class Splits:
    """A data set ready for training.

    Args:
        name: The data set really used, as it goes into a ledger row.
        class_names: One name a class.
        input_shape: (channel, height, width).
        events: Whether samples are recordings.
        train: Samples to learn from.
        validation: Samples held out of the training set, or None.
        test: Samples to report on.
        notes: What was kept of own data and how it was interpreted, one line each.
        identity: Identity of the data set before any samples were chosen; None if unknown.
        own: Whether it is own data, neither published nor embedded.
    """

    name: str
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    events: bool
    train: Portion
    validation: Portion | None
    test: Portion
    notes: tuple[str, ...] = ()
    identity: DataIdentity | None = None
    own: bool = False

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def to(self, device: torch.device | str) -> Splits:
        """Return the data set with inputs and labels on another device."""
        held = None if self.validation is None else self.validation.to(device)
        return replace(self, train=self.train.to(device), validation=held, test=self.test.to(device))
