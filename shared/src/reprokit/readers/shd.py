"""HDF5 in the layout of the Spiking Heidelberg Digits (SHD).

``spikes/times`` (variable-length floats, seconds), ``spikes/units`` (variable-length integers, channels),
``labels`` and, if known, ``extra/speaker`` and ``extra/keys`` (class names).
Times are half precision in the public files: they are widened before any arithmetic.

Source: Cramer, Stradmann, Schemmel and Zenke 2020, IEEE TNNLS; files at zenkelab.org/datasets.
"""

import warnings
from functools import partial
from pathlib import Path

import numpy as np

from reprokit.data.clock import Start
from reprokit.errors import UserError, refuse
from reprokit.files.reading import guarded
from reprokit.readers.hdf5 import open_hdf5
from reprokit.types import CHANNELS, Recordings, TimeUnit

UNITS_PER_SECOND = {"ms": 1e3, "us": 1e6}
_MAX_LABEL = 1 << 16


def read_shd(path: str | Path, *, channels: int = CHANNELS, sort: bool = False) -> Recordings:
    """Read and check one SHD-layout file, plain or gzip-compressed.

    Args:
        path: ``shd_train.h5.gz`` or alike.
        channels: Number of channels, above all units.
        sort: Sort spikes that are out of order, with a warning that says how many, instead of refusing them.

    Returns:
        The recordings in the file's order, times as float32 seconds, units as int32.

    Raises:
        UserError: Not HDF5, truncated, wrong layout or dtype, a recording without spikes, lengths that
            disagree, a time that is negative, not finite or out of order, a unit or label out of range; the
            message names the file, the data set and the recording.
    """
    return read_shd_and_names(path, channels=channels, sort=sort)[0]


def read_shd_and_names(
    path: str | Path,
    *,
    channels: int = CHANNELS,
    sort: bool = False,
    time_unit: TimeUnit = "s",
    start: Start = "zero",
    empty: bool = False,
) -> tuple[Recordings, tuple[str, ...]]:
    """Read a file as `read_shd` does, with the class names in ``extra/keys`` (empty when it has none).

    With `empty`, recordings without spikes are not an error.

    Times in ms or us may be whole numbers; they become seconds in float32. With `start` ``first-event`` the
    first spike of each recording is at 0; this is computed before the times lose digits.
    """
    path = Path(path)
    kinds = "f" if time_unit == "s" else "fiu"
    with guarded(path, "an HDF5 file in SHD layout"), open_hdf5(path) as file:
        exact = time_unit != "s" or start == "first-event"
        times, lengths = file.rows("spikes/times", kinds, np.float64 if exact else np.float32)
        units, unit_lengths = file.rows("spikes/units", "iu")
        labels = file.integers("labels")
        speakers = file.integers("extra/speaker") if file.has("extra/speaker") else None
        names = file.texts("extra/keys") if file.has("extra/keys") else ()
    _check_lengths(path, lengths, unit_lengths, labels, speakers, empty)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    if sort:
        times, units = _sorted(path, times, units, offsets)
    if start == "first-event":
        begun = np.flatnonzero(lengths)
        times = times - np.repeat(times[offsets[begun]], lengths[begun])
    if time_unit != "s":
        times = times / UNITS_PER_SECOND[time_unit]
    times = times.astype(np.float32, copy=False)
    outside = (units < 0) | (units >= channels)
    _check_spikes(f"{path}: spikes/units", units, offsets, outside, f"channels 0 to {channels - 1}")
    units = units.astype(np.int32, copy=False)
    check = partial(_check_spikes, f"{path}: spikes/times", times, offsets)
    check(~np.isfinite(times), "finite seconds")
    check(times < 0, "seconds from 0")
    check(_descending(times, offsets), "ascending times; sort the file, or read it with sort=True")
    bad = (labels < 0) | (labels >= _MAX_LABEL)
    refuse(bad, lambda i: f"{path}: labels holds {labels[i]} for recording {i}; allowed: 0 and above")
    return Recordings(times, units, offsets, labels, speakers), names


def write_shd(path: str | Path, recordings: Recordings, class_names: tuple[str, ...] = ()) -> None:
    """Write recordings in SHD layout with half-precision times; the inverse of `read_shd`.

    Args:
        path: The .h5 file to create or replace.
        recordings: The recordings.
        class_names: Names for ``extra/keys``.
    """
    import h5py

    with h5py.File(path, "w") as file:
        for name, kind in (("times", np.float16), ("units", np.uint16)):
            data = file.create_dataset(f"spikes/{name}", (len(recordings),), h5py.vlen_dtype(kind))
            for index in range(len(recordings)):
                data[index] = recordings[index][0 if name == "times" else 1].astype(kind)
        file["labels"] = recordings.labels.astype(np.uint16)
        if recordings.speakers is not None:
            file["extra/speaker"] = recordings.speakers.astype(np.uint16)
        if class_names:
            file["extra/keys"] = np.array([name.encode() for name in class_names])


def _check_lengths(
    path: Path,
    times: np.ndarray,
    units: np.ndarray,
    labels: np.ndarray,
    speakers: np.ndarray | None,
    empty: bool,
) -> None:
    """Check that all parts of the file agree on the number of recordings and of spikes in each, none empty."""
    for name, part in (("spikes/units", units), ("labels", labels), ("extra/speaker", speakers)):
        if part is not None and len(part) != len(times):
            raise UserError(f"{path}: {name} has {len(part)} entries but spikes/times has {len(times)}")
    refuse(times != units, lambda i: f"{path}: recording {i} has {times[i]} times but {units[i]} units")
    refuse(
        (times == 0) & (not empty), lambda i: f"{path}: recording {i} has no spikes; remove it from the file"
    )


def _descending(times: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Mark the spikes that come before their predecessor in the same recording."""
    descending = np.concatenate(([False], times[1:] < times[:-1]))
    descending[offsets[:-1][offsets[:-1] < len(times)]] = False
    return descending


def _sorted(
    path: Path, times: np.ndarray, units: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sort the spikes of each recording by time, keeping the order of equal times."""
    recording = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    touched = np.unique(recording[_descending(times, offsets)])
    if not touched.size:
        return times, units
    warnings.warn(
        f"{path}: sorted the spikes of {touched.size} of {len(offsets) - 1} recordings by time", stacklevel=3
    )
    order = np.lexsort((times, recording))
    return times[order], units[order]


def _check_spikes(
    where: str, values: np.ndarray, offsets: np.ndarray, wrong: np.ndarray, allowed: str
) -> None:
    """Refuse the first spike with a wrong time or unit, and name its recording and its position."""

    def sentence(spike: int) -> str:
        index = int(np.searchsorted(offsets, spike, side="right")) - 1
        place = f"of recording {index} holds {values[spike]} at position {spike - offsets[index]}"
        return f"{where} {place}; allowed: {allowed}"

    refuse(wrong, sentence)
