r"""Two-lead ECG in the files of the MIT-BIH Arrhythmia Database: header, signal format 212, annotations.

A header (``.hea``) names record, leads, sampling rate and length, then one line per lead with its gain (ADC units per
mV), its zero and the sum of its samples modulo :math:`2^{16}`. Format 212 (``.dat``) packs two 12-bit samples in
two's complement, one of each lead, into three bytes:

.. math:: s_0 = b_0 + 256\,(b_1 \bmod 16), \quad s_1 = b_2 + 256\,\lfloor b_1 / 16 \rfloor

An annotation (``.atr``) is a 16-bit word, with its code in the upper 6 bits and the samples since the previous
one in the lower 10. Code 59 (SKIP) says that 32 bits of time follow, the upper half first; 60 to 62 change
fields of the previous annotation; 63 (AUX) says how many bytes of text follow; a zero word ends the file.

Source: Moody and Mark 2001, IEEE EMB Magazine 20(3):45-50, doi 10.1109/51.932724; the WFDB file formats
(physionet.org/physiotools/wag, signal-5, header-5 and annot-5).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from reprokit import UserError
from reprokit.files.reading import guarded

FORMAT = "212"
GAIN = 200.0  # default of a header without one (header-5)
SKIP, NUM, SUB, CHN, AUX = 59, 60, 61, 62, 63
LAST_CODE = 49


@dataclass(frozen=True, eq=False)
class EcgRecord:
    """One annotated recording.

    Args:
        name: Name of the record, such as ``208``.
        leads: Name of each lead, such as ``MLII``.
        rate: Samples per second of each lead.
        signal: Float32 `(lead, sample)`, mV.
        marks: Sample of each annotation, int64 `(annotation,)`, ascending.
        codes: Code of each annotation, uint8 `(annotation,)`; 1 is a normal beat, 5 a ventricular one.
    """

    name: str
    leads: tuple[str, ...]
    rate: float
    signal: np.ndarray
    marks: np.ndarray
    codes: np.ndarray


@dataclass(frozen=True)
class _Lead:
    """A header's description of one lead."""

    file: str
    gain: float
    zero: int
    checksum: int
    name: str


def read_record(folder: str | Path, name: str) -> EcgRecord:
    """Read one record: ``name.hea``, the signal file it names, and ``name.atr``.

    Args:
        folder: Folder of the files.
        name: Name of the record.

    Raises:
        UserError: A file is missing, truncated or of another format, or its samples do not add up to the header's
            checksum.
    """
    header, notes = Path(folder) / f"{name}.hea", Path(folder) / f"{name}.atr"
    with guarded(header, "a WFDB header"):
        rate, length, leads = _header(header.read_text(encoding="ascii"))
    if len(leads) != 2 or len({lead.file for lead in leads}) != 1:
        raise UserError(f"{header}: describes {len(leads)} leads; it must be two in one file")
    signals = header.with_name(leads[0].file)
    with guarded(signals, "a signal file of format 212"):
        samples = unpack_212(np.fromfile(signals, np.uint8), str(signals))
    if len(samples) != length:
        raise UserError(
            f"{signals}: holds {len(samples)} samples a lead, its header says {length}; fetch it again"
        )
    for column, lead in zip(samples.T, leads, strict=True):
        if (int(column.sum(dtype=np.int64)) - lead.checksum) % (1 << 16):
            raise UserError(
                f"{signals}: the samples of lead {lead.name} do not add up to {header.name}; fetch it again"
            )
    zero, gain = np.array([[lead.zero, lead.gain] for lead in leads], np.float32).T
    with guarded(notes, "an annotation file"):
        marks, codes = _annotations(np.fromfile(notes, np.uint8), notes)
    if len(marks) and not 0 <= marks.min() <= marks.max() < length:
        raise UserError(
            f"{notes}: an annotation lies outside the {length} samples of {signals.name}; fetch it again"
        )
    return EcgRecord(
        name, tuple(lead.name for lead in leads), rate, ((samples - zero) / gain).T, marks, codes
    )


def unpack_212(data: np.ndarray, where: str = "data") -> np.ndarray:
    """Samples of two leads from bytes of format 212.

    Args:
        data: uint8 `(3 * samples,)`.
        where: Its name in messages.

    Returns:
        int16 `(samples, 2)`, -2048 to 2047.

    Raises:
        UserError: A number of bytes that is not a multiple of three.
    """
    if data.size % 3:
        raise UserError(
            f"{where}: {data.size} bytes are not a whole number of sample pairs of three bytes; fetch it again"
        )
    low, middle, high = data.reshape(-1, 3).T.astype(np.int16)
    raw = np.stack([low | (middle & 0x0F) << 8, high | (middle & 0xF0) << 4], axis=1)
    return raw - ((raw & 0x800) << 1)  # 12 bits in two's complement


def _header(text: str) -> tuple[float, int, list[_Lead]]:
    """Sampling rate, number of samples of each lead, and the leads."""
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    count = int(lines[0][1])
    return (
        float(lines[0][2].partition("/")[0]),
        int(lines[0][3]),
        [_lead(line) for line in lines[1 : 1 + count]],
    )


def _lead(words: list[str]) -> _Lead:
    """One lead from the words of its line: file, format, gain, bits, zero, first sample, checksum, block, name."""
    if words[1] != FORMAT:
        raise ValueError(f"format {words[1]}")
    gain = float(words[2].partition("/")[0].partition("(")[0]) or GAIN
    return _Lead(words[0], gain, int(words[4]), int(words[6]), " ".join(words[8:]))


def _annotations(data: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Sample and code of each annotation, as in `EcgRecord`."""
    words = data[: data.size // 2 * 2].view("<u2").astype(np.int64)
    marks, codes, place, now = [], [], 0, 0
    while place < len(words) and words[place]:
        code, number = words[place] >> 10, words[place] & 0x3FF
        place += 1
        if code == SKIP:
            if place + 2 > len(words):
                break
            jump = words[place] << 16 | words[place + 1]
            now += jump - (1 << 32 if jump >= 1 << 31 else 0)
            place += 2
        elif code == AUX:
            place += (number + 1) // 2
        elif code <= LAST_CODE:
            now += number
            if code:  # code 0 only advances the time
                marks.append(now)
                codes.append(code)
    if place >= len(words):
        raise UserError(f"{path}: ends without its last word; it is truncated, fetch it again")
    return np.array(marks, np.int64), np.array(codes, np.uint8)
