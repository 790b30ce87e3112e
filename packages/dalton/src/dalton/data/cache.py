"""Prepared data kept on disk: frames of a whole event data set, and decoded images.

**Frames** are prepared once and shared by all processes.

The original filters and bins every recording anew in every epoch. Here the cells that hold events are written once as
plain columns into a folder whose name is the hash of the recordings' content, the options of `FrameOptions` and the
version of the format, and are mapped into memory from then on: opening costs nothing, only what a batch needs is read,
and processes share the pages. Size: 10 bytes a cell, about 40 kB an N-MNIST recording (2.8 GB for all 70,000).

The folder appears when it is complete (staging, rename) and under a lock, so of two processes one builds and the other
waits. A manifest holds size, time stamp and SHA-256 of every file; a damaged folder is noticed and built anew. Files
up to 256 MB in total are hashed at every opening, larger ones when their size or time stamp changed.

**Images**: decoding 30,000 small JPEG files takes four seconds, reading the decoded pixels a tenth of one. So those of
folders and zips are kept as an .npz file, named by the hash of what was decoded, below reprokit's data folder; its
checksums are verified at every reading, and a damaged one is made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import EventSet, EventSplits, ImageSplits, UserError, load_images, progress, read_npz
from reprokit.data import manifest
from reprokit.data.cache import data_folder, require_space
from reprokit.files.atomic import atomic_write, make_folder, sync_folder
from reprokit.files.locking import acquire, lock_beside

from dalton.data.frames import FrameOptions, FrameSet, FrameSplits, frames_of
from dalton.data.sources import EventSource, path_digest

VERSION = 1
PATIENCE = 3600.0  # seconds to wait for another process that builds the same cache
_COLUMNS = {
    "frame": "<i4",
    "place": "<i4",
    "count": "<u2",
    "offsets": "<i8",
    "frames": "<i4",
    "labels": "<i8",
}
_SPLITS = ("train", "test")
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".ppm")
_THOROUGH = 256 << 20  # bytes

log = logging.getLogger(__name__)


def load_frames(
    source: EventSource, options: FrameOptions | None = None, folder: Path | None = None
) -> FrameSplits:
    """Return the frames of an event data set, building the cache the first time.

    Args:
        source: The recordings, from `dalton.data.sources`.
        options: Filter, down-sampling and window; the source's own when None.
        folder: Where caches are kept; reprokit's data folder (``REPROKIT_DATA``) when None.

    Raises:
        UserError: An empty recording, events outside the sensor, a label outside the classes, an unwritable or
            full folder.
    """
    options = options or source.options()
    key = {"version": VERSION, "content": source.fingerprint(), "options": asdict(options)}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    folder = folder or data_folder() / "dalton-frames"
    store = folder / digest
    opened = _open(store, source.name)
    if opened is not None:
        return opened
    make_folder(folder, "folder of prepared events")
    busy = (
        f"{store}: another process has prepared these events for an hour; end it, or use another cache folder"
    )
    lock = acquire(lock_beside(store), patience=PATIENCE, busy=busy)
    try:
        opened = _open(store, source.name)
        if opened is None:
            if store.exists():
                log.warning("%s is damaged and made anew", store)
            _build(store, source.load(), options)
            opened = _open(store, source.name)
    finally:
        lock.release()
    if opened is None:
        raise UserError(f"{store} changed while it was opened; run again with nothing else writing to it")
    return opened


def _names() -> list[str]:
    return [f"{split}-{column}" for split in _SPLITS for column in _COLUMNS] + ["store.json"]


def _open(store: Path, name: str) -> FrameSplits | None:
    """Map a complete and undamaged cache; None when there is none."""
    entries = manifest.load(store)
    thorough = sum(entry.size for entry in entries.values()) <= _THOROUGH
    if manifest.damaged(store, _names(), entries, thorough=thorough):
        return None
    facts = json.loads((store / "store.json").read_text("utf-8"))
    train, test = (
        FrameSet(
            **{column: _mapped(store / f"{split}-{column}", dtype) for column, dtype in _COLUMNS.items()},
            shape=tuple(facts["shape"]),
            largest=facts["largest"],
        )
        for split in _SPLITS
    )
    return FrameSplits(train, test, name, tuple(facts["class_names"]))


def _mapped(path: Path, dtype: str) -> np.ndarray:
    """Map a column; an empty file, which cannot be mapped, becomes an empty array."""
    return np.asarray(np.memmap(path, dtype, mode="r")) if path.stat().st_size else np.empty(0, dtype)


def _build(store: Path, events: EventSplits, options: FrameOptions) -> None:
    """Write a cache into a staged folder and give it its name when it is complete; the lock is held."""
    for leftover in store.parent.glob(f"{store.name}.tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    require_space(store.parent, 10 * (len(events.train.t) + len(events.test.t)))
    staging = store.with_name(f"{store.name}.tmp-{os.getpid()}")
    try:
        staging.mkdir()
        largest = max(_write_split(staging, split, events, options) for split in _SPLITS)
        facts = {
            "shape": options.frame_shape(events.sensor),
            "largest": largest,
            "class_names": events.class_names,
        }
        atomic_write(staging / "store.json", json.dumps(facts).encode())
        manifest.save(staging, {name: manifest.describe(staging / name) for name in _names()})
        shutil.rmtree(store, ignore_errors=True)
        staging.replace(store)
        sync_folder(store.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _write_split(folder: Path, split: str, events: EventSplits, options: FrameOptions) -> int:
    """Write the columns of one split and return its largest count."""
    part: EventSet = getattr(events, split)
    _check_labels(part, split, events)
    largest = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{split}-{name}").open("wb")) for name in _COLUMNS}

        def put(name: str, values: Any) -> None:
            files[name].write(np.ascontiguousarray(values, _COLUMNS[name]).tobytes())

        put("offsets", [0])
        put("labels", part.labels)
        total = 0
        for index in _progress(range(len(part)), f"{events.name}: {split} frames"):
            where = f"{events.name}: {split} recording {index}"
            sparse = frames_of(part[index], events.sensor, options, where)
            for name in ("frame", "place", "count"):
                put(name, getattr(sparse, name))
            total += len(sparse.frame)
            put("offsets", [total])
            put("frames", [sparse.frames])
            largest = max(largest, int(sparse.count.max(initial=0)))
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    return largest


def _progress(items: Iterable[int], description: str) -> Iterable[int]:
    return progress(items, description=description)


def _check_labels(part: EventSet, split: str, events: EventSplits) -> None:
    """Refuse an empty split and labels outside the classes."""
    if not len(part):
        raise UserError(f"{events.name}: the {split} set has no recordings")
    bad = (part.labels < 0) | (part.labels >= events.classes)
    if bad.any():
        index = int(np.argmax(bad))
        raise UserError(
            f"{events.name}: label {part.labels[index]} of {split} recording {index} is outside the "
            f"{events.classes} classes 0 to {events.classes - 1}"
        )


def decoded_images(source: str) -> ImageSplits:
    """Load images by name or path like `reprokit.load_images`, decoding a folder or zip only once.

    Raises:
        UserError: What `reprokit.load_images` raises.
    """
    path = Path(source)
    if not path.exists() or path.suffix == ".npz":
        return load_images(source)
    store = data_folder() / "dalton-images" / f"{path_digest(path, _IMAGE_SUFFIXES)[:24]}.npz"
    if store.exists():
        try:
            return replace(read_npz(store), name=path.resolve().stem)
        except UserError:
            log.warning("%s is damaged and made anew", store)
    splits = load_images(path)
    try:
        _write_images(store, splits)
    except OSError as error:  # the images are there; only the next start is slower
        log.warning("%s cannot be written (%s); the images are decoded at every start", store, error)
    return splits


def _write_images(store: Path, splits: ImageSplits) -> None:
    store.parent.mkdir(parents=True, exist_ok=True)
    temporary = store.with_name(f".{store.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(
                file,
                train_images=splits.train.images,
                train_labels=splits.train.labels,
                test_images=splits.test.images,
                test_labels=splits.test.labels,
                class_names=np.array(splits.class_names),
            )
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(store)
    finally:
        with suppress(OSError):
            temporary.unlink()
