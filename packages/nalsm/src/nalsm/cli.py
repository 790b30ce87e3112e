"""The command line of nalsm: train, sweep, features, readout, evaluate, predict, plot, export, info, and others.

Each command parses, calls one function and prints. `App` adds ``data``, ``judge``, ``completion`` and ``--version``.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from reprokit import UserError, run_id
from reprokit.cli import App
from reprokit.errors import ask_core
from reprokit.run.grid import is_grid, read_grid
from reprokit.run.grid_sweep import sweep_folder
from reprokit.run.pretrained import pretrained_lines
from reprokit.run.study import ReproduceOptions
from reprokit.run.workers import WorkerOptions
from reprokit.terminal import say
from tyro.conf import Positional

from nalsm.config import MODELS, Config, refuse_idle
from nalsm.names import IMAGE_SETS, INPUTS, Engine, Measure, Split, canonical


def core() -> str:
    """Name the engine on the CPU without loading PyTorch."""
    try:
        from nalsm import _kernel
    except ImportError:
        return "PyTorch reference (slower): the compiled engine is missing"
    return f"compiled event-driven engine, {ask_core(_kernel.isa)}"


def words_of(words: list[str]) -> list[str]:
    """Translate the original's words to ours, and give a grid file after ``sweep`` its flag."""
    words = canonical(words)
    if words[:1] == ["sweep"] and len(words) > 1 and is_grid(words[1]):
        return ["sweep", "--grid", *words[1:]]
    return words


app = App(
    "nalsm",
    summary="Liquid state machines with fixed weights, STDP, AP-STDP and astrocyte-modulated STDP",
    config=Config,
    presets={model: Config(model=model) for model in MODELS},
    rewrite=words_of,
    core=core,
    notes="The original's prompts work too, as --net-num-var, --astro-w-scaling, --initial-abs-w-sclr, --batch-size.",
)
main = app.main  # entry point; returns the exit code


@app.command
def network(
    out: Path,
    dims: tuple[int, int, int] = (10, 10, 10),
    inputs: int = 784,
    dataset: Literal["mnist", "fashion-mnist", "n-mnist", "digits", "digits-events"] | None = None,
    seed: int = 1,
    input_density: float = 0.15,
    excitatory_fraction: float = 0.8,
    connection: tuple[float, float, float, float] = (0.2, 0.1, 0.3, 0.05),
    length: float = 3.0,
) -> None:
    """Generate a network; a seed gives the wiring of the original program.

    Args:
        out: File to write (.npz).
        dims: Grid points in each direction.
        inputs: Input neurons: 784 for MNIST, 2312 for N-MNIST.
        dataset: Use the number of inputs of this data set.
        seed: Seed of the wiring.
        input_density: Share of (liquid, input) pairs connected.
        excitatory_fraction: Share of excitatory neurons.
        connection: Connection strength C for E->E, E->I, I->E, I->I.
        length: Length constant of the wiring, in grid steps.
    """
    from nalsm.model.network import NetworkSpec, connection_statistics, generate

    inputs = INPUTS[dataset] if dataset else inputs
    spec = NetworkSpec(dims, inputs, seed, input_density, 0.02, excitatory_fraction, connection, length)
    made = generate(spec)
    made.save(out)
    say(f"{out}: {made.liquid} liquid neurons, {int(made.active.sum())} synapses, seed {seed}")
    for name, value in connection_statistics(made).items():
        say(f"  {name:38s} {value if isinstance(value, int) else format(value, '.5g')}")


@app.command
def train(
    config: Config,
    out: Path | None = None,
    engine: Engine = "auto",
    device: str = "auto",
    threads: int = 1,
    resume: bool = True,
    force: bool = False,
) -> None:
    """Initialise a liquid, produce features, train the readout; a killed run continues where it stopped.

    Args:
        config: Settings of the run.
        out: Run directory; none: runs/<model>-<run id>.
        engine: events (compiled), triton (NVIDIA GPUs), torch, or auto.
        device: cpu, an accelerator for engines triton and torch, or auto.
        threads: Samples simulated at once; results do not depend on it.
        resume: Continue a run of the same settings; --no-resume refuses a directory that contains one.
        force: Delete an existing run and start again.
    """
    from nalsm.training.pipeline import Run
    from nalsm.training.reporting import summary_lines
    from nalsm.training.runs import settled

    _limit_threads(threads)
    folder = out or Path("runs") / f"{config.model}-{run_id(settled(config).content())}"
    if not (
        folder / "config.json"
    ).exists():  # a run of an earlier version may have such settings and still continue
        for line in refuse_idle([config]):
            say(line)
    run = Run(
        folder, config, engine=engine, device=device, threads=threads, resume=resume, force=force, report=say
    )
    for line in run.data.notes:
        say(line)
    for line in summary_lines(run.train()):
        say(line)
    say(f"run directory       {folder}")


@app.command
def sweep(
    config: Config,
    options: WorkerOptions,
    out: Path | None = None,
    vary: tuple[str, ...] = (),
    grid: Path | None = None,
    threads: int = 1,
) -> int:
    """Train liquids for every combination of values, or for a grid file; finished ones are skipped.

    A grid file may also stand alone: nalsm sweep GRID.toml.

    Args:
        config: Settings that all runs share.
        options: Which runs are done, where, and how many at a time.
        out: Folder of results.csv and of the run directories; none: runs/<name of the grid file> or runs/sweep.
        vary: Settings and their values, as in: network_seed=1,2,3 astrocyte_weight=0.01,0.02.
        grid: TOML file: config, base, axes, zip, seeds, exclude, see docs/cluster.md; instead of --vary.
        threads: Samples simulated at once in each run.
    """
    from nalsm.reproduce.sweep import parse
    from nalsm.reproduce.sweep import sweep as run_sweep

    wanted: Any = parse(vary)
    if grid is not None:
        if vary:
            raise UserError(f"--vary and the grid {grid} are both given; put all that varies into the grid.")
        wanted = read_grid(grid)
        changed = {name: value for name, value in vars(config).items() if value != getattr(Config, name)}
        start = app.load(wanted.config, [])[0] if wanted.config else Config()
        config = replace(start, **changed)
    return run_sweep(config, wanted, sweep_folder(out, grid), options=options, threads=threads)


@app.command
def features(
    run: Positional[Path],
    split: Split = "test",
    noise: float = 0.0,
    out: Path | None = None,
    threads: int = 1,
) -> None:
    """Produce spike counts of a split with the liquid of a run, with or without noise, as one .npz file.

    Args:
        run: Run directory with an initialised liquid.
        split: Split of the data.
        noise: Deviation of the kernel-quality noise: 125 for images, 10 (ms) for recordings; 0 is none.
        out: File; none: features_<split>_noise<noise>.npz in the run directory.
        threads: Samples simulated at once.
    """
    from nalsm.training.export import export_features

    _limit_threads(threads)
    say(str(export_features(run, split, noise=noise, out=out, threads=threads)))


@app.command
def readout(
    run: Positional[Path],
    kind: Literal["lbfgs", "adadelta", "ridge"] = "lbfgs",
    epochs: int = 5000,
    soft_labels: bool = True,
) -> None:
    """Train another readout on the stored features of a run and print its accuracies.

    Args:
        run: Run directory.
        kind: lbfgs, adadelta (the original's) or ridge.
        epochs: Epochs of adadelta.
        soft_labels: Train on the original's soft labels.
    """
    from nalsm.training.evaluation import train_other_readout

    for name, value in train_other_readout(run, kind, epochs, soft_labels).items():
        say(f"{name:22s} {value:.4f}")


@app.command(aliases=("eval",))
def evaluate(
    runs: Positional[tuple[Path, ...]] = (),
    measure: tuple[Measure, ...] = ("accuracy",),
    data: str | None = None,
    split: Split | None = None,
    which: Literal["best", "last"] = "best",
    samples: int = 20,
    repetitions: int = 100,
    noise: float | None = None,
    engine: Engine = "auto",
    device: str = "auto",
    threads: int = 1,
    plot: bool = False,
    out: Path | None = None,
) -> None:
    """Measure trained liquids: nalsm evaluate kernel RUN, or nalsm evaluate RUN --measure accuracy kernel.

    Args:
        runs: Run directories.
        measure: accuracy, branching (the original's factor, which uncoupled spikes of the same rate share; with
            it, the factor of shuffled spikes and the branching ratio m), kernel (quality SP, AP) or divergence
            (of two runs that differ by one spike).
        data: Another data set to measure on; none: the run's own.
        split: Split of the data; none: all three for accuracy, test and train for branching, otherwise test.
        which: Readout; a run keeps only the best one on its validation samples.
        samples: Number of samples of a split for branching and divergence.
        repetitions: Number of random choices over which kernel ranks are averaged.
        noise: Deviation for kernel quality; none: 125 for images, 10 ms for recordings.
        engine: events (compiled), triton (NVIDIA GPUs), torch, or auto.
        device: cpu, an accelerator for engines triton and torch, or auto.
        threads: Samples simulated at once.
        plot: Also draw each measure, into the run directory.
        out: CSV file of the measures.
    """
    from reprokit.files.atomic import write_file
    from reprokit.plots import new_figure

    from nalsm import plots
    from nalsm.training.evaluation import evaluate as measure_run
    from nalsm.training.reporting import measures_table

    _limit_threads(threads)
    if which != "best":
        raise UserError("--which is last, but nalsm keeps the best readout only; use --which best.")
    if plot:
        new_figure()  # report a missing matplotlib before the work, not after
    found = []
    for run in _some(runs, "evaluate"):
        if len(runs) > 1:
            say(f"{run}:")
        for what in measure:
            measured = measure_run(
                what, run, samples=samples, repetitions=repetitions, noise=noise, data=data, split=split,
                engine=engine, device=device, threads=threads,
            )  # fmt: skip
            found.append((run, what, measured))
            for name, value in measured.values.items():
                say(f"{name:22s} {value:.4f}")
            for file in plots.draw_measure(what, measured.detail, run / f"{what}.png") if plot else ():
                say(f"figure: {file}")
    if out is not None:
        say(str(write_file(out, measures_table(found))))


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
    """Classify samples without labels: a table of index, class and scores.

    Args:
        run: Run directory of a finished run.
        data: .npy or .npz file of images, uint8 (sample, channel, height, width) or (sample, height, width), or of
            events (sample, time, polarity, height, width) or (sample, time, input), counted per millisecond.
        out: CSV file of the table.
        which: Readout; a run keeps only the best one on its validation samples.
        engine: events (compiled), triton (NVIDIA GPUs), torch, or auto.
        device: cpu, an accelerator for engines triton and torch, or auto.
        threads: Samples simulated at once.
    """
    from reprokit import read_samples

    from nalsm.training.prediction import load

    _limit_threads(threads)
    loaded = load(run, which, engine=engine, device=device, threads=threads)  # type: ignore[arg-type]
    found = loaded.predict(read_samples(data))
    say(f"{found.write(out)}: {len(found)} samples")


@app.command
def plot(
    runs: Positional[tuple[Path, ...]] = (),
    out: Path | None = None,
    format: Literal["png", "pdf", "svg"] = "png",
) -> None:
    """Draw raster, rates, weights before and after, astrocyte trace and the 3-D layout of runs.

    Args:
        runs: Run directories.
        out: Folder of the figures, with a subfolder for each of several runs; none: the run directory.
        format: File format.
    """
    from nalsm.plots import plot_run

    for run in _some(runs, "plot"):
        folder = out / run.resolve().name if out and len(runs) > 1 else out
        for file in plot_run(run, folder, format):
            say(str(file))


@app.command
def export(run: Positional[Path], to: Literal["npz"] = "npz", out: Path | None = None) -> None:
    """Write wiring, weights and readout of a run as arrays for other programs; `features` writes spike counts.

    Args:
        run: Run directory with an initialised liquid.
        to: Format: one file of NumPy arrays.
        out: File; none: liquid.npz in the run directory.
    """
    from nalsm.training.export import export_run

    say(str(export_run(run, out or run / f"liquid.{to}")))


@app.command
def info(run: Positional[Path | None] = None) -> None:
    """Show configuration, progress and result of a run; without one: engines, presets, data sets, versions.

    Args:
        run: Run directory.
    """
    if run is None:
        for line in _overview():
            say(line)
        return
    from nalsm.training.reporting import describe

    for line in describe(run):
        say(line)


@app.command
def reproduce(options: ReproduceOptions) -> int:
    """Run the published experiments into OUT/results.csv; finished ones are skipped.

    Parts: models, astrocyte-weight, 8000, or the name of a model. Seeds are those of the networks.

    Args:
        options: The options of every study.

    Returns:
        Exit code: 1 if a run failed, else 0.
    """
    from nalsm.reproduce.plan import reproduce as run_study

    return run_study(options)


def _overview() -> list[str]:
    """What `nalsm info` says about the installation."""
    sets = dict.fromkeys((*INPUTS, *IMAGE_SETS))
    return [
        *app.version(),
        "engines: events (compiled, CPU), triton (NVIDIA GPUs), torch (PyTorch, CPU and accelerators), auto",
        f"presets: {', '.join(MODELS)} (the models)",
        f"data: {', '.join(sets)}, or a path to images, N-MNIST recordings or an .npz file",
        *pretrained_lines("nalsm"),
    ]


def _some(runs: tuple[Path, ...], command: str) -> tuple[Path, ...]:
    if not runs:
        raise UserError(
            f"no run directory is given; name at least one, for example: nalsm {command} runs/own."
        )
    return runs


def _limit_threads(threads: int) -> None:
    """Give PyTorch as many threads as the liquid."""
    import torch

    if threads < 1:
        raise UserError(f"threads is {threads}; it must be 1 or more.")
    torch.set_num_threads(threads)


if __name__ == "__main__":
    sys.exit(main())
