"""Figure 4d: test accuracy against weight noise of two networks, run by run into a ledger.

30 runs at the published scale: D2 (256 inputs, tau 15 ms) and D1 (700 inputs, tau 20 ms), five noise levels,
three seeds. The original's script holds a 31st run, a leftover of one epoch that repeats the first run and
spoils its point (DEV-17); it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from reprokit import Job, Ledger, SweepReport, UserError, run_id, run_jobs, standard_row
from reprokit.files.atomic import make_folder

from denram.config import TrainConfig
from denram.data.loading import load_data, open_data, save_data
from denram.spec import Engine, Profile, Scale
from denram.training.loop import identity, train

NETWORKS = {"D2": {"n_in": 256, "tau_mem": 15e-3}, "D1": {"n_in": 700, "tau_mem": 20e-3}}
NOISE_LEVELS = (0.0, 0.05, 0.1, 0.15, 0.2)
RESULTS = "results.csv"
COLUMNS: dict[str, type] = {  # the original's, in its order (its seed is a standard column), then ours
    "n_in": int,
    "n_delays": int,
    "noise_std": float,
    "max_delay": int,
    "tau_mem": float,
    "r_mu": float,
    "r_std": float,
    "test_acc": float,
    "network": str,
    "profile": str,
    "engine": str,
    "val_acc": float,
    "train_acc": float,
    "best_epoch": int,
    "epochs": int,
}


@dataclass(frozen=True)
class Protocol:
    """What differs between the scales.

    Args:
        noise_levels: Noise levels of the curve.
        seeds: Seeds of each point.
        settings: Settings other than the defaults.
    """

    noise_levels: tuple[float, ...]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]


PROTOCOLS: dict[str, Protocol] = {
    "paper": Protocol(NOISE_LEVELS, (42, 50, 9), {"nb_epochs": 100}),
    "reduced": Protocol(NOISE_LEVELS, (42, 50), {"nb_epochs": 20}),
    "smoke": Protocol((0.0, 0.1, 0.2), (42, 50), {"nb_epochs": 6, "batch_size": 32, "lr": 5e-4}),
}


def grid(
    scale: Scale, profile: Profile = "faithful", engine: Engine = "auto"
) -> list[tuple[str, TrainConfig]]:
    """The runs of a scale in the original's order, each with the name of its network."""
    protocol = PROTOCOLS[scale]
    return [
        (
            name,
            TrainConfig(
                seed=seed, noise_std=noise, profile=profile, engine=engine, **sizes, **protocol.settings
            ),
        )
        for name, sizes in NETWORKS.items()
        for noise in protocol.noise_levels
        for seed in protocol.seeds
    ]


def reproduce(
    source: str,
    out: Path,
    *,
    scale: Scale = "paper",
    profile: Profile = "faithful",
    engine: Engine = "auto",
    jobs: int = 1,
    say: Callable[[str], object] = lambda _: None,
) -> tuple[str, SweepReport]:
    """Do the runs that the ledger ``out/results.csv`` lacks; unfinished ones go on from their checkpoints.

    The recordings are read and binned once for each network; the runs share the binned events as files.

    Args:
        source: Data, as for `load_data`.
        out: Folder of the ledger; runs go to ``out/runs``.
        scale: ``paper`` is the published protocol.
        profile: Profile of the runs; the published numbers are the original's (``faithful``).
        engine: Engine of the runs.
        jobs: Runs at a time, each in its own process with one thread.
        say: Takes the lines of the report.

    Returns:
        Name of the data really used, and what became of the runs.

    Raises:
        UserError: If data or folder cannot be used.
    """
    if jobs < 1:
        raise UserError(f"jobs is {jobs}; it must be at least 1.")
    make_folder(out, "output folder")
    ledger = Ledger.for_results(out / RESULTS, COLUMNS)
    planned = grid(scale, profile, engine)
    folders: dict[int, Path] = {}
    for n_in, binning in {config.n_in: config.binning for _, config in planned}.items():
        folders[n_in] = save_data(load_data(source, binning), out / "runs" / "events")
    data = {n_in: open_data(folder) for n_in, folder in folders.items()}
    tasks = [
        Job(identity(config, data[config.n_in]), f"{name}, noise {config.noise_std:g}, seed {config.seed}")
        for name, config in planned
    ]
    about = data[planned[0][1].n_in]
    say(
        f"{about.name}: {len(about.train)} training and {len(about.test)} test recordings, "
        f"scale {scale}, {len(tasks)} runs"
    )
    work = partial(run_one, folders=folders, source=source, runs=out / "runs", scale=scale)
    return about.name, run_jobs(tasks, work, ledger=ledger, workers=jobs, say=say)


def run_one(
    settings: Mapping[str, Any], *, folders: Mapping[int, Path], source: str, runs: Path, scale: Scale
) -> dict[str, Any]:
    """Do one run, or finish it, and return its ledger row.

    Args:
        settings: Full configuration, from `identity`.
        folders: Binned data for each number of inputs.
        source: Where the data came from, noted in the run directory.
        runs: Parent of the run directories.
        scale: Scale named in the row.
    """
    folder = (
        runs / f"n{settings['n_in']}-noise{settings['noise_std']:g}-seed{settings['seed']}-{run_id(settings)}"
    )
    config = TrainConfig.from_identity(dict(settings), data=source, out=folder)
    data = open_data(folders[config.n_in])
    result = train(config, data)
    row = standard_row(
        result.config,
        package="denram",
        claim="fig4d",
        dataset=data.name,
        scale=scale,
        seed=config.seed,
        seconds=result.seconds,
        threads=config.threads,
        packages=("denram", "jax", "jaxlib", "optax"),
    )
    network = next(name for name, sizes in NETWORKS.items() if sizes["n_in"] == config.n_in)
    known = {**result.config, **result.summary, "network": network}
    return row | {name: known[name] for name in COLUMNS}
