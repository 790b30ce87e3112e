"""Recordings of spikes -> compact binned events -> mini-batches.

A recording is binned in time (several spikes in one bin count once), thinned in channels and truncated:

    edges   = `n_bins` points equally spaced on [0, duration]        (280 on [0, 1.4 s]: spacing 1.4/279 s)
    step(t) = number of edges <= t                                   (step 0 stays empty, DEV-11)
    channel = unit / stride, stride = ceil(channels / n_in); units that are not multiples of it are dropped

Only the first `steps_in` steps are kept. Spikes at or after `duration` have no bin: they are dropped and
counted (the original ends with an index error there).
The dense array (1.6 GB for the Spiking Heidelberg Digits) is never built.

Source: `data.py` of the original program (EIS-Hub/DenRAM).
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from reprokit import UserError

from denram.data.events import EventBatch
from denram.spec import Binning

if TYPE_CHECKING:
    from reprokit import Recordings

SAMPLES_AT_ONCE = 64  # samples binned together: one boolean map of 64 x n_in x steps_in


@dataclass(frozen=True, eq=False)
class Samples:
    """One part of a data set: binned spikes with their labels.

    Args:
        events: The spikes of all samples.
        labels: Class of each sample, int64 `(sample,)`.
        speakers: Speaker of each sample, int64 `(sample,)`, or None if unknown.
        n_late: Spikes dropped because they came at or after the end of the last bin.
        n_recorded: Spikes of the recordings; 0 if unknown.
        n_cut: Spikes dropped because they came after the last kept step, including those of `n_late`.
        n_thinned: Spikes dropped because their channel is not kept.
        n_kept: Spikes that were neither cut nor thinned; several in one step of a channel count as one event.
    """

    events: EventBatch
    labels: np.ndarray
    speakers: np.ndarray | None
    n_late: int = 0
    n_recorded: int = 0
    n_cut: int = 0
    n_thinned: int = 0
    n_kept: int = 0

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def fingerprint(self) -> str:
        """16 hexadecimal digits that identify these spikes, labels and speakers (for run ids and resuming)."""
        digest = hashlib.sha256(f"{self.events.steps_in}".encode())
        for array in (self.events.steps, self.events.starts, self.labels, self.speakers):
            if array is not None:
                digest.update(f"{array.dtype} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]


def bin_recordings(
    recordings: Recordings, channels: int, binning: Binning, *, name: str = "recordings"
) -> Samples:
    """Bin recordings into events.

    Args:
        recordings: Spike times in seconds and units, concatenated over samples.
        channels: Number of channels of the data (units are 0 to channels - 1).
        binning: How to bin.
        name: Name of the recordings in messages.

    Returns:
        The binned samples; a warning counts the spikes that came too late.

    Raises:
        UserError: If a time is negative or not a number, a unit is not a channel, or `n_in` is too large; if
            arrays do not fit together, or units, labels or offsets are not whole numbers.
    """
    samples = bin_silently(recordings, channels, binning, name=name)
    if samples.n_late:
        warnings.warn(
            f"{name}: {samples.n_late} of {samples.n_recorded} spikes come at or after {binning.duration} s "
            "and were dropped.",
            stacklevel=2,
        )
    return samples


def bin_silently(recordings: Recordings, channels: int, binning: Binning, *, name: str) -> Samples:
    """Bin as `bin_recordings` does, but let the caller judge the losses."""
    _check_layout(recordings, name)
    stride = binning.stride(channels)
    n_samples, n_in = len(recordings.labels), binning.n_in
    counts = np.zeros((n_samples, n_in), np.int64)
    chunks, n_late, n_cut, n_thinned, n_kept = [np.zeros(0, np.uint16)], 0, 0, 0, 0
    for first in range(0, n_samples, SAMPLES_AT_ONCE):
        bounds = np.asarray(recordings.offsets[first : first + SAMPLES_AT_ONCE + 1])
        times = recordings.times[bounds[0] : bounds[-1]]
        units = recordings.units[bounds[0] : bounds[-1]].astype(np.int64, copy=False)
        _check_spikes(times, units, channels, name)
        step = np.searchsorted(binning.edges, times, side="right")
        n_late += int(np.count_nonzero(step >= binning.n_bins))
        early, chosen = step < binning.steps_in, units % stride == 0
        n_cut += int(np.count_nonzero(~early))
        n_thinned += int(np.count_nonzero(~chosen))
        kept = early & chosen
        n_kept += int(np.count_nonzero(kept))
        sample = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))[kept]
        ones = np.zeros(((len(bounds) - 1) * n_in, binning.steps_in), bool)
        ones[sample * n_in + units[kept] // stride, step[kept]] = True
        counts[first : first + len(bounds) - 1] = ones.sum(axis=1).reshape(-1, n_in)
        chunks.append((np.flatnonzero(ones) % binning.steps_in).astype(np.uint16))
    starts = np.zeros((n_samples, n_in + 1), np.int64)
    ends = np.cumsum(counts).reshape(n_samples, n_in)
    starts[:, 1:] = ends
    starts[1:, 0] = ends[:-1, -1]
    return Samples(
        events=EventBatch(np.concatenate(chunks), starts, binning.steps_in),
        labels=np.asarray(recordings.labels, np.int64),
        speakers=None if recordings.speakers is None else np.asarray(recordings.speakers, np.int64),
        n_late=n_late,
        n_recorded=len(recordings.times),
        n_cut=n_cut,
        n_thinned=n_thinned,
        n_kept=n_kept,
    )


def _check_layout(recordings: Recordings, name: str) -> None:
    """Refuse arrays that do not fit together, or whose numbers would be truncated."""
    times, units, offsets = map(np.asarray, (recordings.times, recordings.units, recordings.offsets))
    labels = np.asarray(recordings.labels)
    for what, array in (("units", units), ("labels", labels), ("offsets", offsets)):
        if array.dtype.kind not in "iu":
            raise UserError(f"{name}: {what} are {array.dtype}; they must be whole numbers.")
    if offsets.shape != (len(labels) + 1,) or offsets[0] != 0 or np.any(np.diff(offsets) < 0):
        raise UserError(
            f"{name}: offsets have shape {offsets.shape} for {len(labels)} labels; they must rise from 0, one more "
            "than the labels."
        )
    if not len(times) == len(units) == offsets[-1]:
        raise UserError(
            f"{name}: {len(times)} times, {len(units)} units and offsets that end at {offsets[-1]}; they must agree."
        )


def _check_spikes(times: np.ndarray, units: np.ndarray, channels: int, name: str) -> None:
    if not np.all(times >= 0):  # also refuses NaN
        raise UserError(f"{name}: a spike time is negative or not a number; times must be seconds from 0 on.")
    if len(units) and not (units.min() >= 0 and units.max() < channels):
        worst = units.min() if units.min() < 0 else units.max()
        raise UserError(f"{name}: a spike names channel {worst}; channels run from 0 to {channels - 1}.")
