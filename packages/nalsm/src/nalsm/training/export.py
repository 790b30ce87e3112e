"""Files of a run for other programs: spike counts, and the network with its weights."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import UserError, progress
from reprokit.files.atomic import write_file

from nalsm.data.loading import Dataset
from nalsm.names import Split
from nalsm.training.liquid import Liquid
from nalsm.training.runs import FinishedRun, chunk_size, compact, open_run, open_run_dataset


def export_features(
    run: str | Path, split: Split, *, noise: float = 0.0, out: Path | None = None, threads: int = 1
) -> Path:
    """Write counts (sample, liquid) and labels of a split as .npz, simulated again with noise if requested.

    Returns:
        The file.

    Raises:
        UserError: if noise is negative, or the run is not initialised.
    """
    check_noise(noise)
    opened = open_run(run)
    if noise == 0.0 and opened.has(f"features_{split}.npy"):
        counts, labels = opened.features(split)
    else:
        data = open_run_dataset(opened)
        counts = simulate(opened, opened.liquid(), data, split, noise=noise, threads=threads)
        labels = data.labels(split)
    target = out or opened.path / f"features_{split}_noise{noise:g}.npz"
    return _write_npz(target, {"counts": counts, "labels": labels})


def export_run(run: str | Path, out: Path | None = None) -> Path:
    """Write network, weights and, for a finished run, the readout as one .npz file.

    The arrays: post, pre (int32), sign (int8) and weight (float32) of the synapses that carry signals, position
    (int16 (3, liquid)), excitatory, inhibitory and inputs (numbers of neurons), and for the readout
    readout_weight (float32 (liquid, class)), readout_bias (class,) and readout_maximum.

    Args:
        run: run directory.
        out: file; None: liquid.npz in the run directory.

    Raises:
        UserError: if the run is not initialised, or damaged.
    """
    opened = open_run(run)
    network, inside = opened.network, opened.network.active
    arrays: dict[str, Any] = {
        "post": network.post[inside], "pre": network.pre[inside], "sign": network.sign[inside],
        "weight": opened.weights, "position": network.position, "excitatory": network.excitatory,
        "inhibitory": network.inhibitory, "inputs": network.inputs,
    }  # fmt: skip
    if opened.has("readout.npz"):
        readout = opened.readout()
        arrays |= {"readout_weight": readout.weight, "readout_bias": readout.bias}
        arrays |= {"readout_maximum": readout.maximum}
    return _write_npz(out or opened.path / "liquid.npz", arrays)


def check_noise(noise: float) -> None:
    """Refuse an invalid deviation.

    Raises:
        UserError: if it is negative or not finite.
    """
    if not (np.isfinite(noise) and noise >= 0):
        raise UserError(f"noise is {noise}; it must be 0 (none) or a deviation above 0.")


def simulate(
    run: FinishedRun, liquid: Liquid, data: Dataset, split: Split, *, noise: float = 0.0, threads: int = 1
) -> np.ndarray:
    """Return the spike counts of a split, unsigned (sample, liquid), computed in chunks of samples."""
    samples, chunk, parts = len(data.labels(split)), chunk_size(run.config), []
    with progress(total=samples, description=f"features {split}") as bar:
        for begin in range(0, samples, chunk):
            index = np.arange(begin, min(begin + chunk, samples))
            shown = liquid.features(data, split, index, run.weights, noise=noise, threads=threads)
            parts.append(compact(shown.counts))
            bar.update(len(index))
    return np.concatenate(parts)


def _write_npz(path: Path, arrays: dict[str, Any]) -> Path:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return write_file(path, buffer.getvalue())
