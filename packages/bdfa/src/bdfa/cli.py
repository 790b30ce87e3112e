"""Command line ``bdfa``: train, th, table, angles, plot, generate, info, reproduce."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from reprokit import UserError
from reprokit.cli import run
from reprokit.config import nearest
from reprokit.terminal import say

from bdfa.config import TrainConfig
from bdfa.presets import PRESETS, preset

USAGE = """usage: bdfa COMMAND [OPTIONS]

  train      train one network; --preset NAME sets the defaults, the same command resumes a killed run
  th         the original program's spelling: bdfa th -dataset MNIST -network mlp.lua -LR 1e-4
  table      several rules, nets and seeds into one ledger and a paper-style table
  angles     train and measure the alignment with back-propagation every K steps (CSV and plot)
  plot       draw error curves and angles of run directories
  generate   draw the class images of a BFA run
  info       what a run directory holds, or the presets
  reproduce  the published results (make reproduce-bdfa)

bdfa COMMAND --help lists the options."""

Base = Annotated[TrainConfig, tyro.conf.arg(name="")]


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
    jobs: int = 1
    """Processes."""
    base: Base = field(default_factory=TrainConfig)
    """Options of every run."""


@dataclass(frozen=True)
class ReproduceOptions:
    """Reproduce the published results into a folder; finished rows are skipped, killed runs go on."""

    scale: str = "paper"
    """smoke (bundled digits, a minute), reduced (60 of 300 epochs) or paper."""
    parts: tuple[str, ...] = ("study", "beyond", "table")
    """Experiments: study, beyond, table."""
    out: Path = Path("reproduction/bdfa")
    """Folder of results.csv and the figures."""
    data: str | None = None
    """Data set or path instead of mnist."""
    nets: tuple[str, ...] | None = None
    """Networks of the table; none: 2x400 with three seeds, then 2x800 with one."""
    seeds: tuple[int, ...] | None = None
    """Seeds of the table."""
    epochs: int | None = None
    """Epochs of the table, other than 300 are labelled reduced."""
    jobs: int = 1
    """Processes."""
    threads: int = 1
    """CPU threads of each process."""
    runs: Path = Path("runs/bdfa")
    """Folder of the run directories."""


@dataclass(frozen=True)
class PlotOptions:
    """Draw errors.png (and angles.png) of run directories."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories."""


@dataclass(frozen=True)
class GenerateOptions:
    """Draw what a BFA feedback network makes of each class label."""

    run: tyro.conf.Positional[Path]
    """Run directory of a bfa run."""
    out: Path | None = None
    """PNG file; none: generated.png in the run directory."""
    data_dir: Path | None = None
    """Folder of downloaded data sets, as for ``bdfa train``."""


@dataclass(frozen=True)
class InfoOptions:
    """Print a run's options and results, or the presets and the environment."""

    run: tyro.conf.Positional[Path | None] = None
    """Run directory."""


def _train(config: TrainConfig) -> None:
    from bdfa.plots import plot_run
    from bdfa.training.loop import train
    from bdfa.training.runs import write_angles

    result = train(config, on_epoch=plot_run if config.visualize else None)
    summary = result.summaries[0]
    angles = write_angles(result.path)
    if config.plot and summary["epochs"]:
        if importlib.util.find_spec("matplotlib") is None:
            say("no figures: matplotlib is not installed (pip install matplotlib)")
        else:
            for figure in plot_run(result.path):
                say(f"figure: {figure}")
    if angles:
        say(f"angles: {angles}")
    for name in ("train_error", "validation_error", "test_error"):
        if summary[name] is not None:
            say(f"{name.replace('_', ' ')}: {100 * summary[name]:.2f} %")
    say(f"{summary['epochs']} epochs, {summary['seconds']:.1f} s on {summary['device']}: {result.path}")


def _table(options: TableOptions) -> int:
    from bdfa.reproduce.groups import grid, run_groups, say_table

    groups = grid(options.base, options.rules, options.nets, options.seeds, "table", "reduced")
    ledger, threads = options.ledger, options.base.threads
    done = run_groups(
        groups, ledger, runs=ledger.parent / "runs", workers=_positive(options.jobs), threads=threads
    )
    say_table(ledger)
    return 0 if done else 1


def _reproduce(options: ReproduceOptions) -> int:
    from bdfa.reproduce.plan import reproduce

    done = reproduce(
        options.scale, out=options.out, parts=options.parts, data=options.data, nets=options.nets,
        seeds=options.seeds, epochs=options.epochs, jobs=_positive(options.jobs), threads=_positive(options.threads),
        runs=options.runs,
    )  # fmt: skip
    return 0 if done else 1


def _positive(number: int) -> int:
    if number < 1:
        raise UserError(f"--jobs and --threads must be at least 1, got {number}.")
    return number


def _plot(options: PlotOptions) -> None:
    from bdfa.plots import plot_run

    for path in options.runs:
        for figure in plot_run(path):
            say(str(figure))


def _generate(options: GenerateOptions) -> None:
    from bdfa.plots import plot_generated

    say(str(plot_generated(options.run, options.out or options.run / "generated.png", options.data_dir)))


def _info(options: InfoOptions) -> None:
    import json

    from reprokit import environment

    if options.run is None:
        for name, config in PRESETS.items():
            changed = {k: v for k, v in vars(config).items() if v != getattr(TrainConfig(), k)}
            say(f"{name}: " + ", ".join(f"{key} {value}" for key, value in changed.items()))
        say(json.dumps(environment(("torch", "bdfa"))))
        return
    from bdfa.training.runs import read_records, run_configs

    for config in run_configs(options.run):
        say(json.dumps(config.content()))
    for record in read_records(options.run, "epoch")[-1:]:
        say(json.dumps(record))
    say("finished" if (options.run / "summary.json").exists() else "not finished; the same command goes on")


def _with_preset(arguments: Sequence[str]) -> tuple[TrainConfig, list[str]]:
    """Take ``--preset NAME`` out of the arguments; its configuration gives the defaults."""
    rest, chosen = list(arguments), TrainConfig()
    for index, word in enumerate(rest):
        name, equals, value = word.partition("=")
        if name == "--preset":
            if not equals and index + 1 >= len(rest):
                raise UserError(f"--preset needs a name; choose one of {', '.join(PRESETS)}.")
            chosen = preset(value if equals else rest[index + 1])
            del rest[index : index + (1 if equals else 2)]
            break
    return chosen, rest


def _command_train(arguments: Sequence[str]) -> Any:
    default, rest = _with_preset(arguments)
    return _train(tyro.cli(TrainConfig, args=rest, default=default, prog="bdfa train"))


def _command_angles(arguments: Sequence[str]) -> Any:
    default, rest = _with_preset(arguments)
    default = replace(default, angles_every=default.angles_every or 100)
    return _train(tyro.cli(TrainConfig, args=rest, default=default, prog="bdfa angles"))


def _command_table(arguments: Sequence[str]) -> Any:
    default, rest = _with_preset(arguments)
    return _table(tyro.cli(TableOptions, args=rest, default=TableOptions(base=default), prog="bdfa table"))


def _command_th(arguments: Sequence[str]) -> Any:
    from bdfa.formats.lua_flags import parse_flags, usage

    if any(word in ("-h", "--help", "-help") for word in arguments):
        say(usage())
        return None
    return _train(parse_flags(arguments))


def _of(options: Any, function: Callable[[Any], Any], name: str) -> Callable[[Sequence[str]], Any]:
    return lambda arguments: function(tyro.cli(options, args=list(arguments), prog=f"bdfa {name}"))


COMMANDS: dict[str, Callable[[Sequence[str]], Any]] = {
    "train": _command_train,
    "th": _command_th,
    "table": _command_table,
    "angles": _command_angles,
    "plot": _of(PlotOptions, _plot, "plot"),
    "generate": _of(GenerateOptions, _generate, "generate"),
    "info": _of(InfoOptions, _info, "info"),
    "reproduce": _of(ReproduceOptions, _reproduce, "reproduce"),
}


def dispatch(arguments: Sequence[str]) -> Any:
    """Run a command line without the program's name.

    Raises:
        UserError: For an unknown command.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        say(USAGE)
        return 0 if arguments else 2
    command, *rest = arguments
    if command not in COMMANDS:
        raise UserError(f"{command!r} is no command of bdfa{nearest(command, COMMANDS)}; see bdfa --help.")
    return COMMANDS[command](rest)


def main() -> None:
    """Entry point of the program ``bdfa``."""
    sys.exit(run(lambda: dispatch(sys.argv[1:])))


if __name__ == "__main__":
    main()
