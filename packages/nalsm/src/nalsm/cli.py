"""Command line: network, train, sweep, features, readout, eval, plot, info, reproduce."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import tyro
from reprokit import UserError
from reprokit.cli import run as run_command
from reprokit.terminal import say
from tyro.conf import OmitArgPrefixes, Positional

from nalsm.config import Config
from nalsm.names import INPUTS, Engine, Measure, Split, canonical

app = tyro.extras.SubcommandApp()


@dataclass(frozen=True)
class Options(Config):
    """Settings of one run; config.json in its directory holds them all."""

    def __post_init__(self) -> None:
        """Nothing: values are checked after parsing, so that an error is one sentence."""

    def config(self) -> Config:
        """Return the checked configuration."""
        return Config(**{field.name: getattr(self, field.name) for field in fields(Config)})


def limit_threads(threads: int) -> None:
    """Give PyTorch as many threads as the liquid gets."""
    import torch

    if threads < 1:
        raise UserError(f"threads is {threads}; it must be 1 or more.")
    torch.set_num_threads(threads)


@app.command(name="network")
def network_command(
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
        dataset: Take the inputs of this data set.
        seed: Seed of the wiring.
        input_density: Share of (liquid, input) pairs connected.
        excitatory_fraction: Share of excitatory neurons.
        connection: Connection strength C for E->E, E->I, I->E, I->I.
        length: Length constant of the wiring, in grid steps.
    """
    from nalsm.model.network import NetworkSpec, connection_statistics, generate

    inputs = INPUTS[dataset] if dataset else inputs
    spec = NetworkSpec(dims, inputs, seed, input_density, 0.02, excitatory_fraction, connection, length)
    network = generate(spec)
    network.save(out)
    say(f"{out}: {network.liquid} liquid neurons, {int(network.active.sum())} synapses, seed {seed}")
    for name, value in connection_statistics(network).items():
        say(f"  {name:38s} {value if isinstance(value, int) else format(value, '.5g')}")


@app.command(name="train")
def train_command(
    settings: OmitArgPrefixes[Options],
    out: Path,
    engine: Engine = "auto",
    device: str = "cpu",
    threads: int = 1,
    resume: bool = True,
    force: bool = False,
) -> None:
    """Initialise a liquid, produce features, train the readout; a killed run goes on where it stopped.

    Args:
        settings: Settings of the run.
        out: Run directory.
        engine: events (compiled), torch, or auto.
        device: cpu, or an accelerator for engine torch.
        threads: Samples simulated at once; results do not depend on it.
        resume: Go on with a run of the same settings; --no-resume refuses a directory that holds one.
        force: Delete a run that is there and start anew.
    """
    from nalsm.training.pipeline import Run
    from nalsm.training.reporting import summary_lines

    limit_threads(threads)
    run = Run(
        out, settings.config(), engine=engine, device=device, threads=threads, resume=resume, force=force
    )
    for line in summary_lines(run.train()):
        say(line)


@app.command(name="sweep")
def sweep_command(
    settings: OmitArgPrefixes[Options], out: Path, vary: tuple[str, ...] = (), jobs: int = 1
) -> int:
    """Train liquids for every combination of values, several at a time; finished ones are skipped.

    Args:
        settings: Settings that all runs share.
        out: Folder of results.csv and of the run directories.
        vary: What differs, as in: network_seed=1,2,3 astrocyte_weight=0.01,0.02.
        jobs: Runs at a time, one thread each.
    """
    from nalsm.reproduce.sweep import parse, sweep

    return sweep(settings.config(), parse(vary), out, jobs=jobs, say=say)


@app.command(name="features")
def features_command(
    run: Positional[Path],
    split: Split = "test",
    noise: float = 0.0,
    out: Path | None = None,
    threads: int = 1,
) -> None:
    """Produce spike counts of a split with the liquid of a run, with or without noise, as one .npz file.

    Args:
        run: Run directory with an initialised liquid.
        split: Which samples.
        noise: Deviation of the kernel-quality noise: 125 for images, 10 (ms) for recordings; 0 is none.
        out: File; None writes features_<split>_noise<noise>.npz into the run directory.
        threads: Samples simulated at once.
    """
    from nalsm.training.export import export_features

    limit_threads(threads)
    say(str(export_features(run, split, noise=noise, out=out, threads=threads)))


@app.command(name="readout")
def readout_command(
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


@app.command(name="eval")
def eval_command(
    what: Positional[Measure],
    run: Positional[Path],
    samples: int = 20,
    repetitions: int = 100,
    noise: float | None = None,
    threads: int = 1,
    plot: bool = False,
) -> None:
    """Measure a trained liquid.

    Args:
        what: accuracy, branching (factor), kernel (quality SP, AP) or divergence (of two runs that differ by
            one spike).
        run: Run directory.
        samples: Test samples for branching and divergence.
        repetitions: Random choices that kernel ranks are averaged over.
        noise: Deviation for kernel quality; None: 125 for images, 10 ms for recordings.
        threads: Samples simulated at once.
        plot: Draw the measure too, into the run directory.
    """
    from nalsm import plots
    from nalsm.training.evaluation import evaluate

    limit_threads(threads)
    if plot:
        plots.pyplot()  # a missing matplotlib is told before the work, not after
    measured = evaluate(what, run, samples=samples, repetitions=repetitions, noise=noise, threads=threads)
    for name, value in measured.values.items():
        say(f"{name:22s} {value:.4f}")
    if plot:
        say(f"figure: {plots.draw_measure(what, measured.detail, run / f'{what}.png')}")


@app.command(name="plot")
def plot_command(run: Positional[Path], out: Path | None = None) -> None:
    """Draw raster, rates, weights before and after, astrocyte trace and the 3-D layout of a run.

    Args:
        run: Run directory.
        out: Folder of the figures; None: the run directory.
    """
    from nalsm.plots import plot_run

    for file in plot_run(run, out or run):
        say(str(file))


@app.command(name="info")
def info_command(run: Positional[Path]) -> None:
    """Show configuration, progress and result of a run.

    Args:
        run: Run directory.
    """
    from nalsm.training.reporting import describe

    for line in describe(run):
        say(line)


@app.command(name="reproduce")
def reproduce_command(
    scale: Literal["smoke", "reduced", "paper"] = "smoke",
    data: str | None = None,
    only: tuple[str, ...] = (),
    jobs: int = 1,
    out: Path = Path("reproduction/nalsm"),
) -> int:
    """Run the published experiments into OUT/results.csv; finished ones are skipped.

    Args:
        scale: smoke: embedded digits, under a minute; reduced: fewer samples; paper: the published protocol.
        data: Data set; None: mnist, for smoke the embedded digits.
        only: Names of experiments; none: all of them.
        jobs: Runs at a time, one thread each.
        out: Folder of results.csv and the figures.

    Returns:
        Exit code: 1 if a run failed, else 0.
    """
    from nalsm.reproduce.plan import reproduce

    return reproduce(scale, data, only, jobs, out, say)


def main() -> int:
    """Run the command `nalsm`."""
    return run_command(lambda: app.cli(prog="nalsm", args=canonical(sys.argv[1:])))


if __name__ == "__main__":
    sys.exit(main())
