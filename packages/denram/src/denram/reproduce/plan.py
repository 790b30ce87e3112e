"""Figure 4d: test accuracy against weight noise of two networks, run by run into a ledger.

30 runs at the published scale: D2 (256 inputs, tau 15 ms) and D1 (700 inputs, tau 20 ms), five noise levels,
three seeds. The original's script has a 31st run, a leftover of one epoch that repeats the first run and spoils
its point (DEV-17); it is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from reprokit import Ledger, run_id, standard_row
from reprokit.config import rebuild
from reprokit.run import study
from reprokit.run.stored import stored_identity
from reprokit.run.study import ReproduceOptions, Scale, Task
from reprokit.run.workers import on_gpu
from reprokit.terminal import say

from denram.config import NETWORKS, TrainConfig
from denram.data.loading import DataSet, absolute, load_data, open_data, save_data
from denram.engines.network import computing_on
from denram.reproduce.figures import NOISE_LEVELS, draw, points, read_expected, table
from denram.reproduce.together import Together, joint, lacking, train_group
from denram.spec import Engine, Profile
from denram.training.loop import TrainedRun, identity, train
from denram.training.runs import NOT_FIELDS

PUBLISHED = Path("reproduction/fig4d/expected.csv")  # from the repository's root
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
    scale: Scale, profile: Profile = "faithful", engine: Engine = "auto", seeds: Sequence[int] = ()
) -> list[tuple[str, TrainConfig]]:
    """The runs of a scale in the original's order, each with the name of its network.

    Args:
        scale: ``paper`` is the published protocol.
        profile: Profile of the runs.
        engine: Engine of the runs.
        seeds: Seeds; none: those of the scale.
    """
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
        for seed in seeds or protocol.seeds
    ]


def reproduce(
    options: ReproduceOptions,
    *,
    profile: Profile = "faithful",
    engine: Engine = "auto",
    device: str = "auto",
    expected: Path | None = None,
    together: Together = "auto",
) -> int:
    """Do the runs that the ledger lacks, print measured and published points, and draw the figure.

    The recordings are read and binned once for each network; the runs share the binned events as files. On a GPU
    all runs of one network are trained as one program (`denram.training.together`), each into its own directory,
    from which its row is then made as always.

    Args:
        options: Scale, data (None: shd, at scale smoke spoken-toy), parts (D1, D2, fig4d), seeds, workers, folder.
        profile: Profile of the runs; the published numbers are the original's (``faithful``).
        engine: Engine of the runs.
        device: Device of the runs.
        expected: Table of published results; None: expected.csv in the folder or in reproduction/fig4d.
        together: Whether the runs of a network are trained as one program; auto: on a GPU.

    Returns:
        Exit code: 1 if a run failed or a judged point is off, else 0.

    Raises:
        UserError: If options, data or folder cannot be used.
    """
    options.check()
    scale, out = options.scale, options.folder("denram")
    source = absolute(options.data or ("spoken-toy" if scale == "smoke" else "shd"))
    planned = grid(scale, profile, engine, options.seeds)
    folders: dict[int, Path] = {}
    for n_in, binning in {config.n_in: config.binning for _, config in planned}.items():
        folders[n_in] = save_data(load_data(source, binning, allow_loss=True), out / "runs" / "events")
    data = {n_in: open_data(folder) for n_in, folder in folders.items()}
    with computing_on(device):  # which decides on the engine
        tasks = [
            Task(
                identity(config, data[config.n_in]),
                claim="fig4d",
                part=name,
                label=f"{name}, noise {config.noise_std:g}, seed {config.seed}",
                gpu=on_gpu(device),
            )
            for name, config in planned
        ]
    about = data[planned[0][1].n_in]
    say(
        f"{about.name}: {len(about.train)} training and {len(about.test)} test recordings, "
        f"scale {scale}, {len(tasks)} runs"
    )
    running = {"source": source, "runs": out / "runs", "device": device, "threads": options.threads}
    if joint(together, options, tasks, device):
        wanted = lacking(tasks, options, Ledger.for_results(out / "results.csv", COLUMNS))
        for n_in, binned in data.items():
            configs = [config_of(task.config, **running) for task in wanted if task.config["n_in"] == n_in]
            if len(configs) > 1:
                train_group(configs, binned)
    published = _published(expected, out)
    verdicts: list[str] = []

    def report(rows: list[dict[str, Any]], folder: Path) -> Iterable[Path]:
        measured = points(rows)
        levels = PROTOCOLS[scale].noise_levels
        lines, found = table(published, measured, about.name, scale, profile, levels)
        verdicts.extend(found)
        for line in ["", *lines]:
            say(line)
        return draw(published, measured, folder, about.name, scale, profile)

    work = partial(
        run_one,
        folders=folders,
        scale=scale,
        **running,
    )
    code = study.reproduce(
        tasks,
        work,
        package="denram",
        options=options,
        columns=COLUMNS,
        draw=report,
        identified=True,
        data=[source],
    )
    return 1 if "fail" in verdicts else code


def _published(expected: Path | None, out: Path) -> dict[tuple[str, float], Any]:
    """The published points, if there is a table of them."""
    candidates = [expected] if expected else [out / "expected.csv", PUBLISHED]
    found = next((file for file in candidates if file.is_file() or file == expected), None)
    if found is None:
        say("no expected.csv found, so the published curve is left out; name one with --expected")
    return {} if found is None else read_expected(found)


def run_one(
    settings: Mapping[str, Any],
    *,
    folders: Mapping[int, Path],
    source: str,
    runs: Path,
    scale: Scale,
    device: str,
    threads: int,
) -> dict[str, Any]:
    """Do one run, or finish it, and return its ledger row.

    Args:
        settings: Full configuration, from `identity`.
        folders: Binned data for each number of inputs.
        source: Origin of the data, recorded in the run directory.
        runs: Parent of the run directories.
        scale: Scale named in the row.
        device: Device of the run.
        threads: Threads of the event engine.
    """
    config = config_of(settings, source=source, runs=runs, device=device, threads=threads)
    events = folders[config.n_in]
    if not events.exists():  # for a cluster worker that does not see the folder of the study
        save_data(load_data(source, config.binning, allow_loss=True), events.parent)
    data = open_data(events)
    return done(train(config, data), data, config, claim="fig4d", scale=scale)


def config_of(
    settings: Mapping[str, Any], *, source: str, runs: Path, device: str, threads: int
) -> TrainConfig:
    """The configuration of a run of the study, with its directory; arguments as in `run_one`."""
    config = rebuild(
        TrainConfig, settings, "the study", ignore=NOT_FIELDS, data=source, device=device, threads=threads
    )
    return replace(config, out=runs / f"{config.name}-{run_id(settings)}")


def done(
    result: TrainedRun, data: DataSet, config: TrainConfig, *, claim: str, scale: Scale
) -> dict[str, Any]:
    """Return the ledger row of a finished run.

    Args:
        result: The run.
        data: Its data.
        config: Its options.
        claim: Experiment named in the row.
        scale: Scale named in the row.
    """
    row = standard_row(
        result.config,
        package="denram",
        claim=claim,
        dataset=data.name,
        scale=scale,
        seed=config.seed,
        seconds=result.seconds,
        threads=config.threads,
        packages=("denram", "jax", "jaxlib", "optax"),
        data=stored_identity(result.path),
    )
    network = next((name for name, sizes in NETWORKS.items() if sizes["n_in"] == config.n_in), "own")
    known = {**result.config, **result.summary, "network": network}
    return row | {name: known[name] for name in COLUMNS}
