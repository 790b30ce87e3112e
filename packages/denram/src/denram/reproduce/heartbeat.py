"""Heartbeats from ECG: do delays help with equal synapses, against an equally accurate recurrent network, under noise?

Splits are those of `denram.data.heartbeat`: ``208`` (within a patient) and ``patients`` (between patients). Each has,
at five noise levels and for five seeds, a network of 16 synapses with delays (two for each of 4 channels and 2 classes)
and the same network with all delays 0. Without noise there are larger ones of both, too. Recurrent networks of several
sizes are trained without noise, and the one of `NOISY_SIZE` neurons at every level. The published ``ds1-ds2``, in which
one subject is in both parts, runs without noise, with and without delays.

This is our study: the paper's patient and encoder are not in the original repository, so its rows are not
compared with the paper's 95.3 % with 16 parameters (`reproduction/claims.toml`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from reprokit import run_id, standard_row
from reprokit.config import rebuild
from reprokit.run import study
from reprokit.run.stored import stored_identity
from reprokit.run.study import ReproduceOptions, Scale, Task
from reprokit.terminal import say

from denram.config import HEARTBEAT, TrainConfig
from denram.data.heartbeat import TOY, load_heartbeat
from denram.data.loading import DataSet, bin_splits, open_data, save_data
from denram.reproduce.figures import NOISE_LEVELS
from denram.reproduce.heartbeat_figure import draw, table
from denram.reproduce.recurrent import RecurrentConfig, train_recurrent
from denram.training.loop import identity, train
from denram.training.runs import NOT_FIELDS

PACKAGE = "denram/heartbeat"  # name of the default folder
CLAIM = "heartbeat"
NOISY_SIZE = 4  # the smallest recurrent network as accurate as the delays, without noise, on record 208
COLUMNS: dict[str, type] = {
    **{"split": str, "network": str, "n_in": int, "n_delays": int, "hidden": int, "n_synapses": int},
    **{"n_parameters": int, "noise_std": float, "max_delay": int, "tau_mem": float, "test_acc": float},
    **{"val_acc": float, "train_acc": float, "best_epoch": int, "epochs": int, "n_train": int, "n_test": int},
    "engine": str,
}


@dataclass(frozen=True)
class Protocol:
    """What differs between the scales.

    Args:
        epochs: Epochs for each split, by the name of its data set.
        noise_levels: Noise levels.
        seeds: Seeds of each point.
        sizes: Neurons of the recurrent networks.
        more_delays: Delays for each channel and class of the larger networks, trained without noise.
    """

    epochs: Mapping[str, int]
    noise_levels: tuple[float, ...]
    seeds: tuple[int, ...]
    sizes: tuple[int, ...]
    more_delays: tuple[int, ...] = ()


SEEDS = (42, 50, 9, 7, 21)
EPOCHS = {"heartbeat-208": 30, "heartbeat-patients": 15, "heartbeat-ds1-ds2": 15}
PROTOCOLS: dict[str, Protocol] = {
    "paper": Protocol(EPOCHS, NOISE_LEVELS, SEEDS, (2, 4, 8, 16), (4, 8, 16)),
    "reduced": Protocol({"heartbeat-208": 30}, (0.0, 0.2), SEEDS[:2], (2, 4, 8)),
    "smoke": Protocol({TOY: 10}, (0.0, 0.2), SEEDS[:2], (4,)),
}
PUBLISHED_SPLIT = "heartbeat-ds1-ds2"  # one subject is in both parts: only the DenRAM networks, without noise
BATCH, TOY_BATCH = 64, 16  # samples per batch


def grid(scale: Scale, seeds: Sequence[int] = ()) -> list[tuple[str, str, TrainConfig | RecurrentConfig]]:
    """The runs of a scale: name of the data set, name of the network, settings.

    Args:
        scale: ``paper`` is the whole study.
        seeds: Seeds; none: those of the scale.
    """
    protocol = PROTOCOLS[scale]
    points = [
        (source, noise)
        for source in protocol.epochs
        for noise in ((0.0,) if source == PUBLISHED_SPLIT else protocol.noise_levels)
    ]
    runs: list[tuple[str, str, TrainConfig | RecurrentConfig]] = []
    for seed in seeds or protocol.seeds:
        for source, noise in points:
            epochs = protocol.epochs[source]
            common: dict[str, Any] = {"seed": seed, "noise_std": noise, "nb_epochs": epochs}
            common["batch_size"] = TOY_BATCH if source == TOY else BATCH
            delays = TrainConfig(**{**HEARTBEAT, **common, "data": source, "patience": epochs})
            more = protocol.more_delays if noise == 0 and source != PUBLISHED_SPLIT else ()
            for network in (delays, *(replace(delays, n_delays=number) for number in more)):
                runs.append((source, "delays", network))
                runs.append((source, "no-delays", replace(network, max_delay=0)))
            if source != PUBLISHED_SPLIT:
                sizes = [size for size in protocol.sizes if noise == 0 or size == NOISY_SIZE]
                runs += [(source, "recurrent", RecurrentConfig(size, **common)) for size in sizes]
    return runs


def settings(config: TrainConfig | RecurrentConfig, data: DataSet) -> dict[str, Any]:
    """The full configuration of a run, from which its id is computed."""
    if isinstance(config, TrainConfig):
        return identity(config, data)
    about = {
        "package": "denram",
        "model": "recurrent",
        "data": data.name,
        "data_fingerprint": data.fingerprint,
    }
    return asdict(config) | about


def reproduce(options: ReproduceOptions) -> int:
    """Do the runs that the ledger lacks, print the table and draw the figure.

    Args:
        options: Scale, data (None: mitdb, fetched; otherwise a folder with its files), parts, seeds, workers, folder.
            At scale smoke the ECG is generated.

    Returns:
        Exit code: 1 if a run failed, else 0.

    Raises:
        UserError: If options, data or folder cannot be used.
    """
    options.check()
    out, planned = options.folder(PACKAGE), grid(options.scale, options.seeds)
    events = out / "runs" / "events"
    sources = {source: config for source, _, config in planned if isinstance(config, TrainConfig)}
    folders = {
        source: save_data(
            bin_splits(load_heartbeat(source, config.levels, folder=options.data), config.binning), events
        )
        for source, config in sources.items()
    }
    data = {source: open_data(folder) for source, folder in folders.items()}
    tasks = [
        Task(settings(config, data[source]), CLAIM, source, f"{source} {network}{_label(config)}")
        for source, network, config in planned
    ]
    for source, found in data.items():
        say(
            f"{source}: {len(found.train)} beats to train, {len(found.test)} to test, half of them ventricular"
        )

    def report(rows: list[dict[str, Any]], folder: Path) -> Iterable[Path]:
        for line in ["", *table(rows)]:
            say(line)
        return draw(rows, folder)

    work = partial(run_one, folders=folders, runs=out / "runs", scale=options.scale, threads=options.threads)
    return study.reproduce(
        tasks, work, package=PACKAGE, options=options, columns=COLUMNS, draw=report, identified=True
    )


def _label(config: TrainConfig | RecurrentConfig) -> str:
    if isinstance(config, RecurrentConfig):
        size = f" {config.hidden}"
    else:
        size = "" if config.n_delays == HEARTBEAT["n_delays"] else f" {config.n_delays}"
    return f"{size}, noise {config.noise_std:g}, seed {config.seed}"


def run_one(
    wanted: Mapping[str, Any], *, folders: Mapping[str, Path], runs: Path, scale: Scale, threads: int
) -> dict[str, Any]:
    """Do one run, or finish it, and return its ledger row.

    Args:
        wanted: Full configuration, from `settings`.
        folders: Binned data of each split.
        runs: Parent of the run directories of the DenRAM networks.
        scale: Scale named in the row.
        threads: Threads of the event engine.
    """
    source = wanted["data"]
    data = open_data(folders[source])
    row = {"split": source.removeprefix("heartbeat-"), "n_in": data.train.events.n_in}
    row |= {"n_train": len(data.train), "n_test": len(data.test)}
    if wanted.get("model") == "recurrent":
        named = {
            name: value for name, value in wanted.items() if name in RecurrentConfig.__dataclass_fields__
        }
        config = RecurrentConfig(**named)
        found = train_recurrent(config, data)
        weights = found["n_parameters"] - config.hidden - data.classes
        row |= {"network": "recurrent", "n_delays": 0, "n_synapses": weights, "max_delay": 0, "engine": "jax"}
        known, full, seconds, seen = (
            asdict(config) | dict(found),
            dict(wanted),
            found["seconds"],
            data.identity,
        )
    else:
        config = rebuild(TrainConfig, wanted, "the study", ignore=NOT_FIELDS, data=source, threads=threads)
        folder = runs / f"{source}-{config.name}-{run_id(wanted)}"
        result = train(replace(config, out=folder), data)
        row |= {"network": "delays" if config.max_delay else "no-delays", "hidden": 0}
        row |= {"n_synapses": config.n_in * config.n_delays * data.classes}
        known, full, seconds = result.config | result.summary, result.config, result.seconds
        seen = stored_identity(folder)
    standard = standard_row(
        full,
        package="denram",
        claim=CLAIM,
        dataset=data.name,
        scale=scale,
        seed=config.seed,
        seconds=seconds,
        threads=threads,
        packages=("denram", "jax", "jaxlib", "optax"),
        data=seen,
    )
    return standard | {name: row[name] if name in row else known[name] for name in COLUMNS}
