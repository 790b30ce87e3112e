"""What the commands of ``sbs`` do; their arguments are dataclasses, their output goes through
`reprokit.cli.say`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from reprokit import UserError
from reprokit.cli import say

from .config import TrainConfig, read_toml
from .config_from_original import from_original
from .config_original import read_original
from .data import Dataset, load_dataset, write_storage
from .evaluation import accuracy_against_spikes, evaluate, spikes_from
from .original_weights import load_npz, load_overload, load_step, save_original, sbs_layers
from .presets import preset
from .runs import InputShape, Model, load_model, store_model
from .training import train as train_network

CONVERT_USAGE = """usage: sbs convert WHAT ...

  export RUN --out FOLDER          write Weight_L*_S*.npy and EpsXY_L*_S*.npy for the original program
  import CONFIG FILES --out RUN    turn such files, or one .npz with weights_L0, weights_L1, ..., into a run
  data SOURCE --out FOLDER         write a data set as the original's four .npy files
  data SOURCE --out FILE.npz       write a data set (also the original's four files) as one .npz"""

KNOWN_INPUTS = {
    "mnist": (1, 28, 28, 10),
    "fashion-mnist": (1, 28, 28, 10),
    "cifar10": (3, 32, 32, 10),
    "digits": (1, 8, 8, 10),
}


@dataclass(frozen=True)
class Evaluating:
    """What `test` and `spikes` share.

    Attributes:
        run: Run directory of sbs train, or the original's .json together with --step.
        data: Data set name or path; by default the one the run was trained on.
        limit: Use only the first images, 0 uses all.
        batch_size: Images per forward pass.
        seed: Seed of the spikes.
        threads: Threads; 0 takes the run's number.
        step: With a .json: test the original's files ..._S<step>.npy.
    """

    run: tyro.conf.Positional[str]
    data: str = ""
    limit: int = 0
    batch_size: int = 100
    seed: int = 0
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
class Export:
    """Write a run's weights as the original's files.

    Attributes:
        run: Run directory of sbs train.
        out: Folder that receives Weights/ and EpsXY/.
        step: Number behind _S; by default the run's updates minus one, as the original counts.
    """

    run: tyro.conf.Positional[str]
    out: str
    step: int = -1


@dataclass(frozen=True)
class Import:
    """Turn the original's weight files into a run directory.

    Attributes:
        config: Preset, .toml or the original's .json the weights belong to.
        files: Folder with Weight_L*.npy (and EpsXY_L*.npy), or one .npz.
        out: New run directory.
        step: Take the files ..._S<step>.npy; by default the single file per layer.
        epsilon: Folder of the EpsXY files, where it is another than that of the weights.
    """

    config: tyro.conf.Positional[str]
    files: tyro.conf.Positional[str]
    out: str
    step: int = -1
    epsilon: str = ""


@dataclass(frozen=True)
class ConvertData:
    """Write a data set as the original's four .npy files, or as one .npz.

    Attributes:
        source: Data set name or path, also a folder with the original's files.
        out: Folder, or a file ending in .npz.
    """

    source: tyro.conf.Positional[str]
    out: str


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
        jobs: Unused beyond 1: the runs share the computer's threads.
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
        seed=arguments.seed,
        number_of_spikes=arguments.number_of_spikes or None,
    )
    say(
        f"{dataset.name}: {result.accuracy:.2f} % of {result.total} test images correct "
        f"({result.total / max(result.seconds, 1e-9):.0f} images/s)"
    )


def spikes(arguments: Spikes) -> None:
    """Print and draw accuracy against the number of spikes."""
    from .figures import save_figure, spikes_curve

    model, dataset = _model_and_data(arguments)
    results = accuracy_against_spikes(
        model.network,
        model.presentation,
        dataset.test,
        arguments.counts,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
    )
    say("spikes  accuracy (%)  images/s")
    for count, result in results:
        say(f"{count:6d}  {result.accuracy:12.2f}  {result.total / max(result.seconds, 1e-9):8.0f}")
    folder = _figure_folder(arguments.run, arguments.out)
    rows = [f"{count},{result.correct},{result.total},{result.accuracy}" for count, result in results]
    table = folder / "spikes.csv"
    _write_text(table, "\n".join(["spikes,correct,total,accuracy", *rows]) + "\n")
    accuracies = [result.accuracy for _, result in results]
    title = f"{dataset.name}, {results[0][1].total} test images"
    figure = save_figure(spikes_curve(arguments.counts, accuracies, title), folder / "spikes.png")
    say(f"written: {table}, {figure}")


def show(arguments: Show) -> None:
    """Draw the figures of one network."""
    from . import figures

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

    def save(figure: "figures.Figure", name: str) -> None:
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


def export(arguments: Export) -> None:
    """Write the original's weight files."""
    model = load_model(arguments.run)
    step = arguments.step if arguments.step >= 0 else max(model.step - 1, 0)
    folder = Path(arguments.out)
    written = save_original(model.network, folder / "Weights", folder / "EpsXY", step)
    say(f"written: {len(written)} files of step {step} below {folder}")


def import_weights(arguments: Import) -> None:
    """Store the original's weights as a run."""
    config = _config(arguments.config)
    shape = _input_shape(config)
    network = shape.network(config)
    files = Path(arguments.files)
    if files.suffix == ".npz":
        taken = [str(name) for name in load_npz(network, files)]
    elif arguments.step >= 0:
        taken = [path.name for path in load_step(network, files, arguments.epsilon or files, arguments.step)]
    else:
        taken = [path.name for path in load_overload(network, files)]
        if arguments.epsilon:
            taken += [path.name for path in load_overload(network, arguments.epsilon)]
    step = max(arguments.step + 1, 0)
    store_model(arguments.out, Model(network, config, shape, step), origin=str(files))
    say(f"written: {arguments.out} from {', '.join(taken)}")


def convert_data(arguments: ConvertData) -> None:
    """Write a data set in another form."""
    dataset = load_dataset(arguments.source)
    out = Path(arguments.out)
    if out.suffix == ".npz":
        written = [_write_npz(dataset, out)]
    else:
        written = write_storage(dataset, out)
    say(f"written: {', '.join(str(path) for path in written)}")


def info(_: Info) -> None:
    """Print what the package runs on."""
    from .environment import describe

    for name, value in describe().items():
        say(f"{name:>14}: {value}")


def reproduce(arguments: Reproduce) -> None:
    """Run the reproduction at one scale."""
    from .reproduce import reproduce as run_all

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
        model = _original_model(arguments.run, arguments.step)
    else:
        model = load_model(arguments.run)
    if arguments.threads:
        for layer in sbs_layers(model.network):
            layer.number_of_cpu_processes = arguments.threads
    torch.set_num_threads(arguments.threads or model.config.threads)
    dataset = load_dataset(arguments.data or model.config.data.source, limit_test=arguments.limit)
    model.check_data(dataset)
    return model, dataset


def _original_model(path: str, step: int) -> Model:
    """Build the network of one of the original's files with the weights of one step; these win over
    others.
    """
    if step < 0:
        raise UserError(
            f"{path} is a configuration; add --step N to test the weights of the files ..._S<N>.npy"
        )
    original = read_original(path)
    config, _ = from_original(replace(original, learning_step=0), Path(path).stem)
    shape = _input_shape(config)
    network = shape.network(config)
    load_step(network, original.weight_path, original.eps_xy_path, step)
    return Model(network, config, shape, step)


def _config(source: str) -> TrainConfig:
    path = Path(source)
    if path.suffix == ".json":
        return from_original(read_original(path), path.stem)[0]
    return read_toml(path) if path.suffix == ".toml" else preset(source)


def _input_shape(config: TrainConfig) -> InputShape:
    """Return the input of a configuration; the images themselves are needed only for the on/off split's
    mean.
    """
    known = KNOWN_INPUTS.get(config.data.source)
    if known is None or config.data.on_off:
        return InputShape.of(config, load_dataset(config.data.source))
    channels, height, width, classes = known
    height, width = config.augmentation.size(height, width)
    return InputShape(channels, height, width, classes, (0.0,) * channels)


def _figure_folder(run: str, out: str) -> Path:
    if out:
        return Path(out)
    return Path(run).with_suffix("") / "figures" if not run.endswith(".json") else Path("figures")


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
