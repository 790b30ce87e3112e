"""Files of frames: an .npz file with event counts (sample, time, channel, height, width) and labels."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from reprokit import UserError
from reprokit.files.reading import array_of, guarded

from dalton.data.own import splits_of
from dalton.data.samples import Splits

FRAMES = (
    ("train_frames", "train_labels", "test_frames", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("frames", "labels"),
)  # the arrays of an .npz file of frames


def is_frames_file(source: str | Path) -> bool:
    """Tell whether a path is an .npz file of frames rather than images, by the names and dimensions in its headers."""
    path = Path(source)
    if path.suffix.lower() != ".npz" or not zipfile.is_zipfile(path):
        return False
    with guarded(path, "an .npz file"), zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy"): name for name in archive.namelist()}
        keys = next((keys for keys in FRAMES if all(key in names for key in keys)), None)
        if keys is None:
            return False
        with archive.open(names[keys[0]]) as file:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            return len(read(file)[0]) == 5 or keys[0].endswith("frames")


def read_frames(
    path: Path, steps: int | None = None, test_steps: int | None = None, seed: int = 0, allow_loss: bool = False
) -> Splits:  # fmt: skip
    """Read an .npz file of frames (sample, time, channel, height, width) and labels.

    Args:
        path: Holds ``train_frames``, ``train_labels``, ``test_frames``, ``test_labels`` (or ``x_train`` and so on), or
            ``frames`` and ``labels`` alone, of which a fifth becomes the test set; optionally ``class_names``.
        steps: As in `splits_of`.
        test_steps: As in `splits_of`.
        seed: As in `splits_of`.
        allow_loss: As in `splits_of`.

    Raises:
        UserError: A damaged file, an object array, or anything that `splits_of` refuses.
    """
    with guarded(path, "an .npz file"), np.load(path, allow_pickle=False) as content:
        keys = next(keys for keys in FRAMES if all(key in content.files for key in keys))
        arrays = [array_of(content[key]) for key in keys]
        names = (
            [str(one) for one in content["class_names"].reshape(-1)]
            if "class_names" in content.files
            else None
        )
    for key, array in zip(keys[::2], arrays[::2], strict=True):
        if array.ndim != 5:
            raise UserError(
                f"{path}: {key} has shape {array.shape}; frames are (sample, time, channel, height, width), a "
                "channel of 1 included."
            )
    test = (arrays[2], arrays[3]) if len(arrays) == 4 else None
    return splits_of(
        (arrays[0], arrays[1]), test, name=path.stem, class_names=names, steps=steps, test_steps=test_steps, seed=seed,
        allow_loss=allow_loss,
    )  # fmt: skip
