"""A writer of tiny ECG records for tests: header, format 212, annotations; the inverse of `denram.data.mitdb`."""

from pathlib import Path

import numpy as np

SKIP, AUX = 59, 63
ZERO, GAIN = 1024, 200


def write_record(
    folder: Path,
    name: str,
    samples: np.ndarray,
    beats: list[tuple[int, int]],
    *,
    leads: tuple[str, str] = ("MLII", "V1"),
    rate: int = 360,
) -> None:
    """Write one record.

    Args:
        folder: Where.
        name: Name of the record.
        samples: Integers from -2048 to 2047, `(sample, 2)`, in ADC units.
        beats: Sample and code of each annotation, ascending.
        leads: Names of the two leads.
        rate: Samples a second.
    """
    folder.mkdir(parents=True, exist_ok=True)
    raw = np.asarray(samples, np.int64) & 0xFFF
    middle = raw[:, 0] >> 8 | (raw[:, 1] >> 8) << 4
    np.stack([raw[:, 0] & 0xFF, middle, raw[:, 1] & 0xFF], axis=1).astype(np.uint8).tofile(
        folder / f"{name}.dat"
    )
    sums = [
        (int(column.sum()) + (1 << 15)) % (1 << 16) - (1 << 15) for column in np.asarray(samples, np.int64).T
    ]
    lines = [f"{name} 2 {rate} {len(samples)}"]
    for lead, total, first in zip(leads, sums, samples[0], strict=True):
        lines.append(f"{name}.dat 212 {GAIN} 11 {ZERO} {first} {total} 0 {lead}")
    (folder / f"{name}.hea").write_text("\n".join([*lines, "# made by a test"]) + "\n")
    words, now = (
        [28 << 10, AUX << 10 | 3, *np.frombuffer(b"(N\0\0", "<u2").tolist()],
        0,
    )  # a rhythm and its text
    for mark, code in beats:
        if not 0 <= mark - now < 1 << 10:
            words += [SKIP << 10, (mark - now >> 16) & 0xFFFF, (mark - now) & 0xFFFF]
            now = mark
        words.append(code << 10 | mark - now)
        now = mark
    np.array([*words, 0], "<u2").tofile(folder / f"{name}.atr")


def made_samples(length: int = 3000, seed: int = 0) -> np.ndarray:
    """Samples over the whole range of 12 bits, both ends among them, `(sample, 2)`."""
    samples = np.random.default_rng(seed).integers(-2048, 2048, (length, 2))
    samples[:2] = [[-2048, 2047], [2047, -2048]]
    return samples
