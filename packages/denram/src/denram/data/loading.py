"""A whole data set as binned events: loaded from recordings, or shared between processes as files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from reprokit import RecordingSplits, UserError, load_recordings
from reprokit.data.event_store import staged_store
from reprokit.data.manifest import digest_file
from reprokit.files import write_array, write_file
from reprokit.files.atomic import make_folder
from reprokit.files.locking import acquire, lock_beside

from denram.data.binning import Samples, bin_recordings
from denram.data.events import EventBatch
from denram.spec import Binning

PARTS = ("train", "test")
PATIENCE = 600.0  # seconds to wait for another process that writes the same set
NAMED_SETS = ("shd", "spoken-toy")
SHD_COUNTS = {"train": 8156, "test": 2264}  # recordings of the official files
SHD_MD5 = {  # as four independent public loaders agree; none is published for shd_test.h5
    "shd_train.h5.gz": "d47c9825dee33347913e8ce0f2be08b0",
    "shd_test.h5.gz": "3062a80ec0c5719404d5b02e166543b1",
    "shd_train.h5": "8e9877c85f29a28dd353ea6a54402667",
}


@dataclass(frozen=True, eq=False)
class DataSet:
    """Binned training and test samples.

    Args:
        name: What the data really are, as reported with results.
        classes: Number of classes; labels are 0 to classes - 1.
        train: Training samples (validation samples included).
        test: Test samples.
        fingerprint: 16 hexadecimal digits that name all spikes and labels.
    """

    name: str
    classes: int
    train: Samples
    test: Samples
    fingerprint: str


def load_data(source: str | Path, binning: Binning) -> DataSet:
    """Load recordings and bin them.

    Args:
        source: ``shd``, ``spoken-toy``, or a folder with ``shd_train.h5[.gz]`` and ``shd_test.h5[.gz]``.
        binning: How to bin.

    Raises:
        UserError: If the source is unknown or damaged, or does not fit the binning.
    """
    recordings = load_recordings(str(source))
    binning.stride(recordings.channels)  # refuses too many channels before the work starts
    parts = {
        part: bin_recordings(
            getattr(recordings, part), recordings.channels, binning, name=f"{recordings.name} {part}"
        )
        for part in PARTS
    }
    fingerprint = "".join(parts[part].fingerprint()[:8] for part in PARTS)
    return DataSet(
        _honest_name(str(source), recordings), recordings.classes, parts["train"], parts["test"], fingerprint
    )


def absolute(source: str) -> str:
    """A folder's absolute path; names of data sets stay as they are."""
    return source if source in NAMED_SETS else str(Path(source).resolve())


def _honest_name(source: str, recordings: RecordingSplits) -> str:
    """Call the official files ``shd`` wherever they lie, and no others in a folder of that name."""
    if source in NAMED_SETS:
        return recordings.name
    if all(len(getattr(recordings, part)) == SHD_COUNTS[part] for part in PARTS) and all(
        _is_official(Path(source), f"shd_{part}.h5") for part in PARTS
    ):
        return "shd"
    return "shd-unofficial" if recordings.name == "shd" else recordings.name


def _is_official(folder: Path, stem: str) -> bool:
    file = folder / stem if (folder / stem).is_file() else folder / f"{stem}.gz"
    return file.name not in SHD_MD5 or digest_file(file).md5 == SHD_MD5[file.name]


def save_data(data: DataSet, folder: Path) -> Path:
    """Write a data set as plain .npy files, complete or not at all.

    Args:
        data: What to write.
        folder: Parent folder; the set gets a folder named after its fingerprint in it.

    Returns:
        The set's folder.
    """
    target = folder / f"{data.name}-{data.train.events.n_in}-{data.fingerprint}"
    make_folder(folder, "folder of the binned events")
    busy = f"{target} is being written by another process; wait for it"
    lock = acquire(lock_beside(target), patience=PATIENCE, busy=busy)
    try:
        if not (target / "set.json").exists():
            with staged_store(target) as staging:
                _write_set(data, staging)
    finally:
        lock.release()
    return target


def _write_set(data: DataSet, folder: Path) -> None:
    for part in PARTS:
        samples: Samples = getattr(data, part)
        arrays = {
            "steps": samples.events.steps,
            "starts": samples.events.starts,
            "labels": samples.labels,
            "speakers": samples.speakers,
        }
        for name, array in arrays.items():
            if array is not None:
                write_array(folder / f"{part}_{name}.npy", array)
    about = {"name": data.name, "classes": data.classes, "fingerprint": data.fingerprint}
    about |= {"steps_in": data.train.events.steps_in, "n_late": [data.train.n_late, data.test.n_late]}
    write_file(folder / "set.json", json.dumps(about))


def open_data(folder: Path) -> DataSet:
    """Open what `save_data` wrote; the arrays stay on disk and are shared between processes.

    Raises:
        UserError: If the folder holds no data set or a file of it is missing.
    """
    try:
        about = json.loads((folder / "set.json").read_text())
        parts = {}
        for index, part in enumerate(PARTS):
            arrays = {
                name: np.load(path, mmap_mode="r", allow_pickle=False)
                for name in ("steps", "starts", "labels", "speakers")
                if (path := folder / f"{part}_{name}.npy").exists()
            }
            events = EventBatch(arrays["steps"], arrays["starts"], about["steps_in"])
            parts[part] = Samples(events, arrays["labels"], arrays.get("speakers"), about["n_late"][index])
        return DataSet(about["name"], about["classes"], parts["train"], parts["test"], about["fingerprint"])
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{folder} holds no complete set of binned events ({error}); remove the folder."
        ) from error
