"""Prepared data kept on disk: frames of a whole event data set, and decoded images.

**Frames** are prepared once and shared by all processes.

The original filters and bins every recording anew in every epoch. Here the cells that hold events are written once as
plain columns into a folder whose name is the hash of the recordings' content, the options of `FrameOptions` and the
version of the format, and are mapped into memory from then on: opening is free, a batch reads only what it
needs, and processes share the pages. Size: 10 bytes per cell, about 40 kB per N-MNIST recording (2.8 GB for all
70,000).

The folder appears only when it is complete (staging, rename), and is built under a lock: of two processes one
builds and the other waits. A manifest records size, time stamp and SHA-256 of every file; a damaged folder is
noticed and built again. Files up to 256 MB in total are hashed every time they are opened, larger ones if their size or
time stamp has changed.

**Images**: decoding 30,000 small JPEG files takes four seconds, reading the decoded pixels a tenth of one. So
decoded images of folders and zips are kept as an .npz file below reprokit's data folder, named after the hash
of what was decoded. Its checksums are verified on every reading, and a damaged file is made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, astuple, replace
from pathlib import Path

import numpy as np
from reprokit import EventSet, EventSplits, ImageSplits, UserError, load_images, progress, read_npz
from reprokit.data import manifest
from reprokit.data.cache import data_folder, require_space, staged_store
from reprokit.data.event_store import column_files, mapped
from reprokit.files.atomic import make_folder, write_file
from reprokit.files.locking import acquire, lock_beside

from dalton.data.frames import FrameOptions, FrameSet, FrameSplits, frames_of
from dalton.data.recordings import OwnRecordings, RecordingFiles
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
    content = source.fingerprint()
    # options added later are left out if they have the old meaning, so that older caches are found
    kept = {name: value for name, value in asdict(options).items() if name != "tail" or value}
    key = {"version": VERSION, "content": content, "options": kept}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    folder = folder or data_folder() / "dalton-frames"
    store = folder / digest
    opened = _open(store, source.name, content)
    if opened is not None:
        return opened
    make_folder(folder, "folder of prepared events")
    busy = f"{store}: another process has been preparing these events for an hour; end it, or use another cache folder"
    lock = acquire(lock_beside(store), patience=PATIENCE, busy=busy)
    try:
        opened = _open(store, source.name, content)
        if opened is None:
            if store.exists():
                log.warning("%s is damaged and made again", store)
            with source.opened() as events:
                _build(store, events, options)
            opened = _open(store, source.name, content)
    finally:
        lock.release()
    if opened is None:
        raise UserError(f"{store} changed while it was opened; run again with nothing else writing to it")
    return opened


def _names() -> list[str]:
    return [f"{split}-{column}" for split in _SPLITS for column in _COLUMNS] + ["store.json"]


def _open(store: Path, name: str, content: str) -> FrameSplits | None:
    """Map a complete and undamaged cache; None when there is none."""
    entries = manifest.load(store)
    thorough = sum(entry.size for entry in entries.values()) <= _THOROUGH
    if manifest.damaged(store, _names(), entries, thorough=thorough):
        return None
    facts = json.loads((store / "store.json").read_text("utf-8"))
    train, test = (
        FrameSet(
            **{
                column: np.asarray(mapped(store / f"{split}-{column}", dtype))
                for column, dtype in _COLUMNS.items()
            },
            shape=tuple(facts["shape"]),
            largest=facts["largest"],
        )
        for split in _SPLITS
    )
    noted = facts.get("given", {}), facts.get("notes", ())  # absent in older caches
    return FrameSplits(train, test, name, tuple(facts["class_names"]), content, *noted)


def _build(store: Path, events: EventSplits | OwnRecordings, options: FrameOptions) -> None:
    """Write a cache into a staged folder that gets its name when it is complete; the caller has the lock."""
    given = {split: _events(getattr(events, split)) for split in _SPLITS}
    require_space(store.parent, 10 * sum(given.values()))
    with staged_store(store) as staging:
        largest = max(_write_split(staging, split, events, options) for split in _SPLITS)
        shape = options.frame_shape(events.sensor)
        facts = {"shape": shape, "largest": largest, "class_names": events.class_names, "given": given}
        if isinstance(events, OwnRecordings):
            facts["notes"] = [note if isinstance(note, str) else astuple(note) for note in events.notes]
        write_file(staging / "store.json", json.dumps(facts))
        manifest.save(staging, {name: manifest.describe(staging / name) for name in _names()})


def _events(part: EventSet | RecordingFiles) -> int:
    """Return the number of events of a part."""
    return int(part.events.sum()) if isinstance(part, RecordingFiles) else len(part.t)


def _write_split(folder: Path, split: str, events: EventSplits | OwnRecordings, options: FrameOptions) -> int:
    """Write the columns of one split and return its largest count."""
    part: EventSet | RecordingFiles = getattr(events, split)
    _check_labels(part, split, events)
    largest = total = 0
    with column_files(folder, {f"{split}-{name}": dtype for name, dtype in _COLUMNS.items()}) as put:
        put(f"{split}-offsets", [0])
        put(f"{split}-labels", part.labels)
        for index in _progress(range(len(part)), f"{events.name}: {split} frames"):
            where = f"{events.name}: {split} recording {index}"
            sparse = frames_of(part[index], events.sensor, options, where)
            for name in ("frame", "place", "count"):
                put(f"{split}-{name}", getattr(sparse, name))
            total += len(sparse.frame)
            put(f"{split}-offsets", [total])
            put(f"{split}-frames", [sparse.frames])
            largest = max(largest, int(sparse.count.max(initial=0)))
    return largest


def _progress(items: Iterable[int], description: str) -> Iterable[int]:
    return progress(items, description=description)


def _check_labels(part: EventSet | RecordingFiles, split: str, events: EventSplits | OwnRecordings) -> None:
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


def decoded_images(source: str, folder: Path | None = None) -> ImageSplits:
    """Load images by name or path like `reprokit.load_images`, decoding a folder or zip only once.

    Args:
        source: Name or path.
        folder: Where decoded images are kept; below reprokit's data folder when None.

    Raises:
        UserError: As `reprokit.load_images`.
    """
    path = Path(source)
    if not path.exists() or path.suffix == ".npz":
        return load_images(source)
    store = (folder or data_folder() / "dalton-images") / f"{path_digest(path, _IMAGE_SUFFIXES)[:24]}.npz"
    if store.exists():
        try:
            return replace(read_npz(store), name=path.resolve().stem)
        except UserError:
            log.warning("%s is damaged and made again", store)
    splits = load_images(path)
    try:
        _write_images(store, splits)
    except (OSError, UserError) as error:  # the images are there; only the next start is slower
        log.warning("%s cannot be written (%s); the images are decoded at every start", store, error)
    return splits


def _write_images(store: Path, splits: ImageSplits) -> None:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        train_images=splits.train.images,
        train_labels=splits.train.labels,
        test_images=splits.test.images,
        test_labels=splits.test.labels,
        class_names=np.array(splits.class_names),
    )
    write_file(store, buffer.getvalue())
