"""Measures of a finished run: accuracy, branching factor, kernel quality, divergence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from reprokit import UserError

from nalsm.data import SPLITS, EventRecordings, Split
from nalsm.export import export_features
from nalsm.measures import branching_factor, divergence, kernel_quality
from nalsm.pipeline import fit_readout, load_readout, open_dataset
from nalsm.runs import FinishedRun, open_run
from nalsm.sources import Events

KINDS = ("accuracy", "branching", "kernel", "divergence")


def evaluate(
    what: str,
    run: str | Path,
    *,
    samples: int = 20,
    repetitions: int = 100,
    noise: float | None = None,
    threads: int = 1,
) -> dict[str, float]:
    """Return one measure of a run, by name.

    Raises:
        UserError: on an unknown measure or an unfinished run.
    """
    if what not in KINDS:
        raise UserError(f"measure is {what!r}; choose one of {', '.join(KINDS)}.")
    for name, value in (("samples", samples), ("repetitions", repetitions)):
        if value < 1:
            raise UserError(f"{name} is {value}; it must be 1 or more.")
    opened = open_run(run)
    if what == "accuracy":
        readout = load_readout(run)
        return {f"{split} accuracy": readout.accuracy(*opened.features(split)) for split in SPLITS}
    if what == "branching":
        return _branching(opened, samples, threads)
    if what == "divergence":
        return _divergence(opened, samples)
    return _kernel(opened, repetitions, noise, threads)


def _branching(run: FinishedRun, samples: int, threads: int) -> dict[str, float]:
    data = open_dataset(run.config)
    values = {}
    for split in ("test", "train"):
        index = np.arange(min(samples, len(data.labels(split))))
        result = run.liquid().features(data, split, index, run.weights, record=True, threads=threads)
        assert result.raster is not None
        values[f"branching {split}"] = branching_factor(result.raster, run.network).value
    return values


def _kernel(run: FinishedRun, repetitions: int, noise: float | None, threads: int) -> dict[str, float]:
    data = open_dataset(run.config)
    deviation = noise if noise is not None else (10.0 if isinstance(data, EventRecordings) else 125.0)
    file = run.path / f"features_test_noise{deviation:g}.npz"
    if not file.exists():
        export_features(run.path, "test", noise=deviation, out=file, threads=threads)
    with np.load(file, allow_pickle=False) as stored:
        noisy = stored["counts"]
    clean, labels = run.features("test")
    per_class = min(100, int(np.bincount(labels)[np.unique(labels)].min()))
    same = run.config.profile == "fixed"  # DEV-9
    quality = kernel_quality(
        clean,
        noisy,
        labels,
        per_class=per_class,
        repetitions=repetitions,
        seed=run.config.seed,
        same_selection=same,
    )
    return {
        "separation SP": quality.separation,
        "approximation AP": quality.approximation,
        "SP - AP": quality.difference,
        "samples per class": float(per_class),
    }


def _divergence(run: FinishedRun, samples: int) -> dict[str, float]:
    """Add one input event in the middle of each sample and follow the distance of the two runs."""
    data = open_dataset(run.config)
    index = np.arange(min(samples, len(data.labels("test"))))
    liquid, duration = run.liquid(), run.config.duration
    source = data.source("test", index, 0).events(duration)
    raster = np.zeros((len(index), source.inputs, duration), np.uint8)
    for k in range(len(index)):
        for t in range(duration):
            np.add.at(raster[k, :, t], source.channels[source.first[k, t] : source.first[k, t + 1]], 1)
    changed = raster.copy()
    flip = duration // 2
    changed[:, np.argmax(raster.sum((0, 2))), flip] ^= 1
    rule = replace(run.config.plasticity("sample"))
    first, second = (
        liquid.simulator.present_independent(
            Events.from_raster(r), run.weights, rule, duration=duration, record=True
        ).raster
        for r in (raster, changed)
    )
    assert first is not None
    assert second is not None
    inside = slice(0, run.network.liquid)
    distances = np.stack([divergence(a[:, inside], b[:, inside]) for a, b in zip(first, second, strict=True)])
    mean = distances.mean(0)
    later = {
        f"distance after {lag} ms": float(mean[flip + lag]) for lag in (5, 20, 60) if flip + lag < duration
    }
    return later | {"samples": float(len(index))}


def train_other_readout(run: str | Path, kind: str, epochs: int, soft_labels: bool) -> dict[str, float]:
    """Train another readout on the stored features and return its accuracies."""
    opened = open_run(run)
    config = replace(opened.config, readout=kind, readout_epochs=epochs, soft_labels=soft_labels)
    stored = {split: opened.features(split) for split in SPLITS}
    counts: dict[Split, np.ndarray] = {split: stored[split][0] for split in SPLITS}
    labels: dict[Split, np.ndarray] = {split: stored[split][1] for split in SPLITS}
    classes = int(max(part.max() for part in labels.values())) + 1
    readout = fit_readout(config, counts, labels, classes)
    return {f"{split} accuracy": readout.accuracy(counts[split], labels[split]) for split in SPLITS}
