"""Command line ``dalton``: train, evaluate, predict, sweep, plot, export, info, reproduce.

Each command parses, calls one function and prints. Torch is loaded inside the commands, so that help is quick.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from reprokit import UserError
from reprokit.cli import App
from reprokit.config import read_config_file
from reprokit.errors import ask_core
from reprokit.files.atomic import write_file
from reprokit.run.grid import read_grid
from reprokit.run.grid_sweep import sweep_folder
from reprokit.run.study import ReproduceOptions
from reprokit.run.workers import WorkerOptions
from reprokit.terminal import say
from tyro.conf import Positional

from dalton.config import RunOptions, TrainConfig

Which = Literal["best", "last"]
NOTES = """
The original's flags are understood, with - or _: --dataset MNIST --epochs 50 --gpu_id 0 --scnn_arch 1 --batch_size 250,
and its methods: --method DALTON_RTRL_SCNN."""
_ORIGINAL_FLAGS = {"--scnn-arch": "--arch", "--gpu-id": "--device", "--rule": "--method"}


def original_words(words: list[str]) -> list[str]:
    """Translate the original's flags, in any spelling, to ours; "none" becomes None; --data means --dataset.

    --rule, the other packages' name, means --method.
    """
    takes_config = words[:1] in (["train"], ["sweep"])
    words = _config_first(words) if words[:1] == ["train"] else words
    names = _ORIGINAL_FLAGS | ({"--data": "--dataset"} if takes_config else {"--dataset": "--data"})
    found = []
    for word in words:
        flag, equals, value = word.partition("=")
        name = names.get(flag.replace("_", "-")) if flag.startswith("--") else None
        found.append("None" if word == "none" else f"{name}{equals}{value}" if name else word)
    return found


def _config_first(words: list[str]) -> list[str]:
    """Turn ``train ... --config FILE`` into ``train FILE ...``."""
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag == "--config":
            named = [value] if equals else words[place + 1 : place + 2]
            if not named or named[0].startswith("-") or (len(words) > 1 and not words[1].startswith("-")):
                raise UserError(
                    "--config takes one file, and CONFIG may be given only once; see dalton train --help."
                )
            return [words[0], *named, *words[1:place], *words[place + (1 if equals else 2) :]]
    return words


def load_config(source: str, words: list[str]) -> tuple[TrainConfig, list[str]]:
    """Read CONFIG: a .toml or .json file, or a run's folder or config.json; its options.json has the paths too."""
    path = Path(source)
    folder = path if path.is_dir() else path.parent
    if path.is_dir() or path.name == "config.json":
        path = folder / "options.json"
    if path.suffix not in (".toml", ".json"):
        raise UserError(
            f"CONFIG is {source!r}; it must be a .toml or .json file, or the config.json of a run."
        )
    return read_config_file(TrainConfig, path, out=None), words


def _core() -> str:
    """Name the engine on the CPU without loading torch."""
    try:
        from dalton import _kernel
    except ImportError:
        return "none compiled, PyTorch alone"
    return f"compiled, {ask_core(_kernel.isa)}"


app = App(
    "dalton",
    summary="Spiking CNNs trained by surrogate gradients, a three-factor rule or DALTON, by sequence or online.",
    config=TrainConfig,
    load=load_config,
    rewrite=original_words,
    core=_core,
    notes=NOTES,
)
main = app.main


@dataclass(frozen=True)
class SweepOptions(WorkerOptions, RunOptions):
    """Options of a sweep: those of a run, and lists of the values that vary."""

    tau_cur: tuple[float | None, ...] = (1e-3, 5e-3)
    """Time constants of the synaptic current, s; None: no filter."""
    gain: tuple[float, ...] = (1.0, 2.0)
    """Encoder gains."""
    bias: tuple[float, ...] = (0.0,)
    """Encoder biases."""
    methods: tuple[str, ...] = ()
    """Methods; none: --method."""
    seeds: tuple[int, ...] = ()
    """Seeds; none: --seed."""


@app.command
def train(config: TrainConfig, resume: bool = True, force: bool = False) -> None:
    """Train one network; the same command resumes a killed run and reports a finished one.

    Args:
        config: The options.
        resume: Continue, or report, a run that already exists; --no-resume refuses it.
        force: Delete what an earlier run left in the folder and start again.
    """
    from dalton.training.loop import train as train_network
    from dalton.training.reporting import epoch_line, summary_lines

    result = train_network(
        config, lambda record: say(epoch_line(record, config.epochs)),
        on_data=lambda data: say_all(data.notes), resume=resume, force=force,
    )  # fmt: skip
    for line in summary_lines(result.summary):
        say(line)
    say(f"run directory        {result.path}")


@app.command
def evaluate(
    runs: Positional[tuple[Path, ...]] = (),
    data: str | None = None,
    split: Literal["test", "validation", "train"] = "test",
    which: Which = "best",
    engine: Literal["auto", "native", "torch"] | None = None,
    device: str = "auto",
    threads: int | None = None,
    out: Path | None = None,
) -> None:
    """Accuracy and confusion matrix of the networks of runs.

    Args:
        runs: Run directories.
        data: Present location of the data; none: where the run found them.
        split: Samples to evaluate.
        which: best: the selected epoch; last.
        engine: native (compiled), torch or auto; none: the run's own.
        device: auto, cpu, cuda:K or a GPU's number.
        threads: CPU threads; none: the run's own.
        out: CSV file for the accuracies.
    """
    from dalton.training.evaluation import evaluate_run
    from dalton.training.reporting import evaluation_lines, evaluation_table

    given = {"dataset": data, "engine": engine, "device": device, "threads": threads}
    changes = {name: value for name, value in given.items() if value is not None}
    found = {}
    for path in _some(runs, "evaluate"):
        found[path] = evaluate_run(path, split, which, **changes)
        for line in evaluation_lines(path, split, which, found[path]):
            say(line)
    if out is not None:
        say(str(write_file(out, evaluation_table(split, which, found))))


@app.command
def predict(
    run: Positional[Path],
    data: Path,
    out: Path,
    which: Which = "best",
    engine: Literal["auto", "native", "torch"] | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Classify samples without labels: a table of index, class and scores.

    Args:
        run: Run directory.
        data: .npy or .npz file of images, uint8 (sample, channel, height, width) or (sample, height, width), or of
            event counts (sample, time, channel, height, width) in 1 ms frames.
        out: CSV file of the table.
        which: best: the selected epoch; last.
        engine: native (compiled), torch or auto; none: the run's own.
        device: auto, cpu, cuda:K or a GPU's number.
        threads: CPU threads; none: the run's own.
    """
    from reprokit import read_samples

    from dalton.training.prediction import load

    loaded = load(run, which, engine=engine, device=device, threads=threads)
    found = loaded.predict(read_samples(data))
    say(f"{found.write(out)}: {len(found)} samples")


@app.command
def sweep(options: SweepOptions, grid: Positional[Path | None] = None) -> int:
    """Train the runs of a grid file, or every combination of --tau-cur, --gain, --bias, --methods and --seeds.

    Finished runs are skipped, killed ones continue.

    Args:
        options: The options.
        grid: TOML file: config, base, axes, zip, seeds, exclude, see docs/cluster.md; instead of the five lists.
    """
    from dalton.reproduce.sweep import Task, combinations, run_tasks
    from dalton.training.reporting import results_table
    from dalton.training.runs import open_ledger

    shared: dict[str, Any] = {field.name: getattr(options, field.name) for field in fields(RunOptions)}
    lists = {name: getattr(options, name) for name in ("tau_cur", "gain", "bias", "methods", "seeds")}
    if grid is not None:
        given = [name for name, value in lists.items() if value != getattr(SweepOptions, name)]
        if given:
            raise UserError(
                f"--{given[0].replace('_', '-')} and the grid {grid} are both given; put it into the grid."
            )
        found = read_grid(grid)
        changed = {name: value for name, value in shared.items() if value != getattr(TrainConfig, name)}
        start = app.load(found.config, [])[0] if found.config else TrainConfig()
        configs = [config for _, config in found.configs(replace(start, **{**changed, "out": None}))]
    else:
        configs = combinations(TrainConfig(**{**shared, "out": None}), **lists)
    folder = sweep_folder(options.out, grid)
    tasks = [Task(config, "sweep", "reduced") for config in configs]
    where = WorkerOptions(**{field.name: getattr(options, field.name) for field in fields(WorkerOptions)})
    report = run_tasks(tasks, folder / "results.csv", folder / "runs", options=where)
    if options.dry_run:
        return 0
    for line in results_table(open_ledger(folder / "results.csv").rows()):
        say(line)
    return 0 if report.ok else 1


@app.command
def plot(
    runs: Positional[tuple[Path, ...]] = (),
    out: Path | None = None,
    which: Which = "best",
    format: Literal["png", "pdf", "svg"] = "png",
) -> None:
    """Learning curves, firing rates, rasters, inputs and filters of runs.

    Args:
        runs: Run directories.
        out: Folder of the figures, one below it for each of several runs; none: each run's own.
        which: Epoch whose weights are shown; best: the selected epoch; last.
        format: File format.
    """
    from dalton.plots import plot_run

    for path in _some(runs, "plot"):
        folder = path if out is None else out if len(runs) == 1 else out / path.resolve().name
        for figure in plot_run(path, folder, which, format):
            say(str(figure))


@app.command
def export(
    run: Positional[Path],
    to: Literal["nir", "original", "npz"] = "nir",
    out: Path | None = None,
    which: Which = "best",
    reader: Literal["norse", "snntorch", "spikingjelly"] | None = None,
    dt: float | None = None,
) -> None:
    """Write the network of a run for other programs.

    Args:
        run: Run directory.
        to: nir: a NIR graph; original: the original's .pth file; npz: the weights by name, for --init-weights.
        out: File; none: network.nir, network.pth or network.npz in the run directory.
        which: best: the selected epoch; last.
        reader: Library that will read the NIR graph; each has its own time-step. None: norse.
        dt: The reader's time-step in s; none: its default (snntorch and spikingjelly 1e-4, norse 1e-3). A
            reader with another time-step silently produces other spikes.
    """
    from dalton.formats.nir import READERS, how_to_read, write_nir
    from dalton.formats.original import write_original
    from dalton.model.build import save_weights
    from dalton.training.evaluation import load_run

    if to != "nir" and (reader is not None or dt is not None):
        raise UserError(f"--{'reader' if reader else 'dt'} is for --to nir; leave it out for --to {to}.")
    if reader == "snntorch" and dt not in (None, READERS[reader][0]):
        raise UserError(
            f"--dt is {dt:g}, but snnTorch reads steps of {READERS[reader][0]:g} s only; leave it out."
        )
    loaded = load_run(run, which, device="cpu")
    path = out or run / {"nir": "network.nir", "original": "network.pth", "npz": "network.npz"}[to]
    lines: list[str] = []
    if to == "nir":
        reader = reader or ("norse" if dt != READERS["snntorch"][0] else "snntorch")
        step = READERS[reader][0] if dt is None else dt
        write_nir(loaded.net, path, step)
        signed = any(bool((loaded.net.weight(name) < 0).any()) for name in loaded.net.layer_names)
        lines = how_to_read(reader, step, signed=signed)
    elif to == "original":
        write_original(loaded.net, path, loaded.config.method, loaded.epoch)
    else:
        save_weights(loaded.net, path)
    say_all([str(path), *lines])


@app.command
def info(run: Positional[Path | None] = None) -> None:
    """Show what a run directory contains; without one: methods, architectures, data sets, versions.

    Args:
        run: Run directory.
    """
    from dalton.training.reporting import describe, overview
    from dalton.training.runs import open_run

    for line in [*overview(), *app.version()] if run is None else describe(open_run(run)):
        say(line)


@app.command
def reproduce(options: ReproduceOptions, golden: Path | None = None) -> int:
    """Repeat the recorded study and more, resumable; parts: study, mnist, cifar10, nmnist, and if named tau.

    --data is a folder with any of mnist/, cifar10-jpeg.zip and nmnist-small.zip, or the file of a single part.

    Args:
        options: The options.
        golden: Folder with the original's initial weights, samples and curves (mnist_a1_*); none: our own.
    """
    from dalton.reproduce.plan import reproduce as run_study

    return run_study(options, golden)


def say_all(lines: Iterable[str]) -> None:
    """Print lines."""
    for line in lines:
        say(line)


def _some(runs: tuple[Path, ...], command: str) -> tuple[Path, ...]:
    if not runs:
        raise UserError(
            f"no run directory is given; name at least one, for example: dalton {command} runs/own."
        )
    return runs


if __name__ == "__main__":
    sys.exit(main())
