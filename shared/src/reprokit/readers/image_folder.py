"""Image folders, ``train/<class>/*.jpg`` and ``test/<class>/*.jpg``, as a folder or a zip of it."""

import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from reprokit.errors import UserError, library
from reprokit.files.reading import guarded
from reprokit.readers.members import members
from reprokit.types import ImageSet, ImageSplits

_MEMBER = re.compile(r"(?:^|/)(train|test)/([^/]+)/([^/.][^/]*)$", re.IGNORECASE)
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".ppm")
_FORMATS = ("JPEG", "PNG", "BMP", "PPM")
_MAX_SIDE = 4096  # pixels


def read_image_folder(path: str | Path) -> ImageSplits:
    """Read an image folder or a zip of one; the two split folders may be at any depth.

    Args:
        path: The folder or .zip. Classes are the training folders in alphabetical order (numerical when all
            are numbers), images are sorted by path.

    Returns:
        The splits, named after the path's stem: 1 channel when every image is grey, otherwise 3.

    Raises:
        UserError: Pillow is missing; no images of a split; an image that is damaged, of another size than the
            first or of more than 8 bits; a test class without training images.
    """
    path = Path(path)
    with guarded(path, "an image folder or a zip of one"), members(path) as (names, read):
        chosen = _choose(path, names)
        classes = _class_order({name for split, name, _ in chosen if split == "train"})
        unknown = sorted({name for split, name, _ in chosen if split == "test"} - set(classes))
        if unknown:
            raise UserError(f"{path}: the test set has the class {unknown[0]!r}, the training set does not")
        decoded = [_decode(f"{path}/{member}", read(member)) for _, _, member in chosen]
    images = _stack(path, chosen, decoded)
    labels = np.array([classes.index(name) for _, name, _ in chosen], np.int64)
    train = np.array([split == "train" for split, _, _ in chosen])
    return ImageSplits(
        ImageSet(images[train], labels[train]),
        ImageSet(images[~train], labels[~train]),
        path.resolve().stem,
        tuple(classes),
    )


def _choose(path: Path, names: list[str]) -> list[tuple[str, str, str]]:
    """Return split, class and name of every image, sorted."""
    chosen = []
    for name in sorted(names):
        match = _MEMBER.search(name)
        if match and name.lower().endswith(_SUFFIXES):
            chosen.append((match[1].lower(), match[2], name))
    for split in ("train", "test"):
        if not any(entry[0] == split for entry in chosen):
            raise UserError(
                f"{path}: holds no images at {split}/<class>/; expected {', '.join(_SUFFIXES)} files"
            )
    return chosen


def _class_order(names: set[str]) -> list[str]:
    """Sort class names, numerically when all are numbers."""
    return sorted(names, key=int) if all(re.fullmatch("[0-9]+", name) for name in names) else sorted(names)


def _decode(where: str, data: bytes) -> np.ndarray:
    """Decode one image to uint8 (height, width) or (height, width, 3)."""
    module = library("PIL.Image", "reading image files needs Pillow", "pillow")
    try:
        _check_end(module, data)
        with module.open(BytesIO(data), formats=_FORMATS) as image:
            if max(image.size) > _MAX_SIDE:
                raise UserError(
                    f"{where}: {image.size[0]} x {image.size[1]} pixels; allowed: {_MAX_SIDE} a side"
                )
            if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"):
                raise UserError(
                    f"{where}: pixels of mode {image.mode} have more than 8 bits; convert them to 8"
                )
            return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except UserError:
        raise
    except (OSError, SyntaxError, ValueError, module.DecompressionBombError) as error:
        raise UserError(f"{where}: no image that can be decoded ({error}); get it again") from error


def _check_end(module: Any, data: bytes) -> None:
    """Check that an image is complete to its last byte, because decoding alone does not notice."""
    if data.startswith(b"\x89PNG"):
        with module.open(BytesIO(data), formats=("PNG",)) as image:
            image.verify()
        if b"IEND\xaeB`\x82" not in data:
            raise OSError("cut at its end")
    elif data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[-256:]:
        raise OSError("cut at its end")


def _stack(path: Path, chosen: list[tuple[str, str, str]], decoded: list[np.ndarray]) -> np.ndarray:
    """Return all images as uint8 (sample, channel, height, width)."""
    size, colour = decoded[0].shape[:2], any(image.ndim == 3 for image in decoded)
    stacked = np.empty((len(decoded), 3 if colour else 1, *size), np.uint8)
    for index, image in enumerate(decoded):
        if image.shape[:2] != size:
            raise UserError(
                f"{path}/{chosen[index][2]}: {image.shape[1]} x {image.shape[0]} pixels but the first has "
                f"{size[1]} x {size[0]}; resize them to one size"
            )
        stacked[index] = image.transpose(2, 0, 1) if image.ndim == 3 else image
    return stacked
