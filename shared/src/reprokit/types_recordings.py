"""Spike recordings (one spike train bundle per sample) in one shape, as in the Spiking Heidelberg Digits."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reprokit.errors import UserError

CHANNELS = 700


@dataclass(frozen=True)
class Recordings:
    """Spikes of many recordings, concatenated; recording i owns ``offsets[i]:offsets[i + 1]``.

    Args:
        times: float32 (spike,), seconds from the start of the recording, ascending within one.
        units: int32 (spike,), the channel that fired, from 0.
        offsets: int64 (recording + 1,), from 0 to the number of spikes.
        labels: int64 (recording,), from 0.
        speakers: int64 (recording,), or None where unknown.
    """

    times: np.ndarray
    units: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return times (s) and units of recording `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"recording {index} of {len(self)}")
        window = slice(self.offsets[index], self.offsets[index + 1])
        return self.times[window], self.units[window]


@dataclass(frozen=True)
class RecordingSplits:
    """A training and a test set of recordings.

    Args:
        train: The training recordings.
        test: The test recordings.
        name: The data set really used, as it goes into a ledger row.
        channels: Number of input channels; every unit is below it.
        class_names: One name per class; labels index it.
    """

    train: Recordings
    test: Recordings
    name: str
    channels: int
    class_names: tuple[str, ...]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def load_recordings(source: str | Path) -> RecordingSplits:
    """Load spike recordings.

    Args:
        source: ``shd`` (fetched), the embedded ``spoken-toy``, or a folder that holds
            ``shd_train.h5[.gz]`` and ``shd_test.h5[.gz]``.

    Returns:
        The two splits. `name` is the folder's name, or ``shd`` where the folder holds the published files
        (compared by checksum).

    Raises:
        UserError: Unknown source, missing or damaged files, or a test label the training set does not know.
    """
    from reprokit.data.fetch import fetch

    if source == "spoken-toy":
        from reprokit.embedded.spoken_toy import spoken_toy

        return spoken_toy()
    if source == "shd":
        return _read_folder(fetch("shd"), "shd", sort=True)  # verified bytes: their order is no damage
    path = Path(source)
    if not path.exists():
        raise UserError(
            f"unknown source of recordings {str(source)!r}: neither a folder that exists nor one of "
            "shd, spoken-toy"
        )
    if not path.is_dir():
        raise UserError(f"{path}: expected a folder with shd_train.h5[.gz] and shd_test.h5[.gz]")
    if _is_official(path):
        return _read_folder(path, "shd", sort=True)
    return _read_folder(path, path.resolve().name)


def _is_official(folder: Path) -> bool:
    """Whether a folder holds the published SHD files, byte for byte, so that results on it count for SHD."""
    from reprokit.data.catalog import find_dataset
    from reprokit.data.checksums import digest_file

    files = find_dataset("shd").files
    return all(
        (folder / file.name).is_file() and digest_file(folder / file.name).md5 == file.md5 for file in files
    )


def _read_folder(folder: Path, name: str, *, sort: bool = False) -> RecordingSplits:
    """Read the two SHD files of a folder and agree on the classes."""
    from reprokit.readers.shd import read_shd_and_names

    paths = {split: _find(folder, f"shd_{split}.h5") for split in ("train", "test")}
    read = {split: read_shd_and_names(path, channels=CHANNELS, sort=sort) for split, path in paths.items()}
    parts = {split: recordings for split, (recordings, _) in read.items()}
    names = read["train"][1] or tuple(str(label) for label in range(int(parts["train"].labels.max()) + 1))
    for split, part in parts.items():
        outside = np.flatnonzero(part.labels >= len(names))
        if outside.size:
            index = int(outside[0])
            raise UserError(
                f"{paths[split]}: label {part.labels[index]} of recording {index} is outside the "
                f"{len(names)} classes 0 to {len(names) - 1}"
            )
    return RecordingSplits(parts["train"], parts["test"], name, CHANNELS, names)


def _find(folder: Path, stem: str) -> Path:
    """Return the plain or compressed file called `stem` in `folder`."""
    for candidate in (folder / stem, folder / f"{stem}.gz"):
        if candidate.is_file():
            return candidate
    raise UserError(f"{folder}: holds neither {stem} nor {stem}.gz; put one of them there")
