"""The options of each command of ``dalton``; the docstrings of the fields are the help texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from dalton.config import TrainConfig
from dalton.options import RunOptions


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
