"""A generated, unphysiological two-lead ECG for smoke tests: sharp normal beats and broad, early ventricular ones."""

import numpy as np

from denram.data.mitdb import EcgRecord

RATE, SPACING = 360.0, 288  # samples per second; samples between beats
# waves of a beat in each lead: seconds from the annotation, width in seconds, height in mV
NORMAL_WAVES = (
    ((-0.16, 0.02, 0.15), (0.0, 0.01, 1.2), (0.25, 0.04, 0.3)),
    ((0.0, 0.012, -0.8), (0.25, 0.04, 0.2)),
)
BROAD_WAVES = (((0.02, 0.035, 1.3), (0.22, 0.05, -0.5)), ((0.02, 0.04, 0.9), (0.22, 0.05, -0.4)))
NOISE = 0.02  # mV


def toy_record(beats: int = 240, seed: int = 0) -> EcgRecord:
    """A record of `beats` beats, every third one ventricular, with widths and heights that vary by 15 %."""
    generator = np.random.default_rng(seed)
    length = SPACING * (beats + 1)
    codes = np.where(np.arange(beats) % 3 == 2, 5, 1).astype(np.uint8)
    marks = SPACING * np.arange(1, beats + 1) + generator.integers(-20, 20, beats)
    signal = NOISE * generator.standard_normal((2, length))
    time = (np.arange(SPACING) - SPACING // 2) / RATE
    for mark, code in zip(marks, codes, strict=True):
        first = mark - SPACING // 2
        for lead, waves in enumerate(BROAD_WAVES if code == 5 else NORMAL_WAVES):
            for centre, width, height in waves:
                stretch, gain = 1 + 0.15 * generator.standard_normal(2)
                wave = height * gain * np.exp(-0.5 * ((time - centre) / (width * max(stretch, 0.3))) ** 2)
                room = min(SPACING, length - first)
                signal[lead, first : first + room] += wave[:room]
    return EcgRecord("toy", ("MLII", "V1"), RATE, signal.astype(np.float32), marks.astype(np.int64), codes)
