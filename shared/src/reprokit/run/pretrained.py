"""Trained models inside a package: a folder for each, with weights, configuration and ledger row.

A folder ``pretrained/NAME`` inside the package contains ``weights.safetensors`` (arrays, and what else the network
needs, such as the scale of its input), ``config.json`` (of the run that trained it) and ``row.json`` (the row of that
run in ``reproduction/pretrained/results.csv``). Each package has ``pretrained(name)``, which returns what ``load(run)``
does.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprokit.config import nearest, read_values
from reprokit.errors import UserError
from reprokit.files.atomic import make_folder, write_file
from reprokit.run.checkpoint import DamagedCheckpoint, read_checkpoint, write_checkpoint
from reprokit.run.provenance import run_id
from reprokit.run.stored import CONFIG

FOLDER, WEIGHTS, ROW = "pretrained", "weights.safetensors", "row.json"


@dataclass(frozen=True)
class Packed:
    """What is stored of a run, enough to predict without its data.

    Attributes:
        config: The configuration of the run, as its ``config.json`` has it.
        arrays: Weights, and arrays that scale the input.
        state: What else the network needs, as JSON values.
    """

    config: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    state: dict[str, Any]


@dataclass(frozen=True)
class Pretrained(Packed):
    """A trained model read back from its folder.

    Attributes:
        path: The folder.
        row: The ledger row: accuracy on the whole test set, data, commit, versions.
    """

    path: Path
    row: dict[str, Any]

    @property
    def source(self) -> str:
        """The name of its weights in messages."""
        return str(self.path / WEIGHTS)


def pretrained_names(package: str) -> tuple[str, ...]:
    """Return the names of the trained models of an installed package, sorted."""
    folder = _folder(package)
    found = folder.iterdir() if folder.is_dir() else ()
    return tuple(sorted(path.name for path in found if (path / WEIGHTS).is_file()))


def find_pretrained(package: str, name: str) -> Pretrained:
    """Read a trained model of an installed package.

    Raises:
        UserError: There is none of that name, or its files are damaged.
    """
    names = pretrained_names(package)
    if name not in names:
        known = f"choose one of {', '.join(names)}" if names else f"{package} has none"
        raise UserError(f"pretrained model {name!r} is unknown{nearest(str(name), names)}; {known}")
    try:
        return read_pretrained(_folder(package) / name)
    except UserError as error:
        raise UserError(f"{error}; install {package} again") from error


def read_pretrained(folder: str | Path) -> Pretrained:
    """Read a trained model from its folder; every array is checked against the digest of the file.

    Raises:
        UserError: A file is missing or damaged, or they do not belong together.
    """
    folder = Path(folder)
    config, row = read_values(folder / CONFIG), read_values(folder / ROW)
    try:
        weights = read_checkpoint(folder / WEIGHTS)
    except DamagedCheckpoint as error:
        raise UserError(str(error)) from error
    if row.get("run_id") != run_id(config):
        raise UserError(f"{folder / ROW} is of another run than {CONFIG} next to it")
    return Pretrained(config, weights.arrays, weights.state, folder, row)


def write_pretrained(folder: str | Path, packed: Packed, row: Mapping[str, Any]) -> Path:
    """Write a trained model as `read_pretrained` reads it and return its folder.

    Args:
        folder: Its folder; made if it is missing.
        packed: What is stored of the run.
        row: Its ledger row, with the run id of its configuration.

    Raises:
        UserError: The row belongs to another run, or the folder cannot be made.
    """
    folder = Path(folder)
    if row.get("run_id") != run_id(packed.config):
        raise UserError(f"the row of {folder} is of run {row.get('run_id')}, not of {run_id(packed.config)}")
    make_folder(folder, "folder of the trained model")
    write_checkpoint(folder / WEIGHTS, 0, packed.arrays, packed.state)
    for name, values in ((CONFIG, packed.config), (ROW, row)):
        write_file(folder / name, json.dumps(dict(values), indent=2, sort_keys=name == CONFIG) + "\n")
    return folder


def pretrained_lines(package: str) -> list[str]:
    """Return what ``info`` prints about the trained models of a package, a line for each."""
    lines = []
    for name in pretrained_names(package):
        row = read_values(_folder(package) / name / ROW)
        right = f"{100 * float(row['test_accuracy']):.2f} % of {row['test_samples']} test samples"
        lines.append(f"pretrained: {name}, {right}")
    return lines


def smallest(array: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers in the smallest unsigned type that can hold them, for example indices and delays.

    Raises:
        ValueError: They are not whole numbers of 0 or more.
    """
    whole = np.asarray(array)
    if whole.size and (whole.min() < 0 or (whole != np.floor(whole)).any()):
        raise ValueError("only whole numbers of 0 or more have a smallest unsigned type")
    return whole.astype(np.min_scalar_type(int(whole.max(initial=0))))


def _folder(package: str) -> Path:
    """Return the folder of the trained models of a package, which is not imported; it may be missing."""
    spec = find_spec(package)
    # not importlib.resources: of an editable install with a compiled core it gives two folders as one
    return Path(spec.origin if spec and spec.origin else package).parent / FOLDER
