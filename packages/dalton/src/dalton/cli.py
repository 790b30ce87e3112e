"""Command line ``dalton``: train, evaluate, sweep, plot, export, info, reproduce."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import tyro
from reprokit import UserError
from reprokit.cli import run
from reprokit.config import nearest
from reprokit.terminal import say
from tyro.conf import Positional

from dalton.config import RunOptions, TrainConfig


@dataclass(frozen=True)
class TrainOptions(TrainConfig):
    """Train one network. The same command resumes a killed run and returns a finished one."""

    def __post_init__(self) -> None:
        """Nothing: values are checked after parsing, so that an error is one sentence."""


@dataclass(frozen=True)
class SweepOptions(RunOptions):
    """Train every combination of the swept options; finished ones are skipped."""

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
    jobs: int = 1
    """Processes."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Evaluate the network of a run directory."""

    run: Positional[Path]
    """Run directory."""
    split: str = "test"
    """test, validation or train."""
    which: str = "best"
    """best: the selected epoch; last."""
    data: str | None = None
    """Where the data are now; none: where the run found them."""
    device: str = "auto"
    """auto, cpu, cuda:K or a GPU's number."""


@dataclass(frozen=True)
class PlotOptions:
    """Draw the figures of run directories."""

    runs: Positional[tuple[Path, ...]]
    """Run directories."""
    out: Path | None = None
    """Folder of the figures; none: each run's own."""


@dataclass(frozen=True)
class ExportOptions:
    """Write the network of a run as a NIR graph (extra nir)."""

    run: Positional[Path]
    """Run directory."""
    out: Path | None = None
    """File; none: network.nir in the run directory."""
    which: str = "best"
    """best: the selected epoch; last."""


@dataclass(frozen=True)
class InfoOptions:
    """Show a run's options, epochs and result, or what there is to choose from."""

    run: Positional[Path | None] = None
    """Run directory."""


@dataclass(frozen=True)
class ReproduceOptions:
    """Run the study of the recorded original and more; finished runs are skipped, killed ones go on."""

    scale: str = "paper"
    """smoke (embedded digits, under a minute), reduced or paper."""
    only: tuple[str, ...] = ()
    """Parts: study, mnist, cifar10, nmnist; none: all."""
    data: Path | None = None
    """Folder with mnist/, cifar10-jpeg.zip, nmnist-small.zip (as far as there), or the file of a single part."""
    golden: Path | None = None
    """Folder with the original's initial weights, samples and curves (mnist_a1_*); none: our own."""
    jobs: int = 1
    """Runs at a time, one thread each."""
    out: Path = Path("reproduction/dalton")
    """Folder of results.csv and the figures."""
    runs: Path = Path("runs/dalton")
    """Folder of the run directories."""


USAGE = """usage: dalton COMMAND [OPTIONS]

  train      train one network; the same command resumes a killed run
  evaluate   accuracy of a run's network on test, validation or training samples
  sweep      every combination of --tau-cur, --gain, --bias (and --methods, --seeds) into one ledger
  plot       learning curves, firing rates and rasters of run directories
  export     write a run's network as a NIR graph
  info       what a run directory holds; without one: methods, architectures, data sets, environment
  reproduce  the recorded study and more (make reproduce-dalton)

dalton COMMAND --help lists the options. The original's flags are understood: --dataset MNIST --epochs 50 --gpu_id 0
--scnn_arch 1 --batch_size 250 --seed 0, and its methods: --method DALTON_RTRL_SCNN."""

ORIGINAL_FLAGS = {"--scnn-arch": "--arch", "--gpu-id": "--device"}


def _config(options: Any) -> TrainConfig:
    return TrainConfig(**{field.name: getattr(options, field.name) for field in fields(TrainConfig)})


def _train(options: TrainOptions) -> None:
    config = _config(options)
    from dalton.training.loop import train
    from dalton.training.reporting import epoch_line, summary_lines

    result = train(config, lambda record: say(epoch_line(record, config.epochs)))
    for line in summary_lines(result.summary):
        say(line)
    say(f"run directory        {result.path}")


def _evaluate(options: EvaluateOptions) -> None:
    from dalton.training.evaluation import evaluate_run
    from dalton.training.reporting import percent

    changes = {"device": options.device} | ({"dataset": options.data} if options.data else {})
    found = evaluate_run(options.run, options.split, options.which, **changes)
    say(
        f"{options.split} accuracy {percent(found.accuracy)} of {len(found.labels)} samples ({options.which} epoch)"
    )
    count = int(max(found.labels.max(), found.predictions.max())) + 1
    say("true class (row) against prediction (column):")
    for number, row in enumerate(found.confusion(count).tolist()):
        say(f"{number:>4d}: " + " ".join(f"{value:>5d}" for value in row))


def _sweep(options: SweepOptions) -> int:
    from dalton.reproduce.sweep import Task, combinations, run_tasks
    from dalton.training.reporting import results_table
    from dalton.training.runs import open_ledger

    shared: dict[str, Any] = {field.name: getattr(options, field.name) for field in fields(RunOptions)}
    base = TrainConfig(**{**shared, "out": None})
    configs = combinations(
        base, tau_cur=options.tau_cur, gain=options.gain, bias=options.bias, methods=options.methods,
        seeds=options.seeds,
    )  # fmt: skip
    folder = options.out or Path("runs/sweep")
    tasks = [Task(config, "sweep", "reduced") for config in configs]
    report = run_tasks(tasks, folder / "results.csv", folder / "runs", workers=_positive(options.jobs))
    for line in results_table(open_ledger(folder / "results.csv").rows()):
        say(line)
    return 0 if report.ok else 1


def _positive(number: int) -> int:
    if number < 1:
        raise UserError(f"--jobs is {number}; it must be at least 1.")
    return number


def _plot(options: PlotOptions) -> None:
    from dalton.plots import plot_run

    if not options.runs:
        raise UserError("no run directory is given; name one or more, for example: dalton plot runs/own.")
    for path in options.runs:
        for figure in plot_run(path, options.out or path):
            say(str(figure))


def _export(options: ExportOptions) -> None:
    from dalton.formats.nir import write_nir
    from dalton.training.evaluation import load_run

    loaded = load_run(options.run, options.which, device="cpu")
    say(str(write_nir(loaded.net, options.out or options.run / "network.nir")))


def _info(options: InfoOptions) -> None:
    from dalton.training.reporting import describe, overview
    from dalton.training.runs import open_run

    for line in overview() if options.run is None else describe(open_run(options.run)):
        say(line)


def _reproduce(options: ReproduceOptions) -> int:
    from dalton.reproduce.plan import reproduce

    return reproduce(**{**asdict(options), "jobs": _positive(options.jobs), "say": say})


def original_flags(words: Sequence[str]) -> list[str]:
    """Give the original's flags their names here; ``_`` and ``-`` are the same in flags, none and None as values."""
    found = []
    for word in words:
        if word == "none":
            found.append("None")
            continue
        flag, equals, value = word.partition("=")
        name = ORIGINAL_FLAGS.get(flag.replace("_", "-"))
        found.append(f"{name}{equals}{value}" if name else word)
    return found


def _of(options: Any, function: Callable[[Any], Any], name: str) -> Callable[[Sequence[str]], Any]:
    return lambda words: function(tyro.cli(options, args=original_flags(words), prog=f"dalton {name}"))


COMMANDS: dict[str, Callable[[Sequence[str]], Any]] = {
    "train": _of(TrainOptions, _train, "train"),
    "evaluate": _of(EvaluateOptions, _evaluate, "evaluate"),
    "sweep": _of(SweepOptions, _sweep, "sweep"),
    "plot": _of(PlotOptions, _plot, "plot"),
    "export": _of(ExportOptions, _export, "export"),
    "info": _of(InfoOptions, _info, "info"),
    "reproduce": _of(ReproduceOptions, _reproduce, "reproduce"),
}


def dispatch(words: Sequence[str]) -> Any:
    """Run a command line without the program's name.

    Raises:
        UserError: For an unknown command.
    """
    if not words or words[0] in ("-h", "--help", "help"):
        say(USAGE)
        return 0 if words else 2
    command, *rest = words
    if command not in COMMANDS:
        raise UserError(
            f"{command!r} is no command of dalton{nearest(command, COMMANDS)}; see dalton --help."
        )
    return COMMANDS[command](rest)


def main() -> None:
    """Entry point of the program ``dalton``."""
    sys.exit(run(lambda: dispatch(sys.argv[1:])))


if __name__ == "__main__":
    main()
