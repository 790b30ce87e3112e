"""Measures of a finished run: accuracy, branching factor, kernel quality, divergence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import UserError

from nalsm.config import Config
from nalsm.data.loading import Dataset
from nalsm.data.sources import Events
from nalsm.model.network import LiquidNetwork
from nalsm.names import MEASURES, SPLITS, Engine, Split, is_own
from nalsm.training.criticality import branching_ratio, shuffled
from nalsm.training.export import check_noise, export_features, simulate
from nalsm.training.liquid import Liquid
from nalsm.training.measures import BUFFER, branching_factor, choose_per_class, divergence, kernel_quality
from nalsm.training.runs import FinishedRun, fit_readout, open_dataset, open_run, open_run_dataset, read_npz


@dataclass(frozen=True)
class Measured:
    """One measure of a run.

    Attributes:
        values: the printed values, by name.
        detail: the arrays behind it, by name, for the measure's figure in `nalsm.plots`.
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
    exact: bool | None = None,
    data: str | None = None,
    split: Split | None = None,
    engine: Engine = "auto",
    device: str = "auto",
    threads: int = 1,
) -> Measured:
    """Return one measure of a run, by name.

    Args:
        what: accuracy, branching, kernel or divergence.
        run: run directory.
        samples: number of samples of a split for branching and divergence.
        repetitions: number of random choices over which kernel ranks are averaged.
        noise: deviation for kernel quality; None: 125 for images, 10 ms for recordings.
        exact: kernel ranks in double precision, or in single precision as the original; None: the former for a
            run of profile fixed, the latter for a faithful one (DEV-10).
        data: another data set to measure on, with the same number of channels; None: the run's own.
        split: split of the data; None: all three for accuracy, test and train for branching, otherwise test.
        engine: events (compiled), triton (NVIDIA GPUs), torch, or auto. Stored spike counts of the run are used if
            engine, device and data have their defaults.
        device: cpu, an accelerator for engines triton and torch, or auto.
        threads: samples simulated at once.

    Raises:
        UserError: for an unknown measure, a bad number or an unfinished run.
    """
    if what not in MEASURES:
        raise UserError(f"measure is {what!r}; choose one of {', '.join(MEASURES)}.")
    for name, value in (("samples", samples), ("repetitions", repetitions), ("threads", threads)):
        if value < 1:
            raise UserError(f"{name} is {value}; it must be 1 or more.")
    subject = _Subject(open_run(run), data, engine, device, threads)
    if what == "accuracy":
        return _accuracy(subject, (split,) if split else SPLITS)
    if what == "branching":
        return _branching(subject, (split,) if split else ("test", "train"), samples)
    if what == "divergence":
        return _divergence(subject, split or "test", samples)
    return _kernel(subject, split or "test", repetitions, noise, exact)


@dataclass
class _Subject:
    """The subject of a measurement: a run, on its own or other data, with an engine."""

    run: FinishedRun
    other: str | None
    engine: Engine
    device: str
    threads: int

    @property
    def anew(self) -> bool:
        """Whether the run's stored spike counts cannot be used."""
        return self.other is not None or self.engine != "auto" or self.device not in ("auto", "cpu")

    @cached_property
    def data(self) -> Dataset:
        config = self.run.config
        if self.other is None:
            return open_run_dataset(self.run)
        start = config.start if is_own(self.other) else "zero"
        return open_dataset(replace(config, data=self.other, revision=None, start=start), allow_loss=True)

    @cached_property
    def liquid(self) -> Liquid:
        return self.run.liquid(engine=self.engine, device=self.device)

    def counts(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Return spike counts (sample, liquid) and labels (sample,)."""
        if not self.anew:
            return self.run.features(split)
        return self.simulated(split, 0.0), self.data.labels(split)

    def simulated(self, split: Split, noise: float) -> np.ndarray:
        return simulate(self.run, self.liquid, self.data, split, noise=noise, threads=self.threads)


def _accuracy(subject: _Subject, splits: tuple[Split, ...]) -> Measured:
    readout = subject.run.readout()
    found = {split: subject.counts(split) for split in splits}
    shown: Split = "test" if "test" in found else splits[0]
    counts, labels = found[shown]
    classes = max(readout.classes, int(labels.max()) + 1)
    detail = {"labels": labels, "predicted": readout.predict(counts), "classes": classes, "split": shown}
    return Measured({f"{split} accuracy": readout.accuracy(*found[split]) for split in splits}, detail)


def _branching(subject: _Subject, splits: tuple[Split, ...], samples: int) -> Measured:
    run, data, measured = subject.run, subject.data, {}
    values: dict[str, float] = {}
    for split in splits:
        index = data.some(split, samples)
        result = subject.liquid.features(
            data, split, index, run.weights, record=True, threads=subject.threads
        )
        assert result.raster is not None
        measured[split] = branching_factor(result.raster, run.network)
        values[f"branching {split}"] = measured[split].value
        values |= without_rate(split, result.raster, run.network, run.config.seed)
    return Measured(values, {"measured": measured})


def without_rate(split: Split, raster: np.ndarray, network: LiquidNetwork, seed: int) -> dict[str, float]:
    """Return references for a branching factor: that of shuffled spikes, and the ratio m.

    Activity rises steeply at the start of a sample and drifts while learning rates decay, in the same way in
    all samples. So the ratio ignores the same milliseconds as the factor and is measured from the mean course, if there
    are enough samples for one.
    """
    surrogate = branching_factor(shuffled(raster, seed), network).value
    activity = raster[:, BUFFER : raster.shape[1] - BUFFER, : network.liquid].sum(2)
    enough = activity.shape[1] >= 10 and bool(np.ptp(activity - activity.mean(0), axis=1).max() > 1e-6)
    mean = "course" if len(activity) > 2 else "trial"
    ratio = branching_ratio(activity, mean=mean).ratio if enough else float("nan")
    return {f"shuffled {split}": surrogate, f"ratio m {split}": ratio}


def _kernel(
    subject: _Subject, split: Split, repetitions: int, noise: float | None, exact: bool | None
) -> Measured:
    run = subject.run
    deviation = noise if noise is not None else subject.data.usual_noise
    check_noise(deviation)
    clean, labels = subject.counts(split)
    noisy = subject.simulated(split, deviation) if subject.anew else _stored_noisy(subject, split, deviation)
    if noisy.shape != clean.shape:
        raise UserError(f"{run.path}: noisy counts are {noisy.shape}, clean ones {clean.shape}; train again.")
    per_class = min(100, int(np.bincount(labels)[np.unique(labels)].min()))
    quality = kernel_quality(
        clean, noisy, labels, per_class=per_class, repetitions=repetitions, seed=run.config.seed,
        same_selection=run.config.profile == "fixed",  # DEV-9
        exact=run.config.profile == "fixed" if exact is None else exact,  # DEV-10
    )  # fmt: skip
    chosen = choose_per_class(labels, per_class, np.random.default_rng(run.config.seed))
    values = {
        "separation SP": quality.separation,
        "approximation AP": quality.approximation,
        "SP - AP": quality.difference,
        "samples per class": float(per_class),
        "rank at most": float(min(clean[chosen].shape)),
    }
    return Measured(values, {"clean": clean[chosen], "noisy": noisy[chosen], "quality": quality})


def _stored_noisy(subject: _Subject, split: Split, deviation: float) -> np.ndarray:
    """Return counts of noisy samples, which are kept in the run directory once simulated."""
    name = f"features_{split}_noise{deviation:g}.npz"
    if not subject.run.has(name):
        export_features(
            subject.run.path, split, noise=deviation, out=subject.run.path / name, threads=subject.threads
        )
    return read_npz(subject.run.path, name, ("counts",), "delete it, and it will be made again")["counts"]


def _divergence(subject: _Subject, split: Split, samples: int) -> Measured:
    """Add one input spike in the middle of each sample and measure the distance of the two runs."""
    run, duration = subject.run, subject.run.config.duration
    index = subject.data.some(split, samples)
    source = subject.data.source(split, index, 0).events(duration)
    raster = np.stack([source.at(t) for t in range(duration)], axis=2).astype(np.uint8)
    flip = duration // 2
    changed = _with_one_more(raster, flip, run.network)
    rule = run.config.plasticity("sample")
    first, second = (
        subject.liquid.simulator.present_independent(
            Events.from_raster(r), run.weights, rule, duration=duration, record=True, threads=subject.threads
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
    """Return events (sample, input, ms) with one more, placed so that it certainly causes one more input spike.

    For each sample, the channel is the one with the most synapses among those without events in the
    milliseconds around `moment`, whose neuron is neither refractory nor charged.
    """
    synapses = network.pre[network.active & (network.pre >= network.liquid)] - network.liquid
    fan_out = np.bincount(synapses, minlength=network.inputs)
    quiet = raster[:, :, max(moment - 8, 0) : moment + 5].sum(2) == 0
    channel = np.argmax(np.where(quiet, fan_out, -1), axis=1)
    changed = raster.copy()
    changed[np.arange(len(raster)), channel, moment] += 1
    return changed


def train_other_readout(run: str | Path, kind: str, epochs: int, soft_labels: bool) -> dict[str, float]:
    """Train another readout on the stored features and return its accuracies.

    Raises:
        UserError: if epochs or soft_labels differ from their defaults and the readout does not use them. Ridge
            has hard labels, so ``soft_labels=False`` agrees with it.
    """
    idle = Config(readout=kind, readout_epochs=epochs, soft_labels=soft_labels).idle()  # type: ignore[arg-type]
    if kind == "ridge":
        idle.pop("soft_labels", None)
    for name, who in idle.items():
        flag = {"readout_epochs": "epochs"}.get(name, name)
        raise UserError(f"{flag} is given, which readout {kind} does not use; leave it out, or choose {who}.")
    opened = open_run(run)
    config = replace(opened.config, readout=kind, readout_epochs=epochs, soft_labels=soft_labels)
    stored = {split: opened.features(split) for split in SPLITS}
    counts: dict[Split, np.ndarray] = {split: stored[split][0] for split in SPLITS}
    labels: dict[Split, np.ndarray] = {split: stored[split][1] for split in SPLITS}
    classes = int(max(part.max() for part in labels.values())) + 1
    readout = fit_readout(config, counts, labels, classes)
    return {f"{split} accuracy": readout.accuracy(counts[split], labels[split]) for split in SPLITS}
