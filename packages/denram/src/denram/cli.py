"""The command line of denram; `App` adds ``data``, ``judge``, ``completion``, ``--version`` and ``--help``."""

import os
import sys
from pathlib import Path
from typing import Literal

from reprokit.cli import App
from reprokit.errors import UserError
from reprokit.run.grid import read_grid
from reprokit.run.grid_sweep import SweepOptions
from reprokit.run.pretrained import pretrained_lines
from reprokit.run.study import ReproduceOptions
from reprokit.terminal import say
from tyro.conf import Positional

from denram.config import HEARTBEAT, NETWORKS, TrainConfig
from denram.spec import Engine, Profile


def core() -> str:
    """Name the engine on the CPU without loading JAX."""
    from denram.engines import native

    if native.available():
        return f"compiled event engine, {native.variant()}"
    return "FFT engine (slower on a CPU): the compiled event engine is missing"


def rewrite(words: list[str]) -> list[str]:
    """Translate ``denram fig4d`` to ``denram reproduce --only fig4d``."""
    return ["reproduce", "--only", "fig4d", *words[1:]] if words[:1] == ["fig4d"] else words


app = App(
    "denram",
    summary="DenRAM: spiking classification with fixed random dendritic delays and noisy weights.",
    config=TrainConfig,
    presets={
        name: TrainConfig(**settings) for name, settings in (NETWORKS | {"heartbeat": HEARTBEAT}).items()
    },
    ignore=("data_fingerprint",),
    rewrite=rewrite,
    core=core,
    notes="`denram fig4d` is `denram reproduce --only fig4d`.",
)


@app.command
def train(config: TrainConfig) -> None:
    """Train one network; the same command continues after an interruption.

    Args:
        config: Settings; the defaults are the original's.
    """
    config.check_used()
    _limit_threads(config.threads)
    from denram.training.loop import train as train_network

    train_network(config, say=say)


@app.command
def evaluate(
    runs: Positional[tuple[Path, ...]],
    noise_std: tuple[float, ...] = (),
    devices: int = 10,
    data: str | None = None,
    split: Literal["test", "validation", "train"] = "test",
    which: Literal["best", "last"] = "best",
    engine: Engine = "auto",
    device: str = "auto",
    threads: int = 1,
    out: Path | None = None,
) -> None:
    """Test trained networks on noisy devices; several runs give the matrix training noise x test noise.

    Args:
        runs: Run directories.
        noise_std: Noise levels to test at; none: each run's own.
        devices: Number of noise draws at each level, each tested on all samples.
        data: Data to test on; none: the data of each run.
        split: The test set, or the run's own validation or training samples.
        which: Weights of the best epoch, or of the last one.
        engine: Engine of the networks.
        device: auto (JAX's choice), cpu, or cuda:K, which the fft engine needs.
        threads: Threads of the event engine.
        out: Also write the results to this .csv file.
    """
    _limit_threads(threads)
    from denram.engines.network import computing_on
    from denram.training.evaluation import evaluate as evaluate_runs
    from denram.training.evaluation import report, write_table
    from denram.training.runs import open_run

    opened = [open_run(path, which) for path in runs]
    with computing_on(device):
        results = evaluate_runs(
            opened, noise_std, devices, source=data, engine=engine, threads=threads, split=split
        )
    if out is not None:
        write_table(results, out)
    for line in report(results):
        say(line)


@app.command
def predict(
    run: Positional[Path],
    data: Path,
    out: Path,
    which: Literal["best", "last"] = "best",
    engine: Engine = "auto",
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Classify recordings without labels, with noise-free weights: a table of index, class and scores.

    Args:
        run: Run directory.
        data: .npy or .npz file of 0 and 1 (sample, step, channel), or .npz file of recordings: times and units
            of all spikes, and offsets of the samples in them.
        out: CSV file of the table.
        which: Weights of the best epoch, or of the last one.
        engine: Engine of the network.
        device: auto (JAX's choice), cpu, or cuda:K, which the fft engine needs.
        threads: Threads of the event engine.
    """
    _limit_threads(threads)
    from reprokit import read_samples

    from denram.training.prediction import load

    loaded = load(run, which, engine=engine, device=device, threads=threads)
    found = loaded.predict(read_samples(data))
    say(f"{found.write(out)}: {len(found)} recordings")


@app.command
def plot(
    runs: Positional[tuple[Path, ...]],
    figures: tuple[str, ...] = ("curves", "confusion", "raster"),
    data: str | None = None,
    out: Path | None = None,
    format: Literal["png", "pdf", "svg"] = "png",
) -> None:
    """Draw learning curves, confusion matrix and a raster of runs, each with its numbers as .csv.

    Args:
        runs: Run directories.
        figures: Any of curves, confusion, raster.
        data: Data for the last two; none: the data of each run.
        out: Folder of the figures, with a subfolder for each of several runs; none: the run directory.
        format: Format of the figures.
    """
    from denram.plots import plot_run
    from denram.training.runs import open_run

    if not runs:
        raise UserError("no run was given; name at least one run directory.")
    for path in runs:
        folder = path if out is None else out / path.name if len(runs) > 1 else out
        for file in plot_run(open_run(path), folder, figures=figures, source=data, kind=format):
            say(str(file))


@app.command
def info(run: Positional[Path | None] = None) -> None:
    """Show a run: configuration, progress, result; without a run: engines, presets, data sets, versions.

    Args:
        run: Run directory.
    """
    if run is None:
        for line in _overview():
            say(line)
        return
    from denram.training.reporting import describe_run
    from denram.training.runs import open_run

    for line in describe_run(open_run(run)):
        say(line)


@app.command
def export(
    run: Positional[Path], to: Literal["original", "nir"] = "original", out: Path | None = None
) -> None:
    """Write the network of a run for other programs.

    Args:
        run: Run directory; the original's files need a finished run.
        to: original: w_{seed}.npy, d_{seed}.npy and the results row of the original program; nir: a NIR graph.
        out: Folder of the original's files, or file of the graph; none: a folder original, or network.nir, in the run
            directory.
    """
    from denram.training.runs import open_run

    opened = open_run(run)
    if opened.config.layers > 1:
        raise UserError(
            f"{run} has {opened.config.layers} layers; the export formats support only networks of one layer."
        )
    if to == "nir":
        from denram.formats.nir import write_nir

        say(str(write_nir(out or run / "network.nir", opened.weights, opened.delays, opened.network().spec)))
        return
    from denram.formats.original import export_original

    result = opened.result()
    for file in export_original(out or run / to, opened.weights, opened.delays, opened.stored.config, result):
        say(str(file))


@app.command
def reproduce(
    options: ReproduceOptions,
    profile: Profile = "faithful",
    engine: Engine = "auto",
    device: str = "auto",
    expected: Path | None = None,
    together: Literal["auto", "yes", "no"] = "auto",
) -> int:
    """Reproduce Fig. 4d: its runs into OUT/results.csv, the figure, and a table of published and measured results.

    Parts are D1, D2 and fig4d (both). At scale paper these are 30 runs; the same command continues after an
    interruption. `--only heartbeat` is a separate study on ECG, with its own folder; its parts are
    heartbeat-208 (one patient), heartbeat-patients and heartbeat-ds1-ds2. `--only delays` is another: learned
    delays against fixed ones, two layers against one.

    Args:
        options: The options of every study.
        profile: Profile of the runs; the published numbers are the original's (faithful).
        engine: Engine of the runs.
        device: auto (JAX's choice), cpu, or cuda:K, which the fft engine needs.
        expected: Table of published results; none: expected.csv in OUT or in reproduction/fig4d.
        together: Train all runs of a network as one program; auto: on a GPU.

    Returns:
        Exit code: 1 if a run failed or a judged point is off, else 0.
    """
    _limit_threads(options.threads)
    names = (*options.only, *options.again)
    own = [study for study in ("heartbeat", "delays") if any(name.startswith(study) for name in names)]
    if own:
        given = {
            "profile": profile != "faithful",
            "engine": engine != "auto",
            "expected": expected is not None,
            "together": together != "auto",
        }
        idle = [f"--{name}" for name, changed in given.items() if changed]
        if idle or device not in ("auto", "cpu"):
            raise UserError(
                f"{' '.join(idle) or '--device'} does not act on the {own[0]} study; leave it out."
            )
        if own == ["delays"]:
            from denram.reproduce.delays import reproduce as run_delays

            return run_delays(options)
        from denram.reproduce.heartbeat import reproduce as run_heartbeat

        return run_heartbeat(options)
    from denram.reproduce.plan import reproduce as run_study

    return run_study(
        options, profile=profile, engine=engine, device=device, expected=expected, together=together
    )


@app.command
def sweep(grid: Positional[Path], options: SweepOptions) -> int:
    """Train the networks of a grid file into one ledger; finished ones are skipped, killed ones continue.

    Args:
        grid: TOML file: config, base, axes, zip, seeds, exclude; see docs/cluster.md.
        options: Which runs are done, where, and how many at a time.

    Returns:
        Exit code: 1 if a run failed, else 0.
    """
    _limit_threads(options.threads or 1)
    from denram.reproduce.sweep import sweep as run_sweep

    found = read_grid(grid)
    base = app.load(found.config, [])[0] if found.config else TrainConfig()
    return run_sweep(found, base, options, options.folder(grid))


def _overview() -> list[str]:
    """What `denram info` says about the installation."""
    presets = (f"{name} ({', '.join(f'{k} {v:g}' for k, v in s.items())})" for name, s in NETWORKS.items())
    return [
        *app.version(),
        "engines: events (compiled, CPU), fft (JAX, CPU and GPU), auto",
        f"presets: {', '.join(presets)}",
        "data: shd, spoken-toy, or a folder with shd_train.h5[.gz] and shd_test.h5[.gz]",
        *pretrained_lines("denram"),
    ]


def _limit_threads(threads: int) -> None:
    """Limit XLA's thread pools to `threads`; they are created once, at the first computation."""
    os.environ.setdefault("NPROC", str(max(1, threads)))
    if threads == 1 and "xla_cpu_multi_thread_eigen" not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = (
            f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
        )


main = app.main  # entry point; returns the exit code


if __name__ == "__main__":
    sys.exit(main())
