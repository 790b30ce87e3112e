"""Trained networks on many noisy devices: accuracy distributions, and training noise against test noise."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from reprokit import UserError, progress
from reprokit.files import write_file

from denram.data.binning import Samples
from denram.data.loading import DataSet
from denram.data.splits import make_order
from denram.rules.noise_aware import Scores, check_noise_std, device_accuracies
from denram.spec import Engine, require_whole
from denram.training.runs import Run

BATCH = 64
Split = Literal["test", "validation", "train"]


@dataclass(frozen=True)
class DeviceAccuracy:
    """Test accuracy of one trained network over devices at one noise level.

    Args:
        run: Directory of the run.
        n_in: Input channels of the network.
        seed: Seed of the run.
        train_noise: Noise amplitude in training.
        test_noise: Noise amplitude of the devices.
        devices: Number of devices (noise draws), each tested on all samples.
        mean: Mean accuracy over devices.
        p5: 5th percentile over devices.
        p95: 95th percentile over devices.
    """

    run: str
    n_in: int
    seed: int
    train_noise: float
    test_noise: float
    devices: int
    mean: float
    p5: float
    p95: float


def evaluate(
    runs: Sequence[Run],
    noise_levels: Sequence[float],
    devices: int,
    *,
    source: str | None = None,
    engine: Engine = "auto",
    threads: int = 1,
    split: Split = "test",
) -> list[DeviceAccuracy]:
    """Test every run at every noise level on `devices` noisy copies, each on the whole test set.

    Args:
        runs: Trained networks.
        noise_levels: Noise amplitudes relative to the largest absolute weight; empty: each run's own.
        devices: Number of noise draws at each level, at least 1.
        source: Data to test on; None: the data of each run.
        engine: Engine of the networks.
        threads: Threads of the event engine.
        split: The test set, or the run's own validation or training samples.

    Returns:
        One entry for each run and noise level.

    Raises:
        UserError: If there is no run, a noise level or `devices` is out of range, or data do not fit.
    """
    if not runs:
        raise UserError("no run was given; name at least one run directory.")
    require_whole("devices", devices, minimum=1)
    for level in noise_levels:
        check_noise_std(level)
    results = []
    load = _cached_data(source)
    with progress(total=len(runs) * max(1, len(noise_levels)), description="evaluate") as bar:
        for run in runs:
            network = run.network(engine=engine, threads=threads)
            samples, chosen = _samples(run, load(run), split)
            for level in noise_levels or [run.config.noise_std]:
                results.append(_evaluate_run(run, network, samples, chosen, level, devices))
                bar.update(1)
    return results


def _samples(run: Run, data: DataSet, split: Split) -> tuple[Samples, np.ndarray]:
    """The samples that contain a split, and which of them belong to it."""
    if split == "test":
        return data.test, np.arange(len(data.test))
    order = make_order(
        faithful=run.config.faithful,
        n_train=len(data.train),
        n_test=len(data.test),
        speakers=data.train.speakers,
        seed=run.config.seed,
        batch_size=run.config.batch_size,
        validation=run.config.validation,
        n_validation=data.n_validation,
    )
    return data.train, order.train if split == "train" else order.validation


def _evaluate_run(
    run: Run, network: Scores, samples: Samples, chosen: np.ndarray, noise: float, devices: int
) -> DeviceAccuracy:
    batches = np.split(chosen, range(BATCH, len(chosen), BATCH))
    found = device_accuracies(network, run.weights, samples, batches, noise_std=noise, devices=devices)
    low, high = np.percentile(found, [5, 95])
    return DeviceAccuracy(
        run=str(run.path),
        n_in=run.config.n_in,
        seed=run.config.seed,
        train_noise=run.config.noise_std,
        test_noise=noise,
        devices=devices,
        mean=float(found.mean()),
        p5=float(low),
        p95=float(high),
    )


def noise_matrix(results: Sequence[DeviceAccuracy], n_in: int) -> tuple[list[float], list[float], np.ndarray]:
    """Mean accuracy of networks with `n_in` inputs against training noise (rows) and test noise (columns).

    Returns:
        Training noise levels, test noise levels, and accuracies float64 `(train noise, test noise)`, NaN if
        nothing was measured; runs with the same training noise (other seeds) are averaged.
    """
    chosen = [result for result in results if result.n_in == n_in]
    rows = sorted({result.train_noise for result in chosen})
    columns = sorted({result.test_noise for result in chosen})
    matrix = np.full((len(rows), len(columns)), np.nan)
    for i, train_noise in enumerate(rows):
        for j, test_noise in enumerate(columns):
            cell = [r.mean for r in chosen if r.train_noise == train_noise and r.test_noise == test_noise]
            if cell:
                matrix[i, j] = np.mean(cell)
    return rows, columns, matrix


def report(results: Sequence[DeviceAccuracy]) -> list[str]:
    """Lines of a table of all results, and the noise matrix of each size trained at several noise levels."""
    lines = ["train noise | test noise | mean acc | 5 %    | 95 %   | devices | run"]
    for result in results:
        lines.append(
            f"{result.train_noise:<11g} | {result.test_noise:<10g} | {result.mean:<8.4f} | {result.p5:.4f} | "
            f"{result.p95:.4f} | {result.devices:<7} | {result.run}"
        )
    for n_in in sorted({result.n_in for result in results}, reverse=True):
        rows, columns, matrix = noise_matrix(results, n_in)
        if len(rows) > 1:
            lines += ["", f"{n_in} inputs: mean accuracy, training noise (rows) x test noise (columns)"]
            lines.append(" " * 8 + "".join(f"{column:>9g}" for column in columns))
            for name, values in zip(rows, matrix, strict=True):
                lines.append(f"{name:<8g}" + "".join(f"{value:>9.4f}" for value in values))
    return lines


def _cached_data(source: str | None) -> Callable[[Run], DataSet]:
    """Load data once for all runs that share them."""
    loaded: dict[tuple[object, ...], DataSet] = {}

    def load(run: Run) -> DataSet:
        key = (source or run.stored.config["data_fingerprint"], run.config.binning)
        if key not in loaded:
            loaded[key] = run.data(source)
        run.config.outputs(loaded[key].classes)
        return loaded[key]

    return load


def write_table(results: Sequence[DeviceAccuracy], file: Path) -> None:
    """Write results as CSV, atomically.

    Raises:
        UserError: If the folder cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(DeviceAccuracy.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(result) for result in results)
    write_file(file, text.getvalue())
