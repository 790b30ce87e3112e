"""HDF5 in the layout of the Spiking Heidelberg Digits (SHD).

``spikes/times`` (variable-length floats, seconds), ``spikes/units`` (variable-length integers, channels),
``labels`` and, where known, ``extra/speaker`` and ``extra/keys`` (class names).
Times are half precision in the public files: they are widened before any arithmetic.

Source: Cramer, Stradmann, Schemmel and Zenke 2020, IEEE TNNLS; files at zenkelab.org/datasets.
"""

import warnings
from pathlib import Path

import numpy as np

from reprokit.errors import UserError
from reprokit.readers.files import guarded
from reprokit.readers.hdf5 import open_hdf5
from reprokit.recordings import CHANNELS, Recordings

_MAX_LABEL = 1 << 16


def read_shd(path: str | Path, *, channels: int = CHANNELS, sort: bool = False) -> Recordings:
    """Read and check one SHD-layout file, plain or gzip-compressed.

    Args:
        path: ``shd_train.h5.gz`` or alike.
        channels: Number of channels; units must be below it.
        sort: Put spikes that are out of order in order, with a warning that counts, instead of refusing them.

    Returns:
        The recordings in the file's order, times as float32 seconds.

    Raises:
        UserError: Not HDF5, truncated, wrong layout or dtype, a recording without spikes, lengths that
            disagree, a time that is negative, not finite or out of order, a unit or label out of range; the
            message names the file, the data set and the recording.
    """
    path = Path(path)
    with guarded(path, "an HDF5 file in SHD layout"), open_hdf5(path) as file:
        times, units = file.rows("spikes/times", "f"), file.rows("spikes/units", "iu")
        labels = file.integers("labels")
        speakers = file.integers("extra/speaker") if file.has("extra/speaker") else None
    lengths = np.array([len(row) for row in times], np.int64)
    _check_lengths(path, lengths, units, labels, speakers)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    flat_times = np.concatenate([np.asarray(row, np.float32) for row in times])
    flat_units = np.concatenate([np.asarray(row).astype(np.int64) for row in units])
    if sort:
        flat_times, flat_units = _sorted(path, flat_times, flat_units, offsets)
    _check_values(path, flat_times, flat_units, offsets, channels)
    _check_labels(path, labels)
    return Recordings(flat_times, flat_units, offsets, labels, speakers)


def read_class_names(path: str | Path) -> tuple[str, ...]:
    """Read the class names in ``extra/keys``; empty when the file has none."""
    path = Path(path)
    with guarded(path, "an HDF5 file in SHD layout"), open_hdf5(path) as file:
        return file.texts("extra/keys") if file.has("extra/keys") else ()


def write_shd(path: str | Path, recordings: Recordings, class_names: tuple[str, ...] = ()) -> None:
    """Write recordings in SHD layout with half-precision times; the inverse of `read_shd`.

    Args:
        path: The .h5 file to create or replace.
        recordings: What to write.
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
    path: Path, lengths: np.ndarray, units: np.ndarray, labels: np.ndarray, speakers: np.ndarray | None
) -> None:
    """Check that every part of the file speaks of the same recordings and spikes, none empty."""
    for name, part in (("spikes/units", units), ("labels", labels), ("extra/speaker", speakers)):
        if part is not None and len(part) != len(lengths):
            raise UserError(f"{path}: {name} has {len(part)} entries but spikes/times has {len(lengths)}")
    for index, (length, row) in enumerate(zip(lengths, units, strict=True)):
        if length != len(row):
            raise UserError(f"{path}: recording {index} has {length} times but {len(row)} units")
        if length == 0:
            raise UserError(f"{path}: recording {index} has no spikes; remove it from the file")


def _descending(times: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Mark the spikes that come before their predecessor in the same recording."""
    descending = np.concatenate(([False], times[1:] < times[:-1]))
    descending[offsets[:-1]] = False
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


def _check_values(
    path: Path, times: np.ndarray, units: np.ndarray, offsets: np.ndarray, channels: int
) -> None:
    """Check times and units, naming the first bad recording."""
    descending = _descending(times, offsets)
    for bad, name, allowed in (
        (~np.isfinite(times), "time", "finite seconds"),
        (times < 0, "time", "seconds from 0"),
        (descending, "time", "ascending times; sort the file, or read it with sort=True"),
        ((units < 0) | (units >= channels), "unit", f"channels 0 to {channels - 1}"),
    ):
        if bad.any():
            spike = int(np.argmax(bad))
            index = int(np.searchsorted(offsets, spike, side="right")) - 1
            value = (times if name == "time" else units)[spike]
            raise UserError(
                f"{path}: spikes/{name}s of recording {index} holds {value} at position "
                f"{spike - offsets[index]}; allowed are {allowed}"
            )


def _check_labels(path: Path, labels: np.ndarray) -> None:
    """Check that labels are plausible class indices."""
    bad = (labels < 0) | (labels >= _MAX_LABEL)
    if bad.any():
        index = int(np.argmax(bad))
        raise UserError(
            f"{path}: labels holds {labels[index]} for recording {index}; allowed are 0 and above"
        )
