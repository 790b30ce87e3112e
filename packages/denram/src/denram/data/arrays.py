"""Own arrays as a data set: pairs of times and units, tonic's structured arrays, or ready `Recordings`.

One entry for everything that is not a folder of files: SSC and N-TIDIGITS as read by tonic or your own code, a cochlea,
ECG.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from reprokit import Recordings, RecordingSplits, UserError
from reprokit.data.clock import STARTS, Start
from reprokit.readers.shd import UNITS_PER_SECOND
from reprokit.types import MOST_CHANNELS, TimeUnit

from denram.data.loading import DataSet, bin_splits
from denram.spec import Binning

__all__ = ["Recordings", "from_arrays"]
TIME_UNITS = ("s", *UNITS_PER_SECOND)


def from_arrays(
    train: Any,
    test: Any,
    binning: Binning,
    *,
    time_unit: TimeUnit,
    validation: Any = None,
    channels: int | None = None,
    start: Start = "zero",
    name: str = "own",
    allow_loss: bool = False,
) -> DataSet:
    """Bin own recordings that are in memory.

        data = from_arrays((train_spikes, train_labels), (test_spikes, test_labels), config.binning, time_unit="ms")
        data = from_arrays(tonic.datasets.SSC(..., split="train"), tonic.datasets.SSC(..., split="test"),
                           config.binning, time_unit="us")
        train(config, data)

    Args:
        train: Training part: `Recordings` (in seconds); a tuple of samples and labels, plus speakers if known;
            or a sequence of (sample, label) pairs, like tonic's data sets. A sample is a pair of arrays
            (times, units) or a structured array with the fields ``t`` and ``x``. It may be empty or unsorted.
        test: Test part, in the same form.
        binning: How to bin.
        time_unit: Unit of the times: s, ms or us (tonic's); never guessed.
        validation: Part for validation; None: a share of the training part.
        channels: Number of channels; None: as many as occur in the units, at least `n_in`.
        start: ``zero``: times as they are; ``first-event``: each recording's first spike is at 0.
        name: Name of the data in results.
        allow_loss: Warn of losses above 5 % instead of refusing.

    Returns:
        The data set, for `denram.train`. Labels are whole numbers from 0, or words, which are sorted.

    Raises:
        UserError: The wrong kind of samples or labels, a time that is negative or not finite, a unit that is
            not a channel, or too many lost spikes.
    """
    if time_unit not in TIME_UNITS or start not in STARTS:
        wrong, allowed = (start, STARTS) if time_unit in TIME_UNITS else (time_unit, TIME_UNITS)
        raise UserError(f"{wrong!r} is unknown; it must be one of {', '.join(allowed)}.")
    given = {"train": train, "test": test} | ({} if validation is None else {"validation": validation})
    found = {part: _part(f"{name} {part}", value, time_unit, start) for part, value in given.items()}
    class_names = _number_labels(name, found)
    parts = {part: _recordings(*value) for part, value in found.items()}
    most = 1 + max(int(part.units.max(initial=0)) for part in parts.values())
    count = max(most, binning.n_in) if channels is None else channels
    if not 1 <= count <= MOST_CHANNELS:
        raise UserError(f"channels is {count}; it must be from 1 to {MOST_CHANNELS}.")
    splits = RecordingSplits(parts["train"], parts["test"], name, count, class_names, parts.get("validation"))
    return bin_splits(
        splits, binning, files={part: f"{name} {part}" for part in parts}, allow_loss=allow_loss
    )


def _part(where: str, value: Any, time_unit: TimeUnit, start: Start) -> tuple[list[Any], np.ndarray, Any]:
    """Samples as (times in seconds, units), labels as they are, and speakers of one part."""
    if isinstance(value, Recordings):
        if time_unit != "s":
            raise UserError(f"{where}: Recordings are in seconds, but time_unit is {time_unit}; leave it s.")
        value = ([value[index] for index in range(len(value))], value.labels, value.speakers)
    samples: Any
    speakers: Any = None
    if isinstance(value, tuple) and len(value) in (2, 3):
        samples, labels = value[:2]
        speakers = value[2] if len(value) == 3 else None
    else:
        try:
            pairs = [value[index] for index in range(len(value))]
            samples, labels = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        except (TypeError, IndexError, KeyError) as error:
            raise UserError(
                f"{where}: is {type(value).__name__}; it must be (samples, labels), (samples, labels, speakers), "
                "Recordings, or a sequence of (sample, label) pairs."
            ) from error
    labels = np.asarray(labels)
    if len(samples) != len(labels) or labels.ndim != 1 or not len(labels):
        raise UserError(
            f"{where}: has {len(samples)} samples and labels of shape {labels.shape}; give one label per sample."
        )
    if speakers is not None and np.shape(speakers) != labels.shape:
        raise UserError(f"{where}: has {len(samples)} samples and speakers of shape {np.shape(speakers)}.")
    scale = UNITS_PER_SECOND.get(time_unit, 1.0)
    return [_sample(f"{where}: sample {k}", s, scale, start) for k, s in enumerate(samples)], labels, speakers


def _sample(where: str, sample: Any, scale: float, start: Start) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds, float32, and units, int32, of one sample, in the order of time."""
    fields = getattr(getattr(sample, "dtype", None), "names", None)
    if fields:
        if not {"t", "x"} <= set(fields):
            raise UserError(f"{where} has the fields {', '.join(fields)}; it needs t and x.")
        for field in {"y", "p"} & set(fields):
            if len(np.unique(sample[field])) > 1:
                raise UserError(
                    f"{where} has several values of {field}; give (times, units) with a unit for each x and {field}."
                )
        sample = (sample["t"], sample["x"])
    if not isinstance(sample, list | tuple) or len(sample) != 2:
        raise UserError(
            f"{where} is {type(sample).__name__}; it must be (times, units), or have the fields t and x."
        )
    times, units = np.asarray(sample[0]), np.asarray(sample[1])
    if times.ndim != 1 or times.shape != units.shape:
        raise UserError(
            f"{where} has times {times.shape} and units {units.shape}; give one unit for each time."
        )
    if not len(times):
        return np.zeros(0, np.float32), np.zeros(0, np.int32)
    if times.dtype.kind not in "fiu" or not np.all(np.isfinite(times)):
        raise UserError(f"{where} has times that are not finite numbers.")
    if units.dtype.kind not in "iu" or units.min() < 0 or units.max() >= MOST_CHANNELS:
        raise UserError(
            f"{where} has units of {units.dtype} up to {units.max()}; they are whole numbers from 0."
        )
    order = np.argsort(times, kind="stable")
    seconds = times[order].astype(np.float64) / scale
    if start == "first-event":
        seconds -= seconds[0]
    if seconds[0] < 0:
        raise UserError(
            f"{where} has a time of {seconds[0]:g} s; times count from 0 (or give start='first-event')."
        )
    return seconds.astype(np.float32), units[order].astype(np.int32)


def _number_labels(name: str, found: dict[str, tuple[list[Any], np.ndarray, Any]]) -> tuple[str, ...]:
    """Turn the labels of all parts into whole numbers from 0; returns the names of the classes."""
    kinds = {labels.dtype.kind for _, labels, _ in found.values()}
    if kinds <= {"U", "S", "O"}:
        every = np.concatenate([labels.astype(str) for _, labels, _ in found.values()])
        names = np.unique(every)
        for part, (samples, labels, speakers) in found.items():
            found[part] = (samples, np.searchsorted(names, labels.astype(str)), speakers)
        return tuple(names.tolist())
    if not kinds <= {"i", "u"}:
        raise UserError(
            f"{name}: labels are {', '.join(sorted(str(f[1].dtype) for f in found.values()))}; "
            "give whole numbers from 0, or words."
        )
    least = min(int(labels.min()) for _, labels, _ in found.values())
    if least < 0:
        raise UserError(f"{name}: a label is {least}; classes are numbered from 0.")
    return tuple(str(label) for label in range(1 + max(int(labels.max()) for _, labels, _ in found.values())))


def _recordings(
    samples: list[tuple[np.ndarray, np.ndarray]], labels: np.ndarray, speakers: Any
) -> Recordings:
    lengths = [len(times) for times, _ in samples]
    return Recordings(
        np.concatenate([times for times, _ in samples]),
        np.concatenate([units for _, units in samples]),
        np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        labels.astype(np.int64),
        None
        if speakers is None
        else np.unique(np.asarray(speakers), return_inverse=True)[1].astype(np.int64),
    )
