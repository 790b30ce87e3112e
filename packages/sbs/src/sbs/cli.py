"""The command line of sbs; `App` adds ``data``, ``judge``, ``completion``, ``--version`` and ``--help``."""

import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import tyro
from reprokit.cli import App
from reprokit.errors import UserError, ask_core
from reprokit.run.grid import read_grid
from reprokit.run.grid_sweep import SweepOptions
from reprokit.run.pretrained import pretrained_lines
from reprokit.run.provenance import installed_twice, run_id, versions
from reprokit.run.study import ReproduceOptions
from reprokit.terminal import say
from tyro.conf import Positional

from sbs.config import Engine, Profile, TrainConfig, idle
from sbs.formats.original_config import Dialect
from sbs.formats.translate import read_config
from sbs.presets import PRESETS

if TYPE_CHECKING:
    from sbs.data.images import Dataset
    from sbs.training.runs import Model

Which = Literal["last", "best"]
# Before torch is loaded: its threads then sleep after each operation, where they would spin for a millisecond and take
# time from the core's threads (two threads: 1.8 times the speed of one, else 1.5). No result depends on it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def core() -> str:
    """Name the engine without loading torch."""
    try:
        from sbs import _kernel
    except ImportError:
        return "torch reference (slow): the compiled core was not built"
    return f"compiled core, {ask_core(_kernel.isa)}"


_named: set[str] = (
    set()
)  # settings given on the command line, so that `train` can refuse those without effect


def load_config(source: str, words: list[str]) -> tuple[TrainConfig, list[str]]:
    """Read CONFIG; ``--profile`` and ``--dialect`` determine how a file is interpreted, so they are read first."""
    flags = (re.match(r"--(?:(.*)\.)?(?:no-)?([^=]+)", word) for word in words)
    _named.clear()
    _named.update(".".join(filter(None, flag.groups())).replace("-", "_") for flag in flags if flag)
    profile, words = _take(words, "--profile", get_args(Profile))
    dialect, words = _take(words, "--dialect", get_args(Dialect))
    if dialect is not None and not source.endswith(".json"):
        raise UserError(f"--dialect is about the original's .json files and CONFIG is {source}; leave it out")
    config, notes = read_config(source, profile, dialect, to_train=True)  # type: ignore[arg-type]
    for note in notes:
        say(f"note: {note}")
    return config, words


def rewrite(words: list[str]) -> list[str]:
    """Translate ``sbs train ... --data X`` to the configuration's ``--data.source X``."""
    if words[:1] != ["train"]:
        return words
    return [re.sub(r"^--data(?==|$)", "--data.source", word) for word in words]


app = App(
    "sbs",
    summary="Spike-By-Spike networks: inference by stochastic spikes, trained with the published rule.",
    config=TrainConfig,
    presets=PRESETS,
    load=load_config,
    rewrite=rewrite,
    core=core,
    notes="The original's files: sbs train FILE.json --profile faithful; its weights: sbs convert --help.",
)


@app.command
def train(
    config: TrainConfig,
    out: Path | None = None,
    resume: bool = True,
    force: bool = False,
    engine: Engine = "auto",
    device: str = "auto",
    tensorboard: bool = False,
) -> None:
    """Train a network.

    The same command continues an interrupted run. CONFIG may also be one of the original's .json files;
    --profile faithful keeps its quirks, --dialect v1|v1.1 says which state of the original wrote it.

    Args:
        config: Everything the result depends on.
        out: Run directory; none: runs/<name>-<run id>.
        resume: Continue an existing run.
        force: Delete an existing run and start again.
        engine: Engine that draws spikes: auto, kernel (the compiled core) or reference (torch).
        device: auto or cpu; cuda:K runs the Triton kernels of a GPU.
        tensorboard: Also write TensorBoard events (pip install tensorboard).
    """
    from sbs.training.loop import train as train_network

    if not config.network.layers:
        raise UserError(
            f"sbs train needs a CONFIG; name a preset ({', '.join(PRESETS)}), a .toml file, "
            "the original's .json, or a run"
        )
    for name, why in idle(config).items():
        if name in _named:
            raise UserError(
                f"--{name.replace('_', '-')} would have no effect, because {why}; leave it out or change that"
            )
    folder = out or Path("runs") / f"{config.name}-{run_id(config.content())}"
    train_network(
        config,
        folder,
        resume=resume,
        force=force,
        engine=engine,
        device=device,
        tensorboard=tensorboard,
        report=say,
    )
    say(f"finished: {folder}")


@dataclass(frozen=True)
class Showing:
    """How a trained network is shown images."""

    data: str | None = None
    """Data set name or path; none: the one the run was trained on."""
    which: Which = "last"
    """The last checkpoint, or that of the best test so far."""
    engine: Engine = "auto"
    """Engine that draws spikes: auto, kernel (the compiled core) or reference (torch)."""
    device: str = "auto"
    """auto or cpu; cuda:K runs the Triton kernels of a GPU."""
    threads: int | None = None
    """Threads; none: the run's number."""
    seed: int | None = None
    """Seed of the spikes; none: the run's."""
    limit: int = 0
    """Use only this many images, 0 for all: the first ones, or for own data the same share of every class."""
    batch_size: int = 100
    """Images per forward pass."""
    epsilon_0: float | None = None
    """Global factor of the step of h; none: the run's. With few spikes a larger one can be more accurate."""
    step: int | None = None
    """With one of the original's .json instead of a run: test its files ..._S<step>.npy."""

    def __post_init__(self) -> None:
        if self.limit < 0 or self.batch_size < 1:
            raise UserError(
                f"--limit is {self.limit} and --batch-size {self.batch_size}; give at least 0 and 1"
            )


@app.command(aliases=("test",))
def evaluate(
    runs: Positional[tuple[Path, ...]],
    showing: Showing,
    split: Literal["test", "train"] = "test",
    number_of_spikes: int | None = None,
    out: Path | None = None,
) -> None:
    """Classify images with trained networks.

    Args:
        runs: Run directories of sbs train, or the original's .json files together with --step.
        showing: How they are shown.
        split: Split of the data set.
        number_of_spikes: Spikes per position; none: each layer's own number.
        out: Also write a table to this .csv file.
    """
    from reprokit.files import write_file

    from sbs.training.evaluation import evaluate as evaluate_network

    lines = ["run,dataset,split,correct,total,accuracy\n"]
    for run in _some(runs):
        model, dataset = _model_and_data(run, showing)
        result = evaluate_network(
            model.network,
            model.presentation,
            dataset.part(split, showing.limit, model.config.seed, "--limit"),
            batch_size=showing.batch_size,
            seed=model.config.seed if showing.seed is None else showing.seed,
            number_of_spikes=number_of_spikes,
        )
        name = f"{run}, " if len(runs) > 1 else ""
        say(
            f"{name}{dataset.name}: {result.accuracy:.2f} % of {result.total} {split} images correct "
            f"({result.total / max(result.seconds, 1e-9):.0f} images/s)"
        )
        lines.append(f"{run},{dataset.name},{split},{result.correct},{result.total},{result.accuracy}\n")
    if out is not None:
        say(f"written: {write_file(out, ''.join(lines))}")


@app.command
def predict(
    run: Positional[Path],
    data: Path,
    out: Path,
    which: Which = "last",
    number_of_spikes: int | None = None,
    seed: int | None = None,
    engine: Engine = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Classify images without labels: a table of index, class and scores.

    Args:
        run: Run directory of sbs train.
        data: .npy or .npz file of the images, uint8 (sample, channel, height, width) or (sample, height, width), in
            the form of the run's data set.
        out: CSV file of the table.
        which: The last checkpoint, or that of the best test so far.
        number_of_spikes: Spikes per position; none: each layer's own number.
        seed: Seed of the spikes; none: the run's. The same seed gives the same scores.
        engine: Engine that draws spikes: auto, kernel (the compiled core) or reference (torch).
        device: auto or cpu; cuda:K runs the Triton kernels of a GPU.
        threads: Threads; none: the run's number.
    """
    from reprokit import read_samples

    from sbs.training.prediction import load

    loaded = load(run, which, engine=engine, device=device, threads=threads, seed=seed)
    found = loaded.predict(read_samples(data), number_of_spikes=number_of_spikes)
    say(f"written: {found.write(out)}, {len(found)} images")


@app.command
def spikes(
    run: Positional[Path],
    showing: Showing,
    counts: tuple[int, ...] = (50, 100, 200, 400, 800, 1600),
    out: Path | None = None,
) -> None:
    """Measure accuracy against the number of spikes: a table and a figure.

    Args:
        run: Run directory of sbs train, or one of the original's .json files together with --step.
        showing: How the test images are shown.
        counts: Numbers of spikes.
        out: Folder of spikes.csv and the figure; none: the run's figures folder.
    """
    from sbs.plots import save_spikes_curve
    from sbs.training.evaluation import accuracy_against_spikes

    model, dataset = _model_and_data(run, showing)
    results = accuracy_against_spikes(
        model.network,
        model.presentation,
        dataset.part("test", showing.limit, model.config.seed, "--limit"),
        counts,
        batch_size=showing.batch_size,
        seed=model.config.seed if showing.seed is None else showing.seed,
    )
    say("spikes  accuracy (%)  images/s")
    for count, result in results:
        say(f"{count:6d}  {result.accuracy:12.2f}  {result.total / max(result.seconds, 1e-9):8.0f}")
    title = f"{dataset.name}, {results[0][1].total} test images"
    written = save_spikes_curve(results, title, out or _figures(run))
    say(f"written: {', '.join(map(str, written))}")


@app.command(aliases=("show",))
def plot(
    runs: Positional[tuple[Path, ...]],
    out: Path | None = None,
    format: Literal["png", "pdf", "svg"] = "png",
    data: str | None = None,
    which: Which = "last",
    image: int = 0,
    images: int = 8,
) -> None:
    """Draw filters, h maps and reconstructions of trained networks.

    Args:
        runs: Run directories of sbs train.
        out: Folder of the figures, one below it for each of several runs; none: each run's figures folder.
        format: File format of the figures.
        data: Data set name or path; none: the one the run was trained on.
        which: The last checkpoint, or that of the best test so far.
        image: Number of the test image whose h maps are drawn.
        images: Number of test images reconstructed.
    """
    from sbs.plots import draw_model

    for run in _some(runs):
        model, dataset = _model_and_data(run, Showing(data, which))
        folder = _figures(run) if out is None else out / run.name if len(runs) > 1 else out
        names = draw_model(model, dataset, folder, format=format, image=image, images=images)
        say(f"written to {folder}: {', '.join(path.name for path in names)}")


@app.command
def export(
    run: Positional[Path], out: Path, to: Literal["original", "npz"] = "original", step: int | None = None
) -> None:
    """Write a run's weights for other programs.

    Args:
        run: Run directory of sbs train.
        out: Folder that receives Weights/ and EpsXY/, or the .npz file.
        to: The original's .npy files, or one .npz with weights_L0, epsilon_xy_L0, ....
        step: Number after _S of the original's files; none: the run's updates minus one, as the original counts.
    """
    from sbs.convert import export_weights

    if to == "npz" and step is not None:
        raise UserError(
            "--step is the number after _S of the original's files; an .npz has none, leave it out"
        )
    say(f"written: {export_weights(run, out, to, step)}")


@app.command(raw=True)
def convert(words: list[str]) -> None:
    """Import and export weights and data sets of the original program (sbs convert --help)."""

    def import_weights(
        config: Positional[str],
        files: Positional[Path],
        out: Path,
        step: int | None = None,
        epsilon: Path | None = None,
    ) -> None:
        """Turn the original's weight files into a run directory.

        Args:
            config: Preset, .toml or the original's .json to which the weights belong.
            files: Folder with Weight_L*.npy (and EpsXY_L*.npy), or one .npz.
            out: New run directory.
            step: Take the files ..._S<step>.npy; none: the single file per layer.
            epsilon: Folder of the EpsXY files, if it differs from that of the weights.
        """
        from sbs.convert import import_weights

        taken = import_weights(read_config(config)[0], files, out, step, epsilon)
        say(f"written: {out} from {', '.join(taken)}")

    def data(source: Positional[str], out: Path) -> None:
        """Write a data set as the original's four .npy files, or as one .npz.

        Args:
            source: Data set name or path, also a folder with the original's files.
            out: Folder, or a file ending in .npz.
        """
        from sbs.convert import convert_data

        say(f"written: {', '.join(map(str, convert_data(source, out)))}")

    kinds = {"export": export, "import": import_weights, "data": data}
    if not words or words[0] in ("-h", "--help"):
        say(CONVERT_USAGE)
    elif words[0] not in kinds:
        raise UserError(f"sbs convert {words[0]!r} is unknown; choose one of {', '.join(kinds)}")
    else:
        tyro.cli(kinds[words[0]], args=words[1:], prog=f"sbs convert {words[0]}")


CONVERT_USAGE = """usage: sbs convert WHAT ...

  export RUN --out FOLDER          write Weight_L*_S*.npy and EpsXY_L*_S*.npy for the original program
  import CONFIG FILES --out RUN    turn such files, or one .npz with weights_L0, weights_L1, ..., into a run
  data SOURCE --out FOLDER         write a data set as the original's four .npy files
  data SOURCE --out FILE.npz       write a data set (also the original's four files) as one .npz"""


@app.command
def reproduce(options: ReproduceOptions, weights: Path | None = None) -> int:
    """Repeat the published results; rows go to a ledger, finished ones are skipped.

    Args:
        options: Scale, parts, workers and folder.
        weights: The original's weights for --only spike-curve, tested as ours are and never copied: an .npz file with
            weights_L0, weights_L1, ..., or a folder with Weight_L*.npy.
    """
    from sbs.reproduce.plan import reproduce as run_all

    return run_all(options, weights)


@app.command
def sweep(grid: Positional[Path], options: SweepOptions) -> int:
    """Train the networks of a grid file into one ledger; finished ones are skipped, killed ones continue.

    Args:
        grid: TOML file: config, base, axes, zip, seeds, exclude; see docs/cluster.md.
        options: Which runs are done, where, and how many at a time.

    Returns:
        Exit code: 1 if a run failed, else 0.
    """
    from sbs.reproduce.sweep import sweep as run_sweep

    found = read_grid(grid)
    base = app.load(found.config, [])[0] if found.config else TrainConfig()
    return run_sweep(found, base, options, options.folder(grid))


@app.command
def info(run: Positional[Path | None] = None) -> None:
    """Describe the installation, or a run.

    Args:
        run: Run directory; none: engine, vector instructions, presets and versions.
    """
    if run is not None:
        from reprokit.run.stored import read_run

        for line in read_run(run, package="sbs").describe():
            say(line)
        return
    found = versions(("sbs", "reprokit", "torch", "numpy"))
    twice = [name for name in ("sbs", "reprokit") if len(installed_twice(name)) > 1]
    facts = {
        **found,
        "engine": core(),
        "processors": str(os.cpu_count() or 1),
        "presets": ", ".join(PRESETS),
        "pretrained": "; ".join(line.removeprefix("pretrained: ") for line in pretrained_lines("sbs")),
        "data": "digits (inside the package), mnist, fashion-mnist, cifar10, files and folders; see sbs data list",
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        **({"installed twice": ", ".join(twice)} if twice else {}),
    }
    for name, value in facts.items():
        say(f"{name:>15}: {value}")


def _take(words: list[str], name: str, allowed: tuple[str, ...]) -> tuple[str | None, list[str]]:
    """Remove one flag and its value from a command's words."""
    for index, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag == name:
            value = value if equals else "".join(words[index + 1 : index + 2])
            if value not in allowed:
                raise UserError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
            return value, words[:index] + words[index + (1 if equals else 2) :]
    return None, words


def _some(runs: tuple[Path, ...]) -> tuple[Path, ...]:
    if not runs:
        raise UserError("no run is named; give at least one run directory of sbs train")
    return runs


def _model_and_data(run: Path, showing: Showing) -> "tuple[Model, Dataset]":
    """Load a network and the images to show."""
    from reprokit.run.stored import stored_identity

    from sbs.convert import original_model
    from sbs.data.loading import load_dataset
    from sbs.model.networks import sbs_layers
    from sbs.training.runs import load_model, run_on

    given = run.suffix == ".json"
    if not given and showing.step is not None:
        raise UserError(
            f"--step is about the original's .json files and {run} is a run; name a checkpoint with --which"
        )
    if given and showing.which != "last":
        raise UserError(f"--which is about runs and {run} is one of the original's files; name its --step")
    model = original_model(run, showing.step) if given else load_model(run, showing.which)
    threads = model.config.threads if showing.threads is None else showing.threads
    run_on(model.network, showing.engine, showing.device, threads)
    for layer in sbs_layers(model.network) if showing.epsilon_0 is not None else ():
        layer.epsilon_0 = showing.epsilon_0
    dataset = load_dataset(showing.data or model.config.data.source)
    noted = None if given or showing.data else stored_identity(run)
    if noted is not None and noted.digest != (now := dataset.identity()).digest:
        raise UserError(
            f"the data set {model.config.data.source} changed since the run in {run} began (SHA-256 {noted.short} "
            f"there, {now.short} now); restore it, or name the data with --data"
        )
    model.check_data(dataset)
    return model, dataset


def _figures(run: Path) -> Path:
    """Return where the figures of a run go; those of the original's .json go below the working folder."""
    return Path("figures") if run.suffix == ".json" else run / "figures"


main = app.main

if __name__ == "__main__":
    sys.exit(main())
