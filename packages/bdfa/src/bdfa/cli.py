"""Command line ``bdfa``: train, th, evaluate, predict, table, angles, plot, generate, export, info, reproduce."""

import importlib.util
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from reprokit import UserError, environment, run_id
from reprokit.cli import App
from reprokit.run.grid import read_grid
from reprokit.run.grid_sweep import SweepOptions
from reprokit.run.pretrained import pretrained_lines
from reprokit.run.provenance import versions
from reprokit.run.study import ReproduceOptions
from reprokit.run.workers import WorkerOptions
from reprokit.terminal import say
from tyro.conf import Positional

from bdfa.config import TrainConfig
from bdfa.effects import check_effects
from bdfa.presets import PRESETS


@dataclass(frozen=True)
class TableOptions:
    """Rules x nets x seeds; all other options are those of ``bdfa train``."""

    rules: tuple[str, ...] = ("bp", "fa", "dfa", "bfa", "bdfa")
    """Learning rules."""
    nets: tuple[str, ...] = ("2x400", "2x800")
    """Perceptrons, depth x width, or widths as 400-200."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds; the seeds of a cell are trained as one batched program."""
    ledger: Path = Path("runs/table/results.csv")
    """CSV file of the rows; rows that are there are skipped."""


@dataclass(frozen=True)
class StudyOptions:
    """Further options of ``bdfa reproduce``."""

    nets: tuple[str, ...] = ()
    """Networks of the table and the readings, depth x width; none: 2x400 with three seeds, then 2x800 with one
    (readings: 2x400)."""
    epochs: int | None = None
    """Epochs of the table and the readings; rows of other than 300 are labelled reduced."""
    runs: Path | None = None
    """Folder of the run directories; none: runs in the folder of the results."""


def older_words(words: list[str]) -> list[str]:
    """Translate the words of version 0.1: ``--preset NAME``, ``--resume RUN``, ``--parts``."""
    if words[:1] == ["th"]:  # has its own words
        return words
    kept: list[str] = []
    chosen: list[str] = []
    rest = words[1:]
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name == "--preset":
            if not (equals or rest):
                raise UserError(f"--preset needs a name; choose one of {', '.join(PRESETS)}.")
            chosen = [value if equals else rest.pop(0)]
        elif name == "--resume" and (equals or (rest and not rest[0].startswith("-"))):
            kept.append(word.replace("--resume", "--continue-from", 1))
        else:
            kept.append("--only" + word.removeprefix("--parts") if name == "--parts" else word)
    return [*words[:1], *chosen, *kept]


app = App(
    "bdfa",
    summary="The feedback-alignment family (BP, FA, DFA, BFA, BDFA and their relatives) on any PyTorch network",
    config=TrainConfig,
    presets=PRESETS,
    rewrite=older_words,
    core=lambda: f"PyTorch {versions(('torch',))['torch']}",
)


def _with_data(config: TrainConfig, data: str | None) -> TrainConfig:
    from bdfa.data.loading import data_folder_of

    folder, dataset = (None, None) if data is None else data_folder_of(data, config.dataset)
    return replace(config, data_dir=folder or config.data_dir, dataset=dataset or config.dataset)


def _set_threads(threads: int | None) -> None:
    from bdfa.model.forks import set_threads

    if threads is not None and threads < 1:
        raise UserError(f"--threads is {threads}; it must be at least 1.")
    if threads:
        set_threads(threads)


def _train(config: TrainConfig, *, resume: bool = True, force: bool = False) -> None:
    from bdfa.plots import plot_run
    from bdfa.training.loop import place_of, train
    from bdfa.training.runs import open_run, write_table

    if force or not (place_of([config]) / "config.json").exists():
        check_effects(config)
    draw = plot_run if config.visualize else None
    result = train(config, on_epoch=draw, report=say, resume=resume, force=force)
    summary, angles = result.summaries[0], open_run(result.path).angles()
    if angles:
        say(f"angles: {write_table(result.path / 'angles.csv', angles)}")
    if config.plot and summary["epochs"]:
        if importlib.util.find_spec("matplotlib") is None:
            say("no figures: matplotlib is not installed (pip install matplotlib)")
        else:
            for figure in plot_run(result.path):
                say(f"figure: {figure}")
    for name in ("train_error", "validation_error", "test_error"):
        if summary[name] is not None:
            say(f"{name.replace('_', ' ')}: {100 * summary[name]:.2f} %")
    say(f"{summary['epochs']} epochs, {summary['seconds']:.1f} s on {summary['device']}: {result.path}")


@app.command
def train(config: TrainConfig, data: str | None = None, resume: bool = True, force: bool = False) -> None:
    """Train one network; the same command continues with a killed run.

    Args:
        config: All options of the run.
        data: Data set or path, as --dataset, or a folder of downloaded data sets, as --data-dir.
        resume: Whether to continue a run found in the run directory.
        force: Delete a run found in the run directory.
    """
    _train(_with_data(config, data), resume=resume, force=force)


@app.command(raw=True)
def th(words: list[str]) -> None:
    """Train with the original program's words: bdfa th -dataset MNIST -network mlp.lua -LR 1e-4.

    They mean what bdfa-torch does, whose default -gradient dfa is its BDFA; --program dfa-torch gives plain DFA.
    """
    from bdfa.formats.lua_flags import parse_flags, usage

    if any(word in ("-h", "--help", "-help") for word in words):
        say(usage())
        return
    _train(parse_flags(words))


@app.command
def evaluate(
    runs: Positional[tuple[Path, ...]],
    data: str | None = None,
    split: Literal["train", "validation", "test"] = "test",
    which: Literal["last", "best"] = "last",
    engine: Literal["auto", "module", "fast"] = "auto",
    device: str = "auto",
    threads: int | None = None,
    out: Path | None = None,
) -> None:
    """Measure error and loss of trained networks.

    Args:
        runs: Run directories.
        data: Another data set or path, or a folder of downloaded data sets; none: that of the run.
        split: Portion of the data.
        which: Checkpoint; bdfa keeps the last.
        engine: fast or module, as in train.
        device: auto, cpu or cuda:K.
        threads: CPU threads; none: torch's own choice.
        out: CSV file of the numbers.
    """
    from bdfa.training.evaluation import evaluate_run
    from bdfa.training.runs import write_table

    _set_threads(threads)
    if not runs:
        raise UserError("evaluate needs at least one run directory.")
    rows: list[dict[str, Any]] = []
    for run in runs:
        rows += evaluate_run(run, data=data, split=split, which=which, engine=engine, device=device)
    for row in rows:
        say(
            f"{row['run']} {row['rule']} seed {row['seed']}: {split} error {100 * row['error']:.2f} %, "
            f"loss {row['loss']:.6g}, {row['samples']} images of {row['data']}"
        )
    if out:
        say(str(write_table(out, rows)))


@app.command
def predict(
    run: Positional[Path],
    data: Path,
    out: Path,
    which: Literal["last", "best"] = "last",
    network: int = 0,
    engine: Literal["auto", "module", "fast"] = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Classify images without labels: a table of index, class and scores.

    Args:
        run: Run directory.
        data: .npy or .npz file of the images, uint8 (sample, channel, height, width) or (sample, height, width), as the
            data set of the run holds them.
        out: CSV file of the table.
        which: Checkpoint; bdfa keeps the last.
        network: Which one of networks that were trained together, from 0.
        engine: fast or module, as in train.
        device: auto, cpu or cuda:K.
        threads: CPU threads; none: torch's own choice.
    """
    from reprokit import read_samples

    from bdfa.training.prediction import load

    _set_threads(threads)
    found = load(run, which, network=network, engine=engine, device=device).predict(read_samples(data))
    say(f"{found.write(out)}: {len(found)} images")


@app.command
def table(config: TrainConfig, options: TableOptions, where: WorkerOptions, data: str | None = None) -> int:
    """Train several rules, nets and seeds into one ledger and a paper-style table.

    Args:
        config: Options of every run.
        options: What is varied, and where the rows go.
        where: Which runs are done, where, and how many at a time.
        data: Data set or path, as --dataset, or a folder of downloaded data sets, as --data-dir.
    """
    from bdfa.reproduce.groups import grid, run_groups, say_table

    config = _with_data(config, data)
    check_effects(config, options.rules)
    scale = "own" if config.own_data else "reduced"
    groups = grid(config, options.rules, options.nets, options.seeds, "table", scale)
    done = run_groups(
        groups, options.ledger, runs=options.ledger.parent / "runs", options=where, threads=config.threads,
        data_dir=config.data_dir, cache_dir=config.cache_dir,
    )  # fmt: skip
    if not where.dry_run:
        say_table(options.ledger)
    return 0 if done else 1


@app.command
def sweep(grid: Positional[Path], options: SweepOptions) -> int:
    """Train the networks of a grid file into one ledger; finished ones are skipped, killed ones continue.

    Args:
        grid: TOML file: config, base, axes, zip, seeds, exclude; see docs/cluster.md.
        options: Which runs are done, where, and how many at a time.

    Returns:
        Exit code: 1 if a run failed, else 0.
    """
    from bdfa.reproduce.sweep import sweep as run_sweep

    found = read_grid(grid)
    base = app.load(found.config, [])[0] if found.config else TrainConfig()
    return run_sweep(found, _with_data(base, options.data), options, options.folder(grid))


@app.command
def angles(config: TrainConfig, data: str | None = None, resume: bool = True, force: bool = False) -> None:
    """Train and measure the alignment with back-propagation every K steps: a CSV file and a figure.

    Args:
        config: All options of the run.
        data: Data set or path, as --dataset, or a folder of downloaded data sets, as --data-dir.
        resume: Whether to continue a run found in the run directory.
        force: Delete a run found in the run directory.
    """
    config = replace(config, angles_every=config.angles_every or 100)
    _train(_with_data(config, data), resume=resume, force=force)


@app.command
def plot(
    runs: Positional[tuple[Path, ...]], out: Path | None = None, format: Literal["png", "pdf", "svg"] = "png"
) -> None:
    """Draw error curves, and angles where they were measured.

    Args:
        runs: Run directories.
        out: Folder of the figures, one folder a run where there are several; none: the run directories.
        format: File format.
    """
    from bdfa.plots import plot_run

    if not runs:
        raise UserError("plot needs at least one run directory.")
    for run in runs:
        place = out / run.name if out and len(runs) > 1 else out
        for figure in plot_run(run, place, format):
            say(str(figure))


@app.command
def generate(
    run: Positional[Path], out: Path | None = None, data: str | None = None, data_dir: Path | None = None
) -> None:
    """Draw the images a BFA feedback network makes of each class label.

    Args:
        run: Run directory of a bfa run.
        out: Figure (.png, .pdf, .svg); none: generated.png in the run directory.
        data: Folder of downloaded data sets.
        data_dir: The same.
    """
    from bdfa.plots import plot_generated

    if data is not None and data_dir is not None:
        raise UserError(f"--data and --data-dir mean the same folder; give one of {data} and {data_dir}.")
    for figure in plot_generated(run, out or run / "generated.png", Path(data) if data else data_dir):
        say(str(figure))


@app.command
def export(
    run: Positional[Path],
    to: Literal["npz"] = "npz",
    out: Path | None = None,
    which: Literal["last", "best"] = "last",
) -> None:
    """Write weights and feedback as arrays.

    Args:
        run: Run directory.
        to: Format: NumPy's .npz, arrays named network/parameter.
        out: File; none: weights.npz in the current folder.
        which: Checkpoint; bdfa keeps the last.
    """
    from bdfa.training.runs import export_arrays, open_run

    say(str(export_arrays(open_run(run), out or Path(f"weights.{to}"), which)))


@app.command
def info(run: Positional[Path | None] = None) -> None:
    """Say what a run directory holds, or which presets, data sets and versions there are.

    Args:
        run: Run directory.
    """
    if run is None:
        for name, config in PRESETS.items():
            changed = {k: v for k, v in vars(config).items() if v != getattr(TrainConfig(), k)}
            say(f"{name}: " + ", ".join(f"{key} {value}" for key, value in changed.items()))
        say("data sets: mnist, fashion-mnist, cifar10, cifar100, svhn, stl10, digits; see bdfa data list")
        say("engines: fast (perceptrons, several rules or seeds at once), module (any network, by autograd)")
        for line in [*pretrained_lines("bdfa"), *app.version()]:
            say(line)
        say(json.dumps(environment(("torch", "bdfa"))))
        return
    from bdfa.training.runs import open_run

    opened = open_run(run)
    epochs = opened.records("epoch")
    for line in opened.stored.describe():
        say(line)
    for config in opened.configs:
        say(f"network {config.rule} seed {config.seed}: run id {run_id(config.content())}")
    for record in epochs[-1:]:
        say(json.dumps(record))
    say("finished" if opened.stored.summary is not None else "not finished; the same command continues")


@app.command
def reproduce(options: ReproduceOptions, more: StudyOptions) -> int:
    """Reproduce the published results into a folder; finished rows are skipped, killed runs continue.

    Parts: study (three epochs of MNIST, five rules), beyond (two other networks), table (the paper's), and only when
    named readings (what that table leaves open, read in several ways).
    """
    from bdfa.reproduce.plan import reproduce

    return reproduce(options, nets=more.nets, epochs=more.epochs, runs=more.runs)


main = app.main


if __name__ == "__main__":
    sys.exit(main())
