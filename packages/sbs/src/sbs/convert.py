"""``sbs convert``: weights and data sets of the original program, in and out."""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from reprokit import UserError
from reprokit.files import write_file
from reprokit.terminal import say

from sbs.config import TrainConfig, read_toml
from sbs.data.images import Dataset
from sbs.data.loading import load_dataset
from sbs.data.storage import write_storage
from sbs.formats.original_config import read_original
from sbs.formats.translate import from_original
from sbs.formats.weights import load_npz, load_overload, load_step, save_original
from sbs.presets import preset
from sbs.training.runs import InputShape, Model, load_model, store_model

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


def original_model(path: str, step: int) -> Model:
    """Build the network of one of the original's files with the weights of one step."""
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
    """Return the input of a configuration; only the on/off split needs the images themselves."""
    known = KNOWN_INPUTS.get(config.data.source)
    if known is None or config.data.on_off:
        return InputShape.of(config, load_dataset(config.data.source))
    channels, height, width, classes = known
    height, width = config.augmentation.size(height, width)
    return InputShape(channels, height, width, classes, (0.0,) * channels)


def _write_npz(dataset: Dataset, path: Path) -> Path:
    """Write uint8 images; float images of the original's files are scaled to 0..255 and rounded."""
    arrays = {}
    for split, part in (("train", dataset.train), ("test", dataset.test)):
        images = part.images
        if images.dtype != np.uint8:
            images = np.rint(images.astype(np.float64) / part.largest * 255).astype(np.uint8)
        arrays |= {f"{split}_images": images, f"{split}_labels": part.labels}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return write_file(path, buffer.getvalue())
