"""Import and export of the original program's weights and data sets, for ``sbs export`` and ``sbs convert``."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from reprokit import UserError
from reprokit.files import write_file

from sbs.config import TrainConfig
from sbs.data.images import Dataset
from sbs.data.loading import load_dataset
from sbs.data.storage import write_storage
from sbs.formats.original_config import read_original
from sbs.formats.translate import from_original
from sbs.formats.weights import load_npz, load_overload, load_step, save_npz, save_original
from sbs.training.runs import InputShape, Model, load_model, store_model

KNOWN_INPUTS = {
    "mnist": (1, 28, 28, 10),
    "fashion-mnist": (1, 28, 28, 10),
    "cifar10": (3, 32, 32, 10),
    "digits": (1, 8, 8, 10),
}


def export_weights(run: Path, out: Path, to: str = "original", step: int | None = None) -> str:
    """Write a run's weights and describe what was written.

    Args:
        run: Run directory.
        out: Folder that receives ``Weights/`` and ``EpsXY/``; with "npz" the file.
        to: "original" or "npz".
        step: Number after ``_S``; None: the run's updates minus one, as the original counts.
    """
    model = load_model(run)
    if to == "npz":
        return str(save_npz(model.network, out))
    number = max(model.step - 1, 0) if step is None else step
    written = save_original(model.network, out / "Weights", out / "EpsXY", number)
    return f"{len(written)} files of step {number} below {out}"


def import_weights(
    config: TrainConfig, files: Path, out: Path, step: int | None = None, epsilon: Path | None = None
) -> list[str]:
    """Store the original's weights as a run and return the names of the files or arrays used.

    Args:
        config: The configuration of the weights.
        files: Folder with ``Weight_L*.npy`` (and ``EpsXY_L*.npy``), or one .npz.
        out: New run directory.
        step: Take the files ``..._S<step>.npy``; None: the single file per layer.
        epsilon: Folder of the EpsXY files, if it differs from that of the weights.
    """
    shape = _input_shape(config)
    network = shape.network(config)
    if files.suffix == ".npz":
        taken = load_npz(network, files)
    elif step is not None:
        taken = [path.name for path in load_step(network, files, epsilon or files, step)]
    else:
        taken = [path.name for path in load_overload(network, files)]
        if epsilon:
            taken += [path.name for path in load_overload(network, epsilon)]
    done = 0 if step is None else step + 1
    store_model(out, Model(network, config, shape, done), origin=str(files))
    return taken


def convert_data(source: str, out: Path) -> list[Path]:
    """Write a data set as the original's four files, or as one .npz if ``out`` has that suffix."""
    dataset = load_dataset(source)
    return [_write_npz(dataset, out)] if out.suffix == ".npz" else write_storage(dataset, out)


def original_model(path: Path, step: int | None) -> Model:
    """Build the network of one of the original's files with the weights of one step.

    Raises:
        UserError: No step is given, or the file or its weights cannot be read.
    """
    if step is None:
        raise UserError(
            f"{path} is a configuration; add --step N to test the weights of the files ..._S<N>.npy"
        )
    original = read_original(path)
    config, _ = from_original(replace(original, learning_step=0), path.stem)
    shape = _input_shape(config)
    network = shape.network(config)
    load_step(network, original.weight_path, original.eps_xy_path, step)
    return Model(network, config, shape, step)


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
