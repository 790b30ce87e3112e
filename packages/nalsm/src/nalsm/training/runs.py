"""What a run directory of nalsm contains beyond reprokit's part, and how to read it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import Checkpoint, Checkpoints, StoredRun, UserError, read_run
from reprokit.config import rebuild
from reprokit.files.reading import array_of, guarded
from reprokit.run.identity import DataIdentity, compared
from reprokit.run.stored import read_identities, read_whole

from nalsm.config import Config
from nalsm.data.loading import Dataset, load_dataset
from nalsm.model.network import LiquidNetwork
from nalsm.model.readout import LinearReadout
from nalsm.names import SPLITS, Engine, Split
from nalsm.rules.readout import train_adadelta, train_lbfgs, train_ridge
from nalsm.training.liquid import Liquid

WRITTEN = ("network.npz", "initial_weights.npy", "features_*.np[yz]", "labels_*.npy", "predictions_test.npy",
           "raster.npy", "depression.npy", "readout.npz", "checkpoints/trace_*.npy",
           "checkpoints/features_*/*.npz")  # fmt: skip
AGAIN = "restore it or train again"


@dataclass(frozen=True)
class FinishedRun:
    """A run whose liquid is initialised.

    Attributes:
        stored: the run as stored in its folder.
        config: its configuration.
        network: its wiring.
        weights: float32 (synapse,) after the initialisation phase.
    """

    stored: StoredRun
    config: Config
    network: LiquidNetwork
    weights: np.ndarray

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.stored.path

    def liquid(self, *, engine: Engine = "auto", device: str = "cpu") -> Liquid:
        """Return the liquid, ready for samples."""
        return Liquid(self.network, self.config, engine=engine, device=device)

    def has(self, name: str) -> bool:
        """Return whether the run has already written a file."""
        return (self.path / name).is_file()

    def features(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Return the stored spike counts, unsigned (sample, liquid), and the labels (sample,) of a split.

        Raises:
            UserError: if they do not exist yet, or are damaged.
        """
        self._needs(f"features_{split}.npy")
        self._needs(f"labels_{split}.npy")
        counts = self.stored.array(f"features_{split}", shape=(None, self.network.liquid))
        labels = self.stored.array(f"labels_{split}", shape=(len(counts),), dtype=np.int64)
        return counts, labels

    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Return predicted and true class of each test sample, both int64 (sample,); earlier runs kept counts alone.

        Raises:
            UserError: where the run is not finished, or files are damaged.
        """
        counts, labels = self.features("test")
        if not self.has("predictions_test.npy"):
            return self.readout().predict(counts), labels
        return self.stored.array("predictions_test", shape=(len(labels),)).astype(np.int64), labels

    def readout(self) -> LinearReadout:
        """Return the trained readout.

        Raises:
            UserError: if the run has none yet, or it is damaged.
        """
        self._needs("readout.npz")
        file = self.path / "readout.npz"
        found = read_npz(self.path, "readout.npz", ("weight", "bias", "maximum"))
        weight, bias, maximum = found["weight"], found["bias"], found["maximum"]
        if weight.shape != (self.network.liquid, len(np.atleast_1d(bias))) or maximum.shape != ():
            raise UserError(f"{file} belongs to another network ({weight.shape} weights); {AGAIN}.")
        return LinearReadout(weight, bias, float(maximum))

    def raster(self) -> np.ndarray:
        """Return the recorded spikes of test samples, uint8 (sample, millisecond, neuron)."""
        bytes_ = -(-self.network.neurons // 8)
        packed = self.stored.array("raster", shape=(None, self.config.duration, bytes_), dtype=np.uint8)
        return np.unpackbits(packed, axis=2, count=self.network.neurons)

    def depression(self) -> np.ndarray:
        """Return L- of the recorded samples, float32 (sample, millisecond)."""
        return self.stored.array("depression", shape=(None, self.config.duration), dtype=np.float32)

    def _needs(self, name: str) -> None:
        if not self.has(name):
            raise UserError(
                f"{self.path / name} is missing; finish the run with `nalsm train --out {self.path}`."
            )


def open_run(path: str | Path) -> FinishedRun:
    """Open a run directory.

    Raises:
        UserError: if it contains no run, a run of another program or one that is not initialised yet, or damaged files.
    """
    stored = read_run(path, package="nalsm")
    config = rebuild(Config, stored_settings(stored.config), str(stored.path / "config.json"))
    result_of(stored)
    for name in ("network.npz", "initial_weights.npy"):
        if not (stored.path / name).is_file():
            raise UserError(
                f"{stored.path}: the liquid is not initialised yet ({name} is missing); "
                f"finish the run with `nalsm train --out {stored.path}`."
            )
    network = LiquidNetwork.decoded(read_whole(stored.path, "network.npz"), stored.path / "network.npz")
    shape = (int(network.active.sum()),)
    return FinishedRun(
        stored, config, network, stored.array("initial_weights", shape=shape, dtype=np.float32)
    )


def stored_settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's content, including omitted values that differ from today's defaults."""
    return {"revision": 1, **content}


def result_of(stored: StoredRun) -> dict[str, Any] | None:
    """Return the summary of a finished run, None for an unfinished one.

    Raises:
        UserError: if the summary is incomplete.
    """
    if stored.summary is None:
        return None
    numbers = ("rate_hz", "seconds", *(f"{split}_accuracy" for split in SPLITS))
    lacking = [name for name in numbers if not isinstance(stored.summary.get(name), int | float)]
    lacking += [name for name in ("dataset", "samples") if name not in stored.summary]
    if lacking:
        raise UserError(f"{stored.path / 'summary.json'} lacks {', '.join(lacking)}; {AGAIN}.")
    return stored.summary


def checkpoint_of(checkpoints: Checkpoints, arrays: tuple[str, ...]) -> Checkpoint | None:
    """Return the newest complete checkpoint of a folder, or None.

    Raises:
        UserError: if it lacks one of the arrays.
    """
    found = checkpoints.load_latest()
    if found is not None and not set(arrays) <= set(found.arrays):
        raise UserError(f"{checkpoints.directory} holds checkpoints of another program; delete the folder.")
    return found


def read_npz(folder: Path, name: str, arrays: tuple[str, ...], remedy: str = AGAIN) -> dict[str, np.ndarray]:
    """Return arrays of an .npz file of a run by name.

    Raises:
        UserError: if the file is damaged or lacks one of them.
    """
    content = read_whole(folder, name)
    with (
        guarded(folder / name, "a file of this run", remedy),
        np.load(io.BytesIO(content), allow_pickle=False) as data,
    ):
        return {key: array_of(data[key]) for key in arrays}


def open_dataset(config: Config, *, allow_loss: bool | None = None) -> Dataset:
    """Load the data set that a configuration names; an existing run's losses were accepted when it began."""
    return load_dataset(
        config.data,
        seed=config.seed,
        duration=config.duration,
        own_test_scaling=config.quirks.own_test_scaling,
        jitter_per_sample=config.quirks.jitter_per_sample,
        input_scale=config.input_scale,
        input_rate=config.input_rate,
        start=config.start,
        allow_loss=config.allow_loss if allow_loss is None else allow_loss,
        faithful=config.profile == "faithful",
        revision=config.effective_revision,
        limits={
            "train": config.train_samples,
            "validation": config.validation_samples,
            "test": config.test_samples,
        },
    )


def settled(config: Config, network: LiquidNetwork | None = None) -> Config:
    """Return a configuration with the dims and network_seed of its network file.

    Args:
        config: the configuration; without a network file, it is returned as it is.
        network: the network if it has already been read.

    Raises:
        UserError: if dims or network_seed contradict the network file, or the file is not a network.
    """
    if config.network is None:
        return config
    network = LiquidNetwork.load(config.network) if network is None else network
    known = {"dims": network.dims, "network_seed": network.metadata.get("seed", config.network_seed)}
    for name, value in known.items():
        given = getattr(config, name)
        if given not in (value, getattr(Config, name)):
            raise UserError(
                f"{name} is {given}, but network {config.network} has {name} {value}; leave out dims and "
                "network_seed, which the file determines, or leave out network."
            )
    return replace(config, **known)


def open_run_dataset(run: FinishedRun) -> Dataset:
    """Load the data set of a run.

    Raises:
        UserError: if it is not the one that the run began with.
    """
    data = open_dataset(run.config, allow_loss=True)
    same_data(run.path, data.identity, {}, run.config.data)
    return data


def same_data(folder: Path, identity: DataIdentity | None, files: Mapping[str, Path], source: str) -> None:
    """Compare data and files with those that the run in a folder began with; nothing is written.

    Raises:
        UserError: if they differ; the message names what differs.
    """
    compared(read_identities(folder), identity, files, source=source, where=folder)


def chunk_size(config: Config) -> int:
    """Return how many samples are presented between two checkpoints: complete batches of the original, about 1000."""
    return config.batch if config.quirks.carry_trace else max(1000 // config.batch, 1) * config.batch


def compact(counts: np.ndarray) -> np.ndarray:
    """Return counts in the smallest unsigned type that fits them."""
    top = int(counts.max(initial=0))
    return counts.astype(np.uint8 if top < 256 else np.uint16)


def fit_readout(
    config: Config,
    counts: dict[Split, np.ndarray],
    labels: dict[Split, np.ndarray],
    classes: int,
    *,
    threads: int = 1,
    checkpoints: Checkpoints | None = None,
) -> LinearReadout:
    """Train the readout that a configuration names; Adadelta continues from its last checkpoint, if there is one."""
    validation = (counts["validation"], labels["validation"])
    if config.readout == "ridge":
        return train_ridge(counts["train"], labels["train"], classes=classes)
    if config.readout == "lbfgs":
        return train_lbfgs(
            counts["train"], labels["train"], classes=classes, soft=config.soft_labels,
            l2=5e-10 if config.soft_labels else 1e-6, iterations=min(config.readout_epochs, 300), validation=validation,
            threads=threads,
        )  # fmt: skip
    return train_adadelta(
        counts["train"], labels["train"], classes=classes, epochs=config.readout_epochs, batch=config.batch,
        batch_maximum=config.quirks.batch_maximum, validation=validation,
        evaluate_every=1 if config.profile == "faithful" else 25, checkpoints=checkpoints,
    )  # fmt: skip
