"""Input spikes as events, grouped by sample and channel, stored once per data set and sliced per batch."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from reprokit import UserError


@dataclass(frozen=True, eq=False)
class EventBatch:
    """Spikes of some samples, channels and steps, as compressed rows.

    The spikes of channel c in sample s are ``steps[starts[s, c] : starts[s, c + 1]]``, ascending, each step
    at most once. A batch made by `take` shares ``steps`` with the data set it comes from.

    Attributes:
        steps: time step of every spike, uint16, shape (n_events,).
        starts: int64, shape (n_samples, n_in + 1).
        steps_in: number of time steps of input.
        checked: the arrays are known to be valid; `take` sets this, because checking a data set for every batch
            would cost more than the batch.

    Raises:
        UserError: arrays of wrong shapes or types, or indices outside of the arrays.
    """

    steps: np.ndarray
    starts: np.ndarray
    steps_in: int
    checked: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse arrays that compiled code could not read safely."""
        if self.checked:
            return
        if self.steps.ndim != 1 or self.steps.dtype != np.uint16:
            raise UserError(
                f"steps is {self.steps.dtype} with {self.steps.ndim} axes; it must be uint16 with one."
            )
        if self.starts.ndim != 2 or self.starts.shape[1] < 2 or self.starts.dtype != np.int64:
            raise UserError(
                f"starts is {self.starts.dtype} of shape {self.starts.shape}; it must be int64, (samples, n_in + 1)."
            )
        if len(self.steps) and int(self.steps.max()) >= self.steps_in:
            raise UserError(
                f"A spike has step {self.steps.max()}; it must lie between 0 and {self.steps_in - 1}."
            )
        if np.any(np.diff(self.starts, axis=1) < 0) or np.any(
            (self.starts < 0) | (self.starts > len(self.steps))
        ):
            raise UserError(
                f"starts must rise along each row within 0 and the {len(self.steps)} spikes of steps."
            )
        if not (0 < self.steps_in <= np.iinfo(np.uint16).max and self.steps_in == int(self.steps_in)):
            raise UserError(
                f"steps_in is {self.steps_in}; it must be a whole number from 1 to {np.iinfo(np.uint16).max}."
            )
        falls = np.flatnonzero(np.diff(self.steps.astype(np.int32)) <= 0) + 1  # where a channel must begin
        if len(falls) and not np.all(self._begins_or_unused(falls)):
            raise UserError("steps must rise within each channel, every step at most once.")

    def _begins_or_unused(self, places: np.ndarray) -> np.ndarray:
        """Whether each spike and the one before it belong to different channels."""
        first, last = self.starts[:, :-1].ravel(), self.starts[:, 1:].ravel()
        order = np.argsort(first, kind="stable")
        first, last = first[order], np.maximum.accumulate(last[order]) if len(first) else last
        before = np.searchsorted(first, places, side="left") - 1  # channels that begin at an earlier spike
        return (before < 0) | (last[np.maximum(before, 0)] <= places)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.starts)

    @property
    def n_in(self) -> int:
        """Number of channels."""
        return self.starts.shape[1] - 1

    @cached_property
    def n_events(self) -> int:
        """Number of spikes of these samples."""
        return int(np.sum(self.starts[:, -1] - self.starts[:, 0]))

    @property
    def density(self) -> float:
        """Share of (sample, step, channel) cells with a spike."""
        cells = len(self) * self.steps_in * self.n_in
        return self.n_events / cells if cells else 0.0

    def take(self, indices: np.ndarray) -> "EventBatch":
        """The given samples in the given order; spikes are shared, not copied.

        Raises:
            UserError: indices with other than one axis.
        """
        if np.ndim(indices) != 1:
            raise UserError(
                f"indices has {np.ndim(indices)} axes; it must have one: a number for each sample."
            )
        return EventBatch(self.steps, self.starts[indices], self.steps_in, checked=True)

    def coordinates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sample, step and channel of every spike, int64, ordered by sample, channel, step."""
        counts = np.diff(self.starts, axis=1)
        per_sample = counts.sum(axis=1)
        sample = np.repeat(np.arange(len(self)), per_sample)
        channel = np.repeat(np.tile(np.arange(self.n_in), len(self)), counts.ravel())
        before = np.cumsum(per_sample) - per_sample
        position = np.arange(len(sample)) + np.repeat(self.starts[:, 0] - before, per_sample)
        return sample, self.steps[position].astype(np.int64), channel

    def padded(self, capacity: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The spikes as arrays with one row per sample, the form for compiled programs.

        Args:
            capacity: Length of the rows; None: as many as the sample with the most spikes has, at least 1.

        Returns:
            The step of every spike, uint16 ``(n_samples, capacity)``, padded with 0, and the start of each
            channel's spikes in the row of their sample, int32 ``(n_samples, n_in + 1)``.

        Raises:
            UserError: A sample with more spikes than `capacity`.
        """
        first = self.starts[:, 0]
        counts = self.starts[:, -1] - first
        most = int(counts.max()) if len(counts) else 0
        if capacity is None:
            capacity = max(most, 1)
        if capacity < most:
            raise UserError(
                f"capacity is {capacity}, but a sample has {most} spikes; give room for them all."
            )
        rows = np.zeros((len(self), capacity), np.uint16)
        for row, start, count in zip(rows, first.tolist(), counts.tolist(), strict=True):
            row[:count] = self.steps[start : start + count]
        return rows, (self.starts - first[:, None]).astype(np.int32)

    def dense(self) -> np.ndarray:
        """The spikes as uint8 of shape (time, sample, channel)."""
        grid = np.zeros((self.steps_in, len(self), self.n_in), dtype=np.uint8)
        sample, step, channel = self.coordinates()
        grid[step, sample, channel] = 1
        return grid

    @classmethod
    def from_coordinates(
        cls,
        sample: np.ndarray,
        step: np.ndarray,
        channel: np.ndarray,
        *,
        n_samples: int,
        steps_in: int,
        n_in: int,
    ) -> "EventBatch":
        """Build from the coordinates of all spikes, in any order; repeated coordinates count once.

        Args:
            sample: sample of each spike, whole numbers, shape (n_events,).
            step: time step of each spike.
            channel: channel of each spike.
            n_samples: number of samples.
            steps_in: number of time steps (at most 65535).
            n_in: number of channels.

        Raises:
            UserError: a coordinate outside its range, or more steps than can be stored.
        """
        if not 0 < steps_in <= np.iinfo(np.uint16).max:
            raise UserError(f"steps_in is {steps_in}; it must lie between 1 and {np.iinfo(np.uint16).max}.")
        for name, values, bound in (
            ("sample", sample, n_samples),
            ("step", step, steps_in),
            ("channel", channel, n_in),
        ):
            if len(values) and (np.min(values) < 0 or np.max(values) >= bound):
                bad = values[(np.asarray(values) < 0) | (np.asarray(values) >= bound)][0]
                raise UserError(f"A spike has {name} {bad}; it must lie between 0 and {bound - 1}.")
        row = np.asarray(sample, np.int64) * n_in + np.asarray(channel, np.int64)
        flat = np.unique(row * steps_in + np.asarray(step, np.int64))
        boundaries = np.searchsorted(flat, np.arange(n_samples * n_in + 1) * steps_in)
        starts = np.empty((n_samples, n_in + 1), dtype=np.int64)
        starts[:, :-1] = boundaries[:-1].reshape(n_samples, n_in)
        starts[:, -1] = boundaries[n_in::n_in] if n_samples else 0
        return cls((flat % steps_in).astype(np.uint16), starts, int(steps_in))

    @classmethod
    def from_dense(cls, spikes: np.ndarray) -> "EventBatch":
        """Build from 0/1 values of shape (sample, time, channel).

        Raises:
            UserError: an array without three axes, or values other than 0 and 1.
        """
        array = np.asarray(spikes)
        if array.ndim != 3:
            raise UserError(f"spikes has {array.ndim} axes; it must have three: (sample, time, channel).")
        if not np.all((array == 0) | (array == 1)):
            raise UserError("spikes has values other than 0 and 1; give 1 for a spike and 0 for none.")
        sample, step, channel = np.nonzero(array)
        n_samples, steps_in, n_in = array.shape
        return cls.from_coordinates(sample, step, channel, n_samples=n_samples, steps_in=steps_in, n_in=n_in)
