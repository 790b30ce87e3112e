"""Measures of a finished run: accuracy, branching factor, kernel quality, divergence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import UserError

from nalsm.data.loading import EventRecordings
from nalsm.data.sources import Events
from nalsm.model.network import LiquidNetwork
from nalsm.names import MEASURES, SPLITS, Split
from nalsm.training.export import export_features
from nalsm.training.measures import branching_factor, choose_per_class, divergence, kernel_quality
from nalsm.training.runs import FinishedRun, fit_readout, load_readout, open_dataset, open_run


@dataclass(frozen=True)
class Measured:
    """One measure of a run.

    Attributes:
        values: what is printed, by name.
        detail: the arrays behind it, by name, as the figure of the measure in `nalsm.plots` takes them.
    """

    values: dict[str, float]
    detail: dict[str, Any]


def evaluate(
    what: str,
    run: str | Path,
    *,
    samples: int = 20,
    repetitions: int = 100,
    noise: float | None = None,
    threads: int = 1,
) -> Measured:
    """Return one measure of a run, by name.

    Args:
        what: accuracy, branching, kernel or divergence.
        run: run directory.
        samples: test and training samples for branching and divergence.
        repetitions: random choices that kernel ranks are averaged over.
        noise: deviation for kernel quality; None: 125 for images, 10 ms for recordings.
        threads: samples simulated at once.

    Raises:
        UserError: on an unknown measure, a bad number or an unfinished run.
    """
    if what not in MEASURES:
        raise UserError(f"measure is {what!r}; choose one of {', '.join(MEASURES)}.")
    for name, value in (("samples", samples), ("repetitions", repetitions)):
        if value < 1:
            raise UserError(f"{name} is {value}; it must be 1 or more.")
    opened = open_run(run)
    if what == "accuracy":
        return _accuracy(opened)
    if what == "branching":
        return _branching(opened, samples, threads)
    if what == "divergence":
        return _divergence(opened, samples, threads)
    return _kernel(opened, repetitions, noise, threads)


def _accuracy(run: FinishedRun) -> Measured:
    readout = load_readout(run.path)
    counts, labels = run.features("test")
    detail = {"labels": labels, "predicted": readout.predict(counts), "classes": readout.classes}
    return Measured({f"{split} accuracy": readout.accuracy(*run.features(split)) for split in SPLITS}, detail)


def _branching(run: FinishedRun, samples: int, threads: int) -> Measured:
    data, measured = open_dataset(run.config), {}
    for split in ("test", "train"):
        index = np.arange(min(samples, len(data.labels(split))))
        result = run.liquid().features(data, split, index, run.weights, record=True, threads=threads)
        assert result.raster is not None
        measured[split] = branching_factor(result.raster, run.network)
    values = {f"branching {split}": result.value for split, result in measured.items()}
    return Measured(values, {"measured": measured})


def _kernel(run: FinishedRun, repetitions: int, noise: float | None, threads: int) -> Measured:
    data = open_dataset(run.config)
    deviation = noise if noise is not None else (10.0 if isinstance(data, EventRecordings) else 125.0)
    file = run.path / f"features_test_noise{deviation:g}.npz"
    clean, labels = run.features("test")
    if not file.exists():
        export_features(run.path, "test", noise=deviation, out=file, threads=threads)
    with np.load(file, allow_pickle=False) as stored:
        noisy = stored["counts"]
    per_class = min(100, int(np.bincount(labels)[np.unique(labels)].min()))
    quality = kernel_quality(
        clean, noisy, labels, per_class=per_class, repetitions=repetitions, seed=run.config.seed,
        same_selection=run.config.profile == "fixed",  # DEV-9
    )  # fmt: skip
    chosen = choose_per_class(labels, per_class, np.random.default_rng(run.config.seed))
    values = {
        "separation SP": quality.separation,
        "approximation AP": quality.approximation,
        "SP - AP": quality.difference,
        "samples per class": float(per_class),
    }
    return Measured(values, {"clean": clean[chosen], "noisy": noisy[chosen], "quality": quality})


def _divergence(run: FinishedRun, samples: int, threads: int) -> Measured:
    """Add one input spike in the middle of each sample and follow the distance of the two runs."""
    data = open_dataset(run.config)
    index = np.arange(min(samples, len(data.labels("test"))))
    liquid, duration = run.liquid(), run.config.duration
    source = data.source("test", index, 0).events(duration)
    raster = np.zeros((len(index), source.inputs, duration), np.uint8)
    for k in range(len(index)):
        for t in range(duration):
            np.add.at(raster[k, :, t], source.channels[source.first[k, t] : source.first[k, t + 1]], 1)
    flip = duration // 2
    changed = _with_one_more(raster, flip, run.network)
    rule = run.config.plasticity("sample")
    first, second = (
        liquid.simulator.present_independent(
            Events.from_raster(r), run.weights, rule, duration=duration, record=True, threads=threads
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
    return Measured(later | {"samples": float(len(index))}, {"distances": distances, "flip": flip})


def _with_one_more(raster: np.ndarray, moment: int, network: LiquidNetwork) -> np.ndarray:
    """Return events (sample, input, ms) with one more, where it surely makes one more input spike.

    The channel is, sample by sample, the one with most synapses among those without events in the milliseconds around
    `moment`: its neuron is neither refractory nor charged.
    """
    synapses = network.pre[network.active & (network.pre >= network.liquid)] - network.liquid
    fan_out = np.bincount(synapses, minlength=network.inputs)
    quiet = raster[:, :, max(moment - 8, 0) : moment + 5].sum(2) == 0
    channel = np.argmax(np.where(quiet, fan_out, -1), axis=1)
    changed = raster.copy()
    changed[np.arange(len(raster)), channel, moment] += 1
    return changed


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
