"""Spike counts of a run as one file for other programs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from reprokit.atomic import atomic_write

from nalsm.data import Split
from nalsm.pipeline import compact, open_dataset
from nalsm.runs import open_run


def export_features(
    run: str | Path, split: Split, *, noise: float = 0.0, out: Path | None = None, threads: int = 1
) -> Path:
    """Write counts (sample, liquid) and labels of a split as .npz, simulated anew with noise if asked for.

    Returns:
        The file.
    """
    opened = open_run(run)
    if noise == 0.0 and (opened.path / f"features_{split}.npy").exists():
        counts, labels = opened.features(split)
    else:
        data = open_dataset(opened.config)
        labels = data.labels(split)
        index = np.arange(len(labels))
        result = opened.liquid().features(data, split, index, opened.weights, noise=noise, threads=threads)
        counts = compact(result.counts)
    target = out or opened.path / f"features_{split}_noise{noise:g}.npz"
    buffer = io.BytesIO()
    np.savez_compressed(buffer, counts=counts, labels=labels)
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(target, buffer.getvalue())
    return target
