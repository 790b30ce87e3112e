"""Command line: train, evaluate, plot, info, export, fig4d."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import tyro
from reprokit.cli import run as run_command
from reprokit.terminal import say
from tyro.conf import OmitArgPrefixes, Positional

from denram.config import TrainConfig
from denram.spec import Engine, Profile, Scale

PUBLISHED = Path("reproduction/fig4d")  # published numbers and committed results, from the repository's root

app = tyro.extras.SubcommandApp()


@dataclass(frozen=True)
class Options(TrainConfig):
    """Settings of one run; the defaults are the original's."""

    def __post_init__(self) -> None:
        """Nothing: values are checked after parsing, so that an error is one sentence."""


@app.command(name="train")
def train_command(options: OmitArgPrefixes[Options]) -> None:
    """Train one network; the same command again goes on after an interruption."""
    from denram.training.loop import train

    config = TrainConfig(**{field.name: getattr(options, field.name) for field in fields(TrainConfig)})
    _limit_threads(config.threads)
    train(config, say=say)


@app.command(name="evaluate")
def evaluate_command(
    runs: Positional[tuple[Path, ...]],
    noise_std: tuple[float, ...] = (),
    devices: int = 10,
    data: str | None = None,
    engine: Engine = "auto",
    threads: int = 1,
    out: Path | None = None,
) -> None:
    """Test trained networks on noisy devices; several runs give the matrix training noise x test noise.

    Args:
        runs: Run directories.
        noise_std: Noise levels to test at; none: each run's own.
        devices: Noise draws at each level, each tested on all test samples.
        data: Data to test on; None: the data of each run.
        engine: Engine of the networks.
        threads: Threads of the event engine.
        out: Also write the results to this CSV file.
    """
    from denram.training.evaluation import evaluate, report, write_table
    from denram.training.runs import open_run

    _limit_threads(threads)
    opened = [open_run(path) for path in runs]
    results = evaluate(opened, noise_std, devices, source=data, engine=engine, threads=threads)
    if out is not None:
        write_table(results, out)
    for line in report(results):
        say(line)


@app.command(name="plot")
def plot_command(
    run: Positional[Path],
    figures: tuple[str, ...] = ("curves", "confusion", "raster"),
    data: str | None = None,
    out: Path | None = None,
) -> None:
    """Draw learning curves, confusion matrix and a raster of a run as PNG files.

    Args:
        run: Run directory.
        figures: Any of curves, confusion, raster.
        data: Data for the last two; None: the data of the run.
        out: Folder of the figures; None: the run directory.
    """
    from denram.plots import plot_run
    from denram.training.runs import open_run

    for file in plot_run(open_run(run), out or run, figures=figures, source=data):
        say(str(file))


@app.command(name="info")
def info_command(run: Positional[Path]) -> None:
    """Show configuration, progress and result of a run.

    Args:
        run: Run directory.
    """
    from denram.training.reporting import describe_run
    from denram.training.runs import open_run

    for line in describe_run(open_run(run)):
        say(line)


@app.command(name="export")
def export_command(run: Positional[Path], out: Path | None = None) -> None:
    """Write w_{seed}.npy, d_{seed}.npy and the results row as the original program does.

    Args:
        run: Run directory of a finished run.
        out: Folder; None: the folder `original` in the run directory.
    """
    from denram.formats.original import export_original
    from denram.training.runs import open_run

    opened = open_run(run)
    files = export_original(
        out or run / "original", opened.weights, opened.delays, opened.settings, opened.result()
    )
    for file in files:
        say(str(file))


@app.command(name="fig4d")
def fig4d_command(
    data: str | None = None,
    scale: Scale = "paper",
    jobs: int = 1,
    profile: Profile = "faithful",
    engine: Engine = "auto",
    out: Path | None = None,
    expected: Path | None = None,
) -> int:
    """Reproduce Fig. 4d: 30 runs into OUT/results.csv, the figure, and a table expected against measured.

    Args:
        data: shd, spoken-toy or a folder in SHD layout; None: shd, for scale smoke the embedded spoken-toy.
        scale: paper: the published protocol; reduced: 2 seeds, 20 epochs; smoke: under a minute.
        jobs: Runs at a time, one thread each.
        profile: Profile of the runs; the published numbers are the original's (faithful).
        engine: Engine of the runs.
        out: Folder of results.csv and the figure; runs go to its folder runs. None: reproduction/fig4d, for scale
            smoke runs/smoke/fig4d.
        expected: Table of published results; None: expected.csv in OUT or in reproduction/fig4d.

    Returns:
        Exit code: 1 if a run failed or a judged point is off, else 0.
    """
    from denram.reproduce.figures import draw, measured_points, read_expected, table
    from denram.reproduce.plan import reproduce

    _limit_threads(1)
    source = data or ("spoken-toy" if scale == "smoke" else "shd")
    out = out or (Path("runs/smoke/fig4d") if scale == "smoke" else PUBLISHED)
    name, report = reproduce(source, out, scale=scale, profile=profile, engine=engine, jobs=jobs, say=say)
    candidates = [expected] if expected else [out / "expected.csv", PUBLISHED / "expected.csv"]
    found = next((file for file in candidates if file.is_file() or file == expected), None)
    if found is None:
        say("no expected.csv found, so the published curve is left out; name one with --expected")
    published = {} if found is None else read_expected(found)
    measured = measured_points(out, name, scale, profile)
    lines, verdicts = table(published, measured, name, scale, profile)
    for line in ["", *lines]:
        say(line)
    for file in draw(published, measured, out, name, scale, profile):
        say(f"figure: {file}")
    say(f"results: {out / 'results.csv'}")
    return 0 if report.ok and "fail" not in verdicts else 1


def _limit_threads(threads: int) -> None:
    """Hold XLA's thread pools to `threads`; they are made once, at the first computation."""
    os.environ.setdefault("NPROC", str(max(1, threads)))
    if threads == 1 and "xla_cpu_multi_thread_eigen" not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = (
            f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
        )


def main() -> None:
    """Entry point of the command `denram`."""
    sys.exit(run_command(lambda: app.cli(prog="denram")))


if __name__ == "__main__":
    main()
