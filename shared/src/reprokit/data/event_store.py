"""Decoded events kept on disk and mapped into memory, for data sets larger than memory.

Decoding N-MNIST's 70,000 files takes half a minute, CIFAR10-DVS has more events than fit in memory. So the
columns of a decoded data set are written once, next to its files, as plain little-endian binary, and mapped
from then on: opening is free and only the parts in use are read.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock

from reprokit.data import manifest
from reprokit.data.cache import staged_store
from reprokit.files.atomic import atomic_write
from reprokit.types import EventSet, Recording

Decode = Callable[[], Iterator[tuple[Recording, int]]]
VERSION = 1
_DTYPES = {"t": "<i8", "x": "<i2", "y": "<i2", "p": "<i1", "offsets": "<i8", "labels": "<i8"}


def stored_events(folder: Path, split: str, decode: Decode) -> EventSet:
    """Return a split of a fetched data set as memory-mapped columns, decoding it the first time.

    Args:
        folder: The data set's verified folder, from `reprokit.fetch`; changed content is decoded again.
        split: ``train`` or ``test``.
        decode: Yields (t, x, y, p) and label of one recording after the other.

    Returns:
        The events; the arrays are read-only maps of files in `folder`.

    Raises:
        UserError: As `decode`.
    """
    source = {name: entry.sha256 for name, entry in manifest.load(folder).items() if "/" not in name}
    key = {"version": VERSION, "source": source}
    store = folder / f"decoded-{split}"
    if not _usable(store, key):
        with FileLock(
            folder.with_name(f".{folder.name}.lock")
        ):  # the lock of `fetch`, which removes leftovers
            if not _usable(store, key):
                _write(store, key, decode)
    return EventSet(**{name: mapped(store / name, dtype) for name, dtype in _DTYPES.items()})


def _usable(store: Path, key: dict[str, object]) -> bool:
    """Tell whether a store is complete and made from the current files."""
    try:
        state = json.loads((store / "store.json").read_text("utf-8"))
        return state["key"] == key and all(
            (store / name).stat().st_size == size for name, size in state["sizes"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _write(store: Path, key: dict[str, object], decode: Decode) -> None:
    """Decode all recordings, one by one, into a new store."""
    with staged_store(store) as staging:
        with column_files(staging, _DTYPES) as put:
            offset = 0
            put("offsets", [0])
            for recording, label in decode():
                for name, column in zip("txyp", recording, strict=True):
                    put(name, column)
                offset += len(recording[0])
                put("offsets", [offset])
                put("labels", [label])
        sizes = {name: (staging / name).stat().st_size for name in _DTYPES}
        atomic_write(staging / "store.json", json.dumps({"key": key, "sizes": sizes}).encode())


@contextmanager
def column_files(folder: Path, dtypes: Mapping[str, str]) -> Iterator[Callable[[str, object], None]]:
    """Provide `put(name, values)`, which appends values to a column's file; at the end all are on the disk.

    Args:
        folder: Folder of the files.
        dtypes: Little-endian dtype of each column, by file name.
    """
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("wb")) for name in dtypes}

        def put(name: str, values: object) -> None:
            files[name].write(np.ascontiguousarray(values, dtypes[name]).tobytes())

        yield put
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())


def mapped(path: Path, dtype: str) -> np.ndarray:
    """Map a column file, read-only; an empty one, which cannot be mapped, becomes an empty array."""
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r")
