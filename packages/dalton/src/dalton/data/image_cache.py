"""Decoded images of folders and zips, kept on disk.

Decoding 30,000 small JPEG files takes four seconds, reading the decoded pixels a tenth of one. So they are kept as an
.npz file, named by the hash of what was decoded, below reprokit's data folder; its checksums are verified at every
reading, and a damaged one is made anew.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from reprokit import ImageSplits, UserError, load_images, read_npz
from reprokit.data.cache import data_folder

from dalton.data.content import path_digest

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".ppm")

log = logging.getLogger(__name__)


def decoded_images(source: str) -> ImageSplits:
    """Load images by name or path like `reprokit.load_images`, decoding a folder or zip only once.

    Raises:
        UserError: What `reprokit.load_images` raises.
    """
    path = Path(source)
    if not path.exists() or path.suffix == ".npz":
        return load_images(source)
    store = data_folder() / "dalton-images" / f"{path_digest(path, _SUFFIXES)[:24]}.npz"
    if store.exists():
        try:
            return replace(read_npz(store), name=path.resolve().stem)
        except UserError:
            log.warning("%s is damaged and made anew", store)
    splits = load_images(path)
    try:
        _write(store, splits)
    except OSError as error:  # the images are there; only the next start is slower
        log.warning("%s cannot be written (%s); the images are decoded at every start", store, error)
    return splits


def _write(store: Path, splits: ImageSplits) -> None:
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
