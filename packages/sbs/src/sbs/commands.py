"""What the commands of ``sbs`` do; output goes through `reprokit.terminal.say`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import tyro
from reprokit import UserError
from reprokit.files import write_file
from reprokit.terminal import say

from sbs.config import TrainConfig
from sbs.convert import original_model
from sbs.data.images import Dataset
from sbs.data.loading import load_dataset
from sbs.model.networks import sbs_layers
from sbs.training.evaluation import accuracy_against_spikes, evaluate, spikes_from
from sbs.training.loop import train as train_network
from sbs.training.runs import Model, load_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Evaluating:
    """What `test` and `spikes` share.

    Attributes:
        run: Run directory of sbs train, or the original's .json together with --step.
        data: Data set name or path; by default the one the run was trained on.
        limit: Use only the first images, 0 uses all.
        batch_size: Images per forward pass.
        seed: Seed of the spikes; -1 takes the run's.
        threads: Threads; 0 takes the run's number.
        step: With a .json: test the original's files ..._S<step>.npy.
    """

    run: tyro.conf.Positional[str]
    data: str = ""
    limit: int = 0
    batch_size: int = 100
    seed: int = -1
    threads: int = 0
    step: int = -1


@dataclass(frozen=True)
class Test(Evaluating):
    """Classify the test images with a trained network."""

    number_of_spikes: int = 0
    """Spikes per position; 0 takes each layer's own number."""


@dataclass(frozen=True)
class Spikes(Evaluating):
    """Measure accuracy against the number of spikes; writes spikes.csv and a figure."""

    counts: tuple[int, ...] = (50, 100, 200, 400, 800, 1600)
    """Numbers of spikes."""
    out: str = ""
    """Folder of the table and the figure; by default the run's figures folder."""


@dataclass(frozen=True)
class Show:
    """Draw filters, h maps and reconstructions of a trained network.

    Attributes:
        run: Run directory of sbs train.
        out: Folder of the figures; by default the run's figures folder.
        data: Data set name or path; by default the one the run was trained on.
        image: Number of the test image whose h maps are drawn.
        images: Number of test images reconstructed.
        format: File format of the figures.
    """

    run: tyro.conf.Positional[str]
    out: str = ""
    data: str = ""
    image: int = 0
    images: int = 8
    format: Literal["png", "svg", "pdf"] = "png"


@dataclass(frozen=True)
class Info:
    """Print engine, vector instructions, threads and versions."""


@dataclass(frozen=True)
class Reproduce:
    """Repeat the published results; rows go to a ledger, done ones are skipped.

    Attributes:
        scale: "smoke" (digits, seconds), "reduced" (MNIST, part of the training) or "paper".
        out: Folder of results.csv and the figures.
        runs: Folder of the run directories.
        jobs: Accepted for the sake of `make`; trainings run one after the other.
        data: Folder with MNIST's files; by default the data cache.
        only: Run only this claim.
    """

    scale: Literal["smoke", "reduced", "paper"] = "smoke"
    out: str = "reproduction/sbs"
    runs: str = "runs/sbs"
    jobs: int = 1
    data: str = ""
    only: str = ""


def train(config: TrainConfig, folder: Path, tensorboard: bool) -> None:
    """Train and say where the result lies."""
    train_network(config, folder, tensorboard=tensorboard, report=say)
    say(f"finished: {folder}")


def test(arguments: Test) -> None:
    """Print the accuracy of a network."""
    model, dataset = _model_and_data(arguments)
    result = evaluate(
        model.network,
        model.presentation,
        dataset.test,
        batch_size=arguments.batch_size,
        seed=_seed(arguments, model),
        number_of_spikes=arguments.number_of_spikes or None,
    )
    say(
        f"{dataset.name}: {result.accuracy:.2f} % of {result.total} test images correct "
        f"({result.total / max(result.seconds, 1e-9):.0f} images/s)"
    )


def spikes(arguments: Spikes) -> None:
    """Print and draw accuracy against the number of spikes."""
    from sbs.plots import save_figure, spikes_curve

    model, dataset = _model_and_data(arguments)
    results = accuracy_against_spikes(
        model.network,
        model.presentation,
        dataset.test,
        arguments.counts,
        batch_size=arguments.batch_size,
        seed=_seed(arguments, model),
    )
    say("spikes  accuracy (%)  images/s")
    for count, result in results:
        say(f"{count:6d}  {result.accuracy:12.2f}  {result.total / max(result.seconds, 1e-9):8.0f}")
    folder = _figure_folder(arguments.run, arguments.out)
    rows = [f"{count},{result.correct},{result.total},{result.accuracy}" for count, result in results]
    table = folder / "spikes.csv"
    write_file(table, ("\n".join(["spikes,correct,total,accuracy", *rows]) + "\n").encode())
    accuracies = [result.accuracy for _, result in results]
    title = f"{dataset.name}, {results[0][1].total} test images"
    figure = save_figure(spikes_curve(arguments.counts, accuracies, title), folder / "spikes.png")
    say(f"written: {table}, {figure}")


def show(arguments: Show) -> None:
    """Draw the figures of one network."""
    from sbs import plots as figures

    model = load_model(arguments.run)
    dataset = load_dataset(arguments.data or model.config.data.source)
    model.check_data(dataset)
    if not 0 <= arguments.image < len(dataset.test):
        raise UserError(f"--image is {arguments.image}; the test set has images 0 to {len(dataset.test) - 1}")
    if arguments.images < 1:
        raise UserError(f"--images is {arguments.images}; give at least 1")
    folder = _figure_folder(arguments.run, arguments.out)
    model.network.eval()
    names = []

    def save(figure: "Figure", name: str) -> None:
        names.append(figures.save_figure(figure, folder / f"{name}.{arguments.format}").name)

    for index, layer in enumerate(sbs_layers(model.network)):
        if not layer.is_pooling_layer:
            save(figures.filters(layer), f"filters-{index}")
    image, _ = dataset.test.batch(slice(arguments.image, arguments.image + 1))
    with spikes_from(model.config.seed):
        stages = figures.layer_outputs(model.network, model.presentation.test(image))
    titles = [f"stage {index}: h of test image {arguments.image}" for index in range(len(stages))]
    for index, figure in enumerate(figures.h_maps([outputs for _, _, outputs in stages], titles)):
        save(figure, f"h-{index}")
    images, _ = dataset.test.batch(slice(0, arguments.images))
    inputs = model.presentation.test(images)
    first = sbs_layers(model.network)[0]
    with torch.inference_mode(), spikes_from(model.config.seed):
        rebuilt = figures.reconstruction(first, first(inputs), (model.shape.height, model.shape.width))
    save(figures.compare_reconstruction(inputs, rebuilt, model.config.data.on_off), "reconstruction")
    say(f"written to {folder}: {', '.join(names)}")


def info(_: Info) -> None:
    """Print what the package runs on."""
    from sbs.environment import describe

    for name, value in describe().items():
        say(f"{name:>14}: {value}")


def reproduce(arguments: Reproduce) -> None:
    """Run the reproduction at one scale."""
    from sbs.reproduce.plan import reproduce as run_all

    run_all(
        arguments.scale,
        Path(arguments.out),
        Path(arguments.runs),
        data=arguments.data,
        only=arguments.only,
    )


def _model_and_data(arguments: Evaluating) -> tuple[Model, Dataset]:
    if arguments.limit < 0 or arguments.batch_size < 1:
        raise UserError("--limit must be 0 or more and --batch-size at least 1")
    if arguments.run.endswith(".json"):
        model = original_model(arguments.run, arguments.step)
    else:
        model = load_model(arguments.run)
    if arguments.threads:
        for layer in sbs_layers(model.network):
            layer.number_of_cpu_processes = arguments.threads
    torch.set_num_threads(arguments.threads or model.config.threads)
    dataset = load_dataset(arguments.data or model.config.data.source, limit_test=arguments.limit)
    model.check_data(dataset)
    return model, dataset


def _seed(arguments: Evaluating, model: Model) -> int:
    return arguments.seed if arguments.seed >= 0 else model.config.seed


def _figure_folder(run: str, out: str) -> Path:
    if out:
        return Path(out)
    return Path(run).with_suffix("") / "figures" if not run.endswith(".json") else Path("figures")
