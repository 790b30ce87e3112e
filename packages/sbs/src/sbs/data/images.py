"""Image data for SbS networks: where it comes from and what the first layer sees.

Two presentations exist. The original's V1 splits every channel with mean m into two non-negative ones,

    off = max(-2 (x - m), 0)        on = max(2 (x - m), 0)        channel order off_0, on_0, off_1, on_1, ...

V2 takes the intensities as they are, plus 1e-20 so that an all-black patch becomes a uniform distribution.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import reprokit
import torch
from reprokit import UserError
from reprokit.files.atomic import atomic_write, make_folder
from torch import Tensor

from sbs.data.augmentation import Augmentation, augment, center_crop

STORAGE_NAMES = tuple(
    f"{split}{kind}Storage.npy" for split in ("Train", "Test") for kind in ("Pattern", "Label")
)


@dataclass(frozen=True)
class Images:
    """One split.

    Attributes:
        images: uint8 or float32 ``(sample, channel, height, width)``.
        labels: int64 ``(sample,)``.
        largest: The value that stands for full intensity.
    """

    images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    largest: float

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: npt.NDArray[np.int64] | slice) -> tuple[Tensor, Tensor]:
        """Return images scaled to 0..1 as float32, and their labels."""
        images = torch.from_numpy(np.ascontiguousarray(self.images[index])).to(torch.float32)
        return images / self.largest, torch.from_numpy(np.ascontiguousarray(self.labels[index]))

    def first(self, count: int) -> "Images":
        """Return the first ``count`` samples (all of them for 0)."""
        return Images(self.images[:count], self.labels[:count], self.largest) if count else self


@dataclass(frozen=True)
class Dataset:
    """Training and test images with the data set's name, class count and the training mean per channel."""

    name: str
    train: Images
    test: Images
    classes: int
    mean: tuple[float, ...]

    @property
    def channels(self) -> int:
        """Channels per image."""
        return self.train.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        height, width = self.train.images.shape[-2:]
        return height, width


def load_dataset(source: str, limit_train: int = 0, limit_test: int = 0) -> Dataset:
    """Load images by name or path.

    Args:
        source: "mnist", "fashion-mnist", "cifar10", "digits", ...; an image folder or .zip; an .npz file; or
            a folder with the original's four files ``TrainPatternStorage.npy``, ``TrainLabelStorage.npy``,
            ``TestPatternStorage.npy``, ``TestLabelStorage.npy``.
        limit_train: Keep only this many training images, 0 keeps all.
        limit_test: Keep only this many test images, 0 keeps all.

    Raises:
        UserError: Unknown source or broken files.
    """
    path = Path(source)
    if path.is_dir() and any((path / name).exists() for name in STORAGE_NAMES):
        return _dataset(path.resolve().name, *read_storage(path), limit_train, limit_test)
    splits = reprokit.load_images(source)
    largest = _largest(splits.train.images, source)
    train, test = (Images(part.images, part.labels, largest) for part in (splits.train, splits.test))
    return _dataset(splits.name, train, test, limit_train, limit_test)


def read_storage(folder: str | Path) -> tuple[Images, Images]:
    """Read the original's four data-set files.

    Patterns are float ``(sample, height, width)`` or ``(sample, height, width, 3)``, labels whole numbers;
    like the original, each file is divided by its largest value.

    Raises:
        UserError: A file is missing, unreadable, of the wrong rank, negative, not finite, or counts disagree.
    """
    folder = Path(folder)
    parts = []
    for split in ("Train", "Test"):
        patterns = _load(folder / f"{split}PatternStorage.npy")
        labels = _load(folder / f"{split}LabelStorage.npy")
        file = folder / f"{split}PatternStorage.npy"
        if patterns.ndim not in (3, 4) or patterns.dtype.kind not in "fiu":
            raise UserError(
                f"{file}: expected numbers of shape (n, h, w) or (n, h, w, 3), found {_describe(patterns)}"
            )
        whole = labels.dtype.kind in "iu" and labels.min(initial=0) >= 0
        if labels.shape != patterns.shape[:1] or not whole:
            raise UserError(
                f"{folder}/{split}LabelStorage.npy: expected {len(patterns)} whole numbers of 0 or more, "
                f"found {_describe(labels)}"
            )
        images = patterns[:, None] if patterns.ndim == 3 else np.moveaxis(patterns, 3, 1)
        images = np.ascontiguousarray(images, dtype=np.float32)
        if not np.isfinite(images).all() or images.min(initial=0.0) < 0:
            raise UserError(f"{file}: holds negative or non-finite values; intensities must be 0 or more")
        parts.append(Images(images, labels.astype(np.int64), _largest(images, str(file))))
    return parts[0], parts[1]


def write_storage(dataset: Dataset, folder: str | Path) -> list[Path]:
    """Write the original's four data-set files (float32 in 0..1, labels uint64), see `read_storage`.

    Returns:
        The paths written.
    """
    folder = Path(folder)
    written = []
    for split, part in (("Train", dataset.train), ("Test", dataset.test)):
        images = part.images.astype(np.float32) / np.float32(part.largest)
        patterns = images[:, 0] if images.shape[1] == 1 else np.moveaxis(images, 1, 3)
        for kind, array in (("Pattern", patterns), ("Label", part.labels.astype(np.uint64))):
            path = folder / f"{split}{kind}Storage.npy"
            written.append(save_array(path, np.ascontiguousarray(array)))
    return written


def write_file(path: Path, content: bytes) -> Path:
    """Write a file, complete or not at all, in a folder that is made if missing."""
    make_folder(path.parent, "folder")
    atomic_write(path, content)
    return path


def save_array(path: Path, array: npt.NDArray) -> Path:
    """Write a .npy file, complete or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return write_file(path, buffer.getvalue())


def on_off_split(images: Tensor, mean: tuple[float, ...] | Tensor) -> Tensor:
    """Split every channel into an off and an on channel, see the module docstring.

    Args:
        images: Float ``(sample, channel, height, width)``.
        mean: Training mean per channel, ``(channel,)``.

    Returns:
        Float ``(sample, 2 * channel, height, width)``, >= 0.
    """
    center = torch.as_tensor(mean, dtype=images.dtype, device=images.device).view(1, -1, 1, 1)
    if center.shape[1] != images.shape[1]:
        raise UserError(f"mean has {center.shape[1]} entries but the images have {images.shape[1]} channels")
    centred = 2.0 * (images - center)
    return torch.stack((-centred, centred), 2).flatten(1, 2).clamp(min=0.0)


@dataclass(frozen=True)
class Presentation:
    """What the first layer sees: crop and jitter, then on/off split or a small offset.

    Attributes:
        augmentation: Variation of training images; its crop also holds for test images.
        mean: Training mean per channel, used by the split.
        on_off: Split into on and off channels.
        offset: Added to every intensity when there is no split.
    """

    augmentation: Augmentation
    mean: tuple[float, ...]
    on_off: bool = False
    offset: float = 1e-20

    def train(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the layer input of a training batch."""
        return self._finish(augment(images, self.augmentation, generator))

    def test(self, images: Tensor) -> Tensor:
        """Return the layer input of a test batch: centre crop, no jitter."""
        return self._finish(center_crop(images, self.augmentation))

    def _finish(self, images: Tensor) -> Tensor:
        return on_off_split(images, self.mean) if self.on_off else images + self.offset


def _dataset(name: str, train: Images, test: Images, limit_train: int, limit_test: int) -> Dataset:
    if not len(train) or not len(test):
        raise UserError(
            f"data set {name}: {len(train)} training and {len(test)} test images; both must be present"
        )
    if train.images.shape[1:] != test.images.shape[1:]:
        raise UserError(
            f"data set {name}: training images are {train.images.shape[1:]} "
            f"but test images {test.images.shape[1:]}"
        )
    mean = train.images.mean((0, 2, 3), dtype=np.float64) / train.largest
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    return Dataset(
        name=name,
        train=train.first(limit_train),
        test=test.first(limit_test),
        classes=classes,
        mean=tuple(float(value) for value in mean),
    )


def _largest(images: npt.NDArray, source: str) -> float:
    largest = float(images.max(initial=0))
    if largest <= 0:
        raise UserError(f"{source}: every pixel is 0; there is nothing to learn from")
    return largest


def _load(path: Path) -> npt.NDArray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def _describe(array: npt.NDArray) -> str:
    return f"{array.dtype} of shape {array.shape}"
