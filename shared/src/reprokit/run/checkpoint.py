"""Checkpoints that are either complete or ignored: one hashed safetensors file each; the newest valid one wins."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from reprokit.errors import UserError
from reprokit.files.atomic import atomic_write, make_folder, remove_leftovers
from reprokit.run import watch

Array = NDArray[Any]

FORMAT = "reprokit-checkpoint-1"
LAST, BEST = "checkpoints", "best"  # folders of a run
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = ("bool", *INTEGERS, "float16", "float32", "float64", "complex64")


class DamagedCheckpoint(UserError):
    """A checkpoint file is truncated, altered, or not one of ours."""


@dataclass(frozen=True)
class Checkpoint:
    """One saved state of a run.

    Attributes:
        step: The caller's counter, for example the number of finished epochs.
        arrays: Named arrays with the dtypes and shapes they were saved with (byte order made native).
        state: Everything else, as JSON values.
    """

    step: int
    arrays: dict[str, Array]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, in one folder, written by one process at a time.

    A file is complete before it gets its name, carries the SHA-256 of its content, and is never changed.
    `safetensors` readers of other projects can open it.

    Args:
        directory: Folder of the checkpoint files, created by the first save.
        keep: Number of newest checkpoints to keep, at least 1; with 2, a damaged file does not cost the run.

    Raises:
        UserError: `keep` is below 1.
    """

    def __init__(self, directory: str | Path, keep: int = 2) -> None:
        if keep < 1:
            raise UserError(f"keep is {keep}; at least 1 checkpoint must be kept")
        self.directory = Path(directory)
        self.keep = keep

    def save(self, step: int, arrays: Mapping[str, Array], state: Mapping[str, Any]) -> Path:
        """Write the checkpoint of `step` and delete those it makes superfluous.

        Files of later steps are deleted too, because a run that fell back to an older one has left that branch.

        Args:
            step: Counter that grows with the run, >= 0.
            arrays: Arrays of any shape, also 0-d and empty; bool, (u)int8-64, float16-64, complex64.
            state: JSON-able values (optimiser counters, generator states as text or lists of integers, ...).

        Returns:
            The file written.

        Raises:
            TypeError: An array's dtype or a state value cannot be stored.
            UserError: The folder cannot be created.
            OSError: Disk full or not writable; earlier checkpoints are untouched.
            Stopped: The file was written, and the run had been asked to stop.
        """
        if step < 0:
            raise UserError(f"step is {step}; a checkpoint's step must not be negative")
        data = _encode(int(step), arrays, state)
        make_folder(self.directory, "checkpoint folder")
        remove_leftovers(self.directory)
        path = self.directory / f"checkpoint-{int(step):012d}.safetensors"
        atomic_write(path, data)
        files = self.newest_first()
        for stale in [*files[: files.index(path)], *files[files.index(path) + self.keep :]]:
            stale.unlink(missing_ok=True)
        if self.directory.name != BEST:  # which is written in the middle of an epoch
            watch.saved()
        return path

    def load_latest(self) -> Checkpoint | None:
        """Return the newest checkpoint whose hash matches, with a warning for each damaged one skipped.

        Returns:
            The checkpoint, with writable arrays, or None if there is no valid one.
        """
        for path in self.newest_first():
            try:
                return read_checkpoint(path)
            except DamagedCheckpoint as error:
                warnings.warn(f"{error}; falling back to an older checkpoint", RuntimeWarning, stacklevel=2)
        return None

    def newest_first(self) -> list[Path]:
        """Return the files of the folder, the newest first; none is read."""
        files = self.directory.glob("checkpoint-*.safetensors")
        return sorted(files, key=lambda path: (len(path.name), path.name), reverse=True)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read and verify one checkpoint file.

    Args:
        path: A file that `Checkpoints.save` wrote.

    Returns:
        Its content.

    Raises:
        DamagedCheckpoint: The file is unreadable, incomplete, altered or of another format.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header: Any = json.loads(data[8 : 8 + length])
        meta: dict[str, str] = header["__metadata__"]
        arrays = load(data)
        if meta["format"] != FORMAT:
            raise DamagedCheckpoint(f"checkpoint {path} has format {meta['format']!r}, not {FORMAT!r}")
        if meta["sha256"] != _digest(int(meta["step"]), arrays, meta["state"]):
            raise DamagedCheckpoint(f"checkpoint {path} is damaged: its SHA-256 does not match")
        state: dict[str, Any] = json.loads(meta["state"])
    except OSError as error:
        raise DamagedCheckpoint(f"checkpoint {path} cannot be read: {error.strerror}") from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, DamagedCheckpoint):
            raise
        raise DamagedCheckpoint(f"checkpoint {path} is damaged: it is not a complete checkpoint") from error
    writable = {name: array if array.flags.writeable else array.copy() for name, array in arrays.items()}
    return Checkpoint(int(meta["step"]), writable, state)


def write_checkpoint(
    path: str | Path, step: int, arrays: Mapping[str, Array], state: Mapping[str, Any]
) -> Path:
    """Write one checkpoint file whole; arguments and errors as `Checkpoints.save`."""
    path = Path(path)
    atomic_write(path, _encode(int(step), arrays, state))
    return path


def _encode(step: int, arrays: Mapping[str, Array], state: Mapping[str, Any]) -> bytes:
    """Return the bytes of a checkpoint file."""
    dense = {name: _storable(name, array) for name, array in arrays.items()}
    text = json.dumps(state, sort_keys=True)
    meta = {"format": FORMAT, "step": str(step), "state": text, "sha256": _digest(step, dense, text)}
    return save(dense, meta)


def _storable(name: str, array: Array) -> Array:
    """Return `array` in C order and native bytes, which the format needs (it does not check the order)."""
    array = np.asarray(array)
    if array.dtype.name not in DTYPES:
        raise TypeError(f"array {name!r} has dtype {array.dtype}; a checkpoint stores {', '.join(DTYPES)}")
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def _digest(step: int, arrays: Mapping[str, Array], state: str) -> str:
    """Return the SHA-256 over step, state, and every array's name, dtype, shape and bytes."""
    total = hashlib.sha256(json.dumps([FORMAT, step, state]).encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(json.dumps([name, array.dtype.name, list(array.shape)]).encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()
