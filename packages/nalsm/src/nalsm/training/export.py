"""Spike counts of a run as one file for other programs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from reprokit import UserError, progress
from reprokit.files.atomic import atomic_write

from nalsm.names import Split
from nalsm.training.runs import chunk_size, compact, open_dataset, open_run


def export_features(
    run: str | Path, split: Split, *, noise: float = 0.0, out: Path | None = None, threads: int = 1
) -> Path:
    """Write counts (sample, liquid) and labels of a split as .npz, simulated anew with noise if asked for.

    Returns:
        The file.

    Raises:
        UserError: where noise is negative, or the run is not initialised.
    """
    if not (np.isfinite(noise) and noise >= 0):
        raise UserError(f"noise is {noise}; it must be 0 (none) or a deviation above 0.")
    opened = open_run(run)
    if noise == 0.0 and (opened.path / f"features_{split}.npy").exists():
        counts, labels = opened.features(split)
    else:
        data, liquid = open_dataset(opened.config), opened.liquid()
        labels, chunk = data.labels(split), chunk_size(opened.config)
        parts = []
        with progress(total=len(labels), description=f"features {split}") as bar:
            for begin in range(0, len(labels), chunk):
                index = np.arange(begin, min(begin + chunk, len(labels)))
                shown = liquid.features(data, split, index, opened.weights, noise=noise, threads=threads)
                parts.append(compact(shown.counts))
                bar.update(len(index))
        counts = np.concatenate(parts)
    target = out or opened.path / f"features_{split}_noise{noise:g}.npz"
    buffer = io.BytesIO()
    np.savez_compressed(buffer, counts=counts, labels=labels)
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(target, buffer.getvalue())
    return target
