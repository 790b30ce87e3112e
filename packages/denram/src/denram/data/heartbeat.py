r"""Heartbeats as spikes: beats cut from two-lead ECG, each lead turned into up and down spikes, normal or ventricular.

Level crossing: a lead's levels lie :math:`\delta` mV apart, and the encoder remembers the level :math:`r` reached last,

.. math:: n_t = \mathrm{trunc}\big((x_t - r_{t-1}) / \delta\big), \quad r_t = r_{t-1} + n_t\,\delta, \quad r_0 = x_0

gives :math:`|n_t|` spikes at sample t: on the lead's *up* channel where :math:`n_t > 0`, else on its *down* channel.
The offset of a lead has no effect. Channels: 0 and 1 are up and down of the first lead (MLII where the record has it),
2 and 3 of the second.

A beat is the `WINDOW` around its annotation. Classes follow AAMI EC57: normal (N, L, R, e, j) and ventricular (V, E);
other beats are left out. Normal beats at equal distances in the list are chosen so that both classes are
equally large, in training and test; so accuracy is the mean of both classes' sensitivities.

Splits: ``heartbeat-208`` (any record): within one patient, the first 60 % of the time is for training and the rest for
the test. ``heartbeat-ds1-ds2``: between patients, as de Chazal, O'Dwyer and Reilly 2004 publish it (IEEE Trans. Biomed.
Eng. 51:1196-1206, doi 10.1109/TBME.2004.827359): 22 records for training and 22 others for the test, without the four
paced ones. ``heartbeat-patients``: the same without record 202, because 201 (training) and 202 (test) are from the same
subject; only this split is strictly between patients.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from reprokit import Recordings, RecordingSplits, UserError, fetch

from denram.data.ecg_toy import toy_record
from denram.data.mitdb import EcgRecord, read_record
from denram.spec import LEVELS_MV, level_distances

NORMAL, VENTRICULAR = (1, 2, 3, 34, 11), (5, 10)  # codes of N, L, R, e, j and of V, E
CLASSES = ("normal", "ventricular")
FIRST_LEAD = "MLII"
CHANNELS = 4
WINDOW = (0.3, 0.4)  # seconds before and after the annotation
TRAINING_SHARE = 0.6  # share of a record's duration
ROUNDING = 1e-3  # share of a level: a sample this close to a level has reached it, whatever the last bits of its value
TOY = "heartbeat-toy"
DS1 = (
    *(101, 106, 108, 109, 112, 114, 115, 116, 118, 119, 122),
    *(124, 201, 203, 205, 207, 208, 209, 215, 220, 223, 230),
)
DS2 = (
    *(100, 103, 105, 111, 113, 117, 121, 123, 200, 202, 210),
    *(212, 213, 214, 219, 221, 222, 228, 231, 232, 233, 234),
)
BETWEEN = {
    "heartbeat-ds1-ds2": (DS1, DS2),
    "heartbeat-patients": (DS1, tuple(record for record in DS2 if record != 202)),
}
SETS = f"{TOY}, heartbeat-208 (or another record), {', '.join(BETWEEN)}"


class Beats(NamedTuple):
    """Beats of one record as spikes.

    Attributes:
        sample: Beat of each spike, int64 `(spike,)`, ascending.
        times: Seconds from the beginning of the beat's window, float32 `(spike,)`, ascending within a beat.
        units: Channel of each spike, int64 `(spike,)`.
        labels: 0 for a normal beat, 1 for a ventricular one, int64 `(beat,)`.
        marks: Second of each beat's annotation from the beginning of the record, float64 `(beat,)`.
    """

    sample: np.ndarray
    times: np.ndarray
    units: np.ndarray
    labels: np.ndarray
    marks: np.ndarray


def is_heartbeat(source: str) -> bool:
    """Whether a name is that of a heartbeat set."""
    return source in (TOY, *BETWEEN) or re.fullmatch(r"heartbeat-\d{3}", source) is not None


def load_heartbeat(
    source: str, levels: Sequence[float] = LEVELS_MV, *, folder: str | Path | None = None
) -> RecordingSplits:
    """Beats of one split as recordings of four channels; `speakers` are the records if there are several.

    Args:
        source: ``heartbeat-208`` or another record, ``heartbeat-patients``, ``heartbeat-ds1-ds2``, or the generated
            ``heartbeat-toy``.
        levels: Distance of the levels in mV, one for both leads or one for each.
        folder: Folder with the records' files; None: fetched and verified (``mitdb``).

    Raises:
        UserError: An unknown source, invalid levels, damaged files, or a split that lacks a class.
    """
    distances = level_distances(levels)
    if not is_heartbeat(source):
        raise UserError(f"unknown heartbeat set {source!r}; choose from {SETS}")
    if source in BETWEEN:
        place = Path(folder) if folder else fetch("mitdb")
        parts = [[_beats(place, record, distances) for record in records] for records in BETWEEN[source]]
        train, test = (
            balanced(found, records, f"{source} {part}")
            for found, records, part in zip(parts, BETWEEN[source], ("train", "test"), strict=True)
        )
        return RecordingSplits(train, test, source, CHANNELS, CLASSES)
    if source == TOY:
        record = toy_record()
    else:
        record = read_record(folder or fetch("mitdb"), source.removeprefix("heartbeat-"))
    beats, end = encode(record, distances), record.signal.shape[1] / record.rate
    early = beats.marks < TRAINING_SHARE * end
    train, test = (
        balanced([chosen(beats, np.flatnonzero(kept))], None, f"{source} {part}")
        for kept, part in ((early, "train"), (~early, "test"))
    )
    return RecordingSplits(train, test, source, CHANNELS, CLASSES)


def encode(record: EcgRecord, levels: tuple[float, float] = (LEVELS_MV[0], LEVELS_MV[-1])) -> Beats:
    """Cut the normal and ventricular beats of a record and turn them into spikes.

    Beats whose window reaches beyond the record are left out.

    Args:
        record: The record.
        levels: Distance of the levels of each lead, mV, in the order of the module's docstring.
    """
    before, after = (round(seconds * record.rate) for seconds in WINDOW)
    signal = record.signal[::-1] if record.leads[1] == FIRST_LEAD else record.signal
    labels = np.where(np.isin(record.codes, VENTRICULAR), 1, np.where(np.isin(record.codes, NORMAL), 0, -1))
    fits = (labels >= 0) & (record.marks >= before) & (record.marks + after <= signal.shape[1])
    marks, labels = record.marks[fits], labels[fits].astype(np.int64)
    windows = marks[:, None] + np.arange(-before, after)
    found = [
        (beat, step, 2 * lead + down)
        for lead, level in enumerate(levels)
        for down, (beat, step) in enumerate(level_crossings(signal[lead][windows], level))
    ]
    sample, step = (np.concatenate([row[k] for row in found]) for k in (0, 1))
    units = np.concatenate([np.full(len(beat), unit) for beat, _, unit in found])
    order = np.lexsort((units, step, sample))
    times = (step[order] / record.rate).astype(np.float32)
    return Beats(sample[order], times, units[order], labels, marks / record.rate)


def level_crossings(signal: np.ndarray, level: float) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Crossings of each row, for up and for down: row and sample of each, int64 `(spike,)`.

    Args:
        signal: mV, `(row, sample)`.
        level: Distance of the levels, mV.
    """
    values = np.asarray(signal, np.float64) / level
    counts, reached = np.zeros(values.shape, np.int64), values[:, :1].copy()
    for step in range(values.shape[1]):
        gap = values[:, step] - reached[:, 0]
        counts[:, step] = np.trunc(gap + np.sign(gap) * ROUNDING)
        reached[:, 0] += counts[:, step]
    rows, steps = np.indices(values.shape)
    return tuple(
        (np.repeat(rows.ravel(), many.ravel()), np.repeat(steps.ravel(), many.ravel()))
        for many in (np.maximum(counts, 0), np.maximum(-counts, 0))
    )


def chosen(beats: Beats, which: np.ndarray) -> Beats:
    """Some beats, by ascending numbers."""
    new = np.full(len(beats.labels), -1)
    new[which] = np.arange(len(which))
    kept = new[beats.sample] >= 0
    return Beats(
        new[beats.sample][kept], beats.times[kept], beats.units[kept], beats.labels[which], beats.marks[which]
    )


def balanced(parts: Sequence[Beats], records: Iterable[int] | None, name: str) -> Recordings:
    """Join records and choose equally many beats of each class.

    Args:
        parts: Beats of each record.
        records: Number of each record, for `speakers`; None: one record, unknown speakers.
        name: Name of the result in messages.

    Raises:
        UserError: One of the classes has no beats.
    """
    labels = np.concatenate([part.labels for part in parts])
    classes = [np.flatnonzero(labels == label) for label in range(len(CLASSES))]
    size = min(map(len, classes))
    if not size:
        empty = next(word for word, found in zip(CLASSES, classes, strict=True) if not len(found))
        raise UserError(f"{name}: there are no {empty} beats; choose another record, such as heartbeat-208")
    kept = np.zeros(len(labels), bool)
    for found in classes:
        kept[found[np.arange(size) * len(found) // size]] = True
    ends = np.cumsum([0, *(len(part.labels) for part in parts)])
    picked = [
        chosen(part, np.flatnonzero(kept[first:last]))
        for part, first, last in zip(parts, ends, ends[1:], strict=False)
    ]
    counts = np.concatenate([np.bincount(part.sample, minlength=len(part.labels)) for part in picked])
    speakers = None
    if records is not None:
        speakers = np.repeat(np.array(list(records), np.int64), [len(part.labels) for part in picked])
    return Recordings(
        np.concatenate([part.times for part in picked]),
        np.concatenate([part.units for part in picked]).astype(np.int32),
        np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        labels[kept],
        speakers,
    )


def _beats(folder: Path, record: int, levels: tuple[float, float]) -> Beats:
    return encode(read_record(folder, str(record)), levels)
