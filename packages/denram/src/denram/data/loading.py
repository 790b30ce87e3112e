"""A whole data set as binned events: loaded from recordings, or shared between processes as files."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import DataIdentity, Recordings, RecordingSplits, UserError, load_recordings
from reprokit.data.cache import staged_store
from reprokit.data.clock import Start
from reprokit.data.manifest import digest_file
from reprokit.files import write_array, write_file
from reprokit.files.atomic import make_folder
from reprokit.files.locking import acquire, lock_beside
from reprokit.load import recording_files
from reprokit.types import CHANNELS, TimeUnit, check_labels

from denram.data.binning import Samples, bin_silently
from denram.data.events import EventBatch
from denram.data.heartbeat import is_heartbeat, load_heartbeat
from denram.spec import LEVELS_MV, Binning

PARTS = ("train", "test")
MOST_LOST = 0.05  # share of the spikes of a part of own data that may be lost without the user's consent
LIKE_MS, LIKE_US = 50, 50_000  # if half of the times are beyond this many windows, their unit is not seconds
PATIENCE = 600.0  # seconds to wait for another process that writes the same set
NAMED_SETS = ("shd", "spoken-toy")
SHD_COUNTS = {"train": 8156, "test": 2264}  # recordings of the official files
SHD_MD5 = {  # as in four independent public loaders; none is published for shd_test.h5
    "shd_train.h5.gz": "d47c9825dee33347913e8ce0f2be08b0",
    "shd_test.h5.gz": "3062a80ec0c5719404d5b02e166543b1",
    "shd_train.h5": "8e9877c85f29a28dd353ea6a54402667",
}


@dataclass(frozen=True, eq=False)
class DataSet:
    """Binned training and test samples.

    Args:
        name: The data really used, as reported with results.
        classes: Number of classes; labels are 0 to classes - 1.
        train: Training samples (validation samples included).
        test: Test samples.
        fingerprint: 16 hexadecimal digits that identify all spikes and labels.
        channels: Channels of the recordings before thinning.
        identity: The recordings as they were read, before binning; None for sets written by version 0.2.
        n_validation: Number of last training samples that are the data set's own validation part; 0: it has none.

    Raises:
        UserError: If a label is not a class, or the validation part leaves no training samples.
    """

    name: str
    classes: int
    train: Samples
    test: Samples
    fingerprint: str
    channels: int = CHANNELS
    identity: DataIdentity | None = None
    n_validation: int = 0

    def __post_init__(self) -> None:
        for part in PARTS:
            labels = getattr(self, part).labels
            check_labels(f"{self.name} {part}", labels, "sample", self.classes)
        if not 0 <= self.n_validation < max(1, len(self.train)):
            raise UserError(
                f"{self.name}: n_validation is {self.n_validation}; it must be below the {len(self.train)} "
                "training samples."
            )


def load_data(
    source: str | Path,
    binning: Binning,
    *,
    channels: int | None = None,
    time_unit: TimeUnit = "s",
    start: Start = "zero",
    allow_loss: bool = False,
    levels: Sequence[float] = LEVELS_MV,
    classes: int | None = None,
) -> DataSet:
    """Load recordings and bin them.

    SHD, spoken-toy and other data of 700 channels are thinned to `n_in` channels as the original does. More
    than 5 % of the spikes of a part of own data may be lost (late, or of a dropped channel) only if allowed.

    Args:
        source: ``shd``, ``spoken-toy``, a heartbeat set (`denram.data.heartbeat`), or a folder with
            ``shd_train.h5[.gz]`` and ``shd_test.h5[.gz]``, or with another word for ``shd``; its
            ``shd_valid.h5``, if there is one, is used for validation. Own recordings may be empty; unsorted ones are
            sorted, with a warning.
        binning: How to bin.
        channels: Channels of own data; None: as many as occur in the two files, at least `n_in`.
        time_unit: Unit of the times of own data; whole numbers are allowed unless it is seconds.
        start: Clock of own data: ``zero``: as in the files; ``first-event``: each first spike is at 0.
        allow_loss: Warn of losses instead of refusing.
        levels: Distance of the levels of a heartbeat set in mV, one for both leads or one for each.
        classes: Minimum number of classes, for own test files with a class missing from training.

    Raises:
        UserError: If the source is unknown or damaged, does not fit the binning, or loses too many spikes.
    """
    if is_heartbeat(str(source)):
        recordings = load_heartbeat(str(source), levels)
    else:
        recordings = load_recordings(
            str(source),
            channels=channels,
            time_unit=time_unit,
            start=start,
            lenient=True,
            classes=classes,
        )
    own = not is_named(source)
    if not own and (channels not in (None, recordings.channels) or time_unit != "s" or start != "zero"):
        raise UserError(
            f"{recordings.name} has {recordings.channels} channels and times in seconds; "
            "leave channels, time_unit and start to own data."
        )
    found = recordings.channels
    if own and channels is None:
        found = max(found, binning.n_in)
    files = {part: str(path) for part, path in recording_files(source).items()} if own else None
    named = replace(recordings, name=_honest_name(str(source), recordings), channels=found)
    return bin_splits(
        named, binning, files=files, allow_loss=allow_loss, identity=DataIdentity.of(recordings)
    )


def bin_splits(
    recordings: RecordingSplits,
    binning: Binning,
    *,
    files: Mapping[str, str] | None = None,
    allow_loss: bool = False,
    identity: DataIdentity | None = None,
) -> DataSet:
    """Bin the parts of a data set.

    Args:
        recordings: The recordings.
        binning: How to bin.
        files: Name of each part of own data in messages; None: not own data, so losses are not errors.
        allow_loss: Warn of losses of own data instead of refusing.
        identity: Identity of the recordings; None: computed from them.

    Raises:
        UserError: If the recordings do not fit the binning or lose too many spikes.
    """
    channels = recordings.channels
    binning.stride(channels)  # refuses too many channels before the work starts
    parts: dict[str, Samples] = {}
    for part in (*PARTS, "validation"):
        spikes = getattr(recordings, part)
        if spikes is None:
            continue
        name = files[part] if files else f"{recordings.name} {part}"
        parts[part] = bin_silently(spikes, channels, binning, name=name)
        loss = _loss(spikes, parts[part], channels, binning)
        if loss and files and not allow_loss:
            raise UserError(f"{name}: {loss}, or --allow-loss to train on the rest.")
        if loss and files:
            warnings.warn(f"{name}: {loss}.", stacklevel=3)
        elif parts[part].n_late:
            warnings.warn(
                f"{name}: {parts[part].n_late} of {len(spikes.times)} spikes come at or after "
                f"{binning.duration} s and were dropped.",
                stacklevel=3,
            )
    kept = parts.pop("validation", None)
    if kept is not None:
        parts["train"] = _joined(parts["train"], kept)
    fingerprint = "".join(parts[part].fingerprint()[:8] for part in PARTS)
    if kept is not None:
        fingerprint = hashlib.sha256(f"{fingerprint} {len(kept)}".encode()).hexdigest()[:16]
    identity = replace(identity or DataIdentity.of(recordings), name=recordings.name)
    return DataSet(
        recordings.name,
        recordings.classes,
        parts["train"],
        parts["test"],
        fingerprint,
        channels,
        identity,
        0 if kept is None else len(kept),
    )


def _joined(first: Samples, second: Samples) -> Samples:
    """The samples of two parts, one after the other; speakers are kept if both parts have them."""
    speakers = None
    if first.speakers is not None and second.speakers is not None:
        speakers = np.concatenate([first.speakers, second.speakers])
    events = EventBatch(
        np.concatenate([first.events.steps, second.events.steps]),
        np.concatenate([first.events.starts, second.events.starts + len(first.events.steps)]),
        first.events.steps_in,
    )
    counts = ("n_late", "n_recorded", "n_cut", "n_thinned", "n_kept")
    return Samples(
        events,
        np.concatenate([first.labels, second.labels]),
        speakers,
        **{name: getattr(first, name) + getattr(second, name) for name in counts},
    )


def _loss(spikes: Recordings, samples: Samples, channels: int, binning: Binning) -> str:
    """A message about losses above `MOST_LOST` with a remedy; empty if there is nothing to say."""
    count, window = len(spikes.times), binning.steps_in * binning.dt
    if samples.n_cut > MOST_LOST * count:
        lengths = np.diff(spikes.offsets)
        first = spikes.times[spikes.offsets[:-1][lengths > 0]]
        begin = float(np.median(first))
        middle = float(np.median(spikes.times - np.repeat(first, lengths[lengths > 0]))) / window
        unit = "us" if middle > LIKE_US else "ms" if middle > LIKE_MS else ""
        if unit:
            remedy = f"the times look like {unit}: give --time-unit {unit}"
        elif begin > MOST_LOST * window:
            remedy = f"half of the recordings begin after {begin:g} s: give --start first-event"
        else:
            remedy = "give more --steps, a longer --dt or a longer --duration"
        return (
            f"{samples.n_cut} of {count} spikes come after the {binning.steps_in} steps of {binning.dt:g} s "
            f"that are kept; {remedy}"
        )
    if channels != CHANNELS and samples.n_thinned > MOST_LOST * count:
        like_shd = f" (or --channels {CHANNELS} if these have SHD's)" if channels < CHANNELS else ""
        return (
            f"{samples.n_thinned} of {count} spikes are of channels that are not kept: n_in {binning.n_in} keeps "
            f"one in {binning.stride(channels)} of the {channels} channels; give --n-in {channels}{like_shd}"
        )
    return ""


def is_named(source: str | Path) -> bool:
    """Whether a source is a data set known by name rather than a folder of own data."""
    return str(source).lower() in NAMED_SETS or is_heartbeat(str(source))


def absolute(source: str) -> str:
    """A folder's absolute path; names of data sets stay as they are."""
    return source if source in NAMED_SETS or is_heartbeat(source) else str(Path(source).resolve())


def _honest_name(source: str, recordings: RecordingSplits) -> str:
    """Name the official files ``shd`` wherever they are, and no others in a folder of that name."""
    if source in NAMED_SETS or is_heartbeat(source):
        return recordings.name
    if all(len(getattr(recordings, part)) == SHD_COUNTS[part] for part in PARTS) and all(
        _is_official(_file(Path(source), f"shd_{part}.h5")) for part in PARTS
    ):
        return "shd"
    return "shd-unofficial" if recordings.name == "shd" else recordings.name


def _is_official(file: Path) -> bool:
    return file.is_file() and (file.name not in SHD_MD5 or digest_file(file).md5 == SHD_MD5[file.name])


def _file(folder: Path, stem: str) -> Path:
    return folder / stem if (folder / stem).is_file() else folder / f"{stem}.gz"


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
        # version 0.2 recorded none; the spikes are the same, because the folder is named after them
        elif '"identity"' not in (target / "set.json").read_text():
            write_file(target / "set.json", json.dumps(_about(data)))
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
    write_file(folder / "set.json", json.dumps(_about(data)))


def _about(data: DataSet) -> dict[str, Any]:
    about: dict[str, Any] = {"name": data.name, "classes": data.classes, "fingerprint": data.fingerprint}
    about |= {"steps_in": data.train.events.steps_in, "n_late": [data.train.n_late, data.test.n_late]}
    about |= {"channels": data.channels, "identity": data.identity and data.identity.plain()}
    return about | ({"n_validation": data.n_validation} if data.n_validation else {})


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
        return DataSet(
            about["name"],
            about["classes"],
            parts["train"],
            parts["test"],
            about["fingerprint"],
            about.get("channels", CHANNELS),
            DataIdentity(**found) if (found := about.get("identity")) else None,
            about.get("n_validation", 0),
        )
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{folder} holds no complete set of binned events ({error}); remove the folder."
        ) from error
