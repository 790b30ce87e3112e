"""Own event recordings: a folder or .zip with one folder per class, in the formats that cameras and libraries write.

    train/<class>/*, test/<class>/*      at any depth; or <class>/* alone, where one recording in five becomes a test
    recording

| file | what |
|---|---|
| .bin | N-MNIST's five bytes per event, of any sensor (N-Caltech101, N-Cars converted) |
| .aedat, .aedat4 | AEDAT 2 (DVS128), 3 and 4 |
| .npy | a structured array with the fields t, x, y, p |
| .npz | arrays t, x, y, p |
| .csv | a header that names t, x, y, p in any order; separated by commas, semicolons or blanks |

The clock of every recording begins with its first event, the last, incomplete frame is kept, and no event is filtered
unless asked for. The ten classes of CIFAR10-DVS are treated as that data set: down-sampled by 4, noise filtered, and
the first nine tenths of each class by file number train. Files are read one by one and are never all in memory.
"""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from reprokit import UserError, progress, read_aedat
from reprokit.data.loss import kept_line
from reprokit.data.subset import choose
from reprokit.files.reading import array_of, guarded
from reprokit.readers.dvs import OBJECTS
from reprokit.readers.members import members
from reprokit.readers.nmnist import decode_nmnist
from reprokit.types import Recording, TimeUnit

SUFFIXES = (".bin", ".aedat", ".aedat4", ".npy", ".npz", ".csv")
LARGEST_SIDE = 2048  # pixels
FAR = 4  # times the median of the recordings' largest addresses: anything beyond is damage
TEST_SHARE = 5
_US = {"us": 1, "ms": 1_000, "s": 1_000_000}
_SPLIT = re.compile(r"(?:^|/)(train|test)/([^/]+)/[^/]+$", re.IGNORECASE)
_NAMES = {
    "t": ("t", "time", "timestamp", "ts", "t_us", "timestamp_us", "time_us"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "pol", "polarity", "on"),
}


@dataclass(frozen=True)
class Kept:
    """How much of own data was kept: the arguments of `reprokit.data.loss.kept_line`."""

    name: str
    what: str
    kept: int
    total: int
    cause: str
    remedy: str

    def line(self, allow_loss: bool) -> str:
        """Say it; a loss above 5 % is refused, or causes a warning if it is allowed."""
        return kept_line(
            self.name, self.what, self.kept, self.total, cause=self.cause, remedy=self.remedy, allow_loss=allow_loss
        )  # fmt: skip


Note = str | Kept
PATH = "{path}"  # placeholder in notes for the folder, which may have moved when its prepared frames are found again


def told(notes: Iterable[Note], path: str, allow_loss: bool) -> list[str]:
    """Return the notes on the folder, one line each; refuse losses that are not allowed."""
    return [
        note.replace(PATH, path) if isinstance(note, str)
        else replace(note, name=note.name.replace(PATH, path)).line(allow_loss)
        for note in notes
    ]  # fmt: skip


@dataclass(frozen=True)
class RecordingFiles:
    """Recordings of one part, read on demand.

    Args:
        read: Reads a file by its name.
        names: The files.
        labels: int64 (recording,).
        events: int64 (recording,), their numbers of events.
    """

    read: Callable[[str], Recording]
    names: tuple[str, ...]
    labels: np.ndarray
    events: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Recording:
        """Return t (us), x, y and p of recording `index`."""
        return self.read(self.names[index])

    def take(self, index: np.ndarray) -> RecordingFiles:
        """Return some of the recordings."""
        return replace(
            self,
            names=tuple(self.names[k] for k in index),
            labels=self.labels[index],
            events=self.events[index],
        )


@dataclass(frozen=True)
class OwnRecordings:
    """A training and a test set of own recordings, as `reprokit.EventSplits` describes one.

    Args:
        train: Training recordings.
        test: Test recordings.
        sensor: (height, width).
        name: Name of the folder.
        class_names: One name a class.
        notes: How the folder was interpreted and what was kept.
    """

    train: RecordingFiles
    test: RecordingFiles
    sensor: tuple[int, int]
    name: str
    class_names: tuple[str, ...]
    notes: tuple[Note, ...]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def is_recording_folder(names: Sequence[str]) -> bool:
    """Tell whether the files of a folder or .zip are event recordings in class folders."""
    return any(PurePosixPath(name).suffix.lower() in SUFFIXES and "/" in name for name in names)


def like_cifar10_dvs(names: Sequence[str]) -> bool:
    """Tell whether the class folders are those of CIFAR10-DVS."""
    return {PurePosixPath(name).parent.name for name in _files(names)} == set(OBJECTS)


@contextmanager
def own_recordings(
    path: Path, *, sensor: tuple[int, int] | None = None, unit: TimeUnit = "us", allow_loss: bool = False
) -> Iterator[OwnRecordings]:
    """Scan a folder or .zip of own recordings; they can be read inside the `with` block.

    Args:
        path: The folder or .zip.
        sensor: (height, width); None: as far as the largest addresses.
        unit: Unit of the times in .npy, .npz and .csv files.
        allow_loss: Whether more than 5 % of the recordings may be empty or lie in no class folder.

    Raises:
        UserError: A part without recordings, a class that only the test set has, a damaged or unknown file,
            addresses beyond the sensor, or a single recording whose addresses are far beyond those of the others.
    """
    with ExitStack() as stack:
        with guarded(path, "a folder or .zip of event recordings"):
            names, read_bytes = stack.enter_context(members(path))
        files = _files(names)
        reader = _Reader(path, read_bytes, sensor, unit)
        chosen = [(match[1].lower(), match[2], name) for name in files if (match := _SPLIT.search(name))]
        whole = {"train", "test"} - {split for split, _, _ in chosen}
        if whole:
            chosen = [("train", PurePosixPath(name).parent.name, name) for name in files if "/" in name]
            _check_depth(path, [name for _, _, name in chosen])
        if not chosen:
            raise UserError(
                f"{path}: has no recordings in class folders; expected train/<class>/ and test/<class>/, or "
                f"<class>/, with {', '.join(SUFFIXES)} files."
            )
        classes = _class_order({name for split, name, _ in chosen if split == "train"})
        if len(classes) < 2:
            raise UserError(
                f"{path}: all recordings are of the class {classes[0]!r}; give at least two classes."
            )
        for _, name, file in chosen:
            if name not in classes:
                raise UserError(f"{path}/{file}: the training set has no class {name!r}; give both the same.")
        chosen.sort(key=lambda entry: (PurePosixPath(entry[2]).name, entry[2]))
        notes: list[Note] = []
        cause, remedy = "lie in no class folder of train/ and test/", "move them there or remove them"
        _note(notes, Kept(PATH, "files", len(chosen), len(files), cause, remedy), path, allow_loss)
        parts = {}
        for split in ("train",) if whole else ("train", "test"):
            own = [(file, classes.index(name)) for part, name, file in chosen if part == split]
            parts[split] = _scan(reader, own, split, notes, allow_loss)
        if whole:
            parts = _divided(parts["train"], like_cifar10_dvs(names), path, notes)
        found = sensor or reader.sensor(str(path))
        notes.append(
            f"{PATH}: {len(classes)} classes ({_listed(classes)}), sensor of {found[0]} x {found[1]} pixels"
        )
        yield OwnRecordings(
            parts["train"], parts["test"], found, path.resolve().stem, tuple(classes), tuple(notes)
        )


def _check_depth(path: Path, files: Sequence[str]) -> None:
    """Refuse folders if it is not clear which of them are the classes."""
    folders = sorted({PurePosixPath(name).parent.parent for name in files})
    if len(folders) > 1:
        raise UserError(
            f"{path}: recordings lie in folders of {folders[0]} and of {folders[-1]}, so it is not clear "
            "which are the classes; expected <class>/ with recordings, or train/<class>/ and test/<class>/."
        )


class _Reader:
    """Reads single files and remembers their largest addresses."""

    def __init__(
        self,
        path: Path,
        read_bytes: Callable[[str], bytes],
        sensor: tuple[int, int] | None,
        unit: TimeUnit,
    ) -> None:
        self.path, self.read_bytes, self.given = path, read_bytes, sensor
        self.unit: TimeUnit = unit
        self.reach: dict[str, tuple[int, int]] = {}  # largest y and x of each file

    def __call__(self, name: str) -> Recording:
        """Return a recording whose clock begins with its first event; a recording without events is empty."""
        where, suffix = f"{self.path}/{name}", PurePosixPath(name).suffix.lower()
        with guarded(Path(where), "an event recording"):
            if suffix in (".aedat", ".aedat4"):
                t, x, y, p = self._aedat(name)
            elif suffix == ".bin":
                data = self.read_bytes(name)
                t, x, y, p = decode_nmnist(data, where, None) if data else _nothing()
            else:
                t, x, y, p = _columns(self.read_bytes(name), suffix, where, self.unit)
        if not len(t):
            return _nothing()
        self.reach[name] = int(y.max()), int(x.max())
        side = max(self.reach[name])
        if self.given is None and side >= LARGEST_SIDE:
            raise UserError(
                f"{where}: an event is at {side}, but no sensor has more than {LARGEST_SIDE} pixels a side; repair it."
            )
        return t - t[0], x, y, p

    def _aedat(self, name: str) -> Recording:
        path = self.path / name
        if path.is_file():
            return self._read_aedat(path)
        with tempfile.TemporaryDirectory() as folder:  # out of a .zip
            path = Path(folder) / PurePosixPath(name).name
            path.write_bytes(self.read_bytes(name))
            return self._read_aedat(path)

    def _read_aedat(self, path: Path) -> Recording:
        with path.open("rb") as file:
            upwards = file.read(12) == b"#!AER-DAT3.0"  # rows are flipped at the height of the sensor
        if self.given is not None:
            return read_aedat(path, sensor=self.given)
        return read_aedat(path) if upwards else read_aedat(path, sensor=(LARGEST_SIDE, LARGEST_SIDE))

    def sensor(self, where: str) -> tuple[int, int]:
        """Return the smallest sensor that holds all events."""
        reach = np.array(list(self.reach.values()))
        for axis, letter in enumerate("yx"):
            largest, middle = reach[:, axis].max(), np.median(reach[:, axis])
            if largest + 1 > FAR * (middle + 1):
                file = list(self.reach)[int(reach[:, axis].argmax())]
                raise UserError(
                    f"{where}/{file}: reaches {letter} = {largest}, half of the recordings only {middle:g}; "
                    "repair it, or give the size of the sensor: --sensor HEIGHT WIDTH."
                )
        height, width = (reach.max(0) + 1).tolist()
        return height, width


def _note(notes: list[Note], note: Kept, path: Path, allow_loss: bool) -> None:
    """Record what was kept; refuse a loss that is not allowed at once, before hours of work."""
    if not allow_loss:
        told([note], str(path), allow_loss)
    notes.append(note)


def _files(names: Sequence[str]) -> list[str]:
    hidden = re.compile(r"(^|/)(\.|__MACOSX/)")
    return [
        name
        for name in sorted(names)
        if PurePosixPath(name).suffix.lower() in SUFFIXES and not hidden.search(name)
    ]


def _scan(
    reader: _Reader, files: list[tuple[str, int]], split: str, notes: list[Note], allow_loss: bool
) -> RecordingFiles:
    """Read every file once, to find damage before anything is written and to leave out empty recordings."""
    lengths = [len(reader(name)[0]) for name, _ in progress(files, description=f"{reader.path} {split}")]
    kept = [k for k, length in enumerate(lengths) if length]
    note = Kept(f"{PATH} {split}", "recordings", len(kept), len(files), "hold no events", "remove them")
    _note(notes, note, reader.path, allow_loss)
    if not kept:
        raise UserError(f"{reader.path}: no {split} recording holds an event; check the folder.")
    return RecordingFiles(
        reader,
        tuple(files[k][0] for k in kept),
        np.array([files[k][1] for k in kept], np.int64),
        np.array([lengths[k] for k in kept], np.int64),
    )


def _divided(
    part: RecordingFiles, as_cifar: bool, where: Path, notes: list[Note]
) -> dict[str, RecordingFiles]:
    """Set aside recordings of every class as the test set."""
    if as_cifar:
        number = np.array(
            [int("".join(re.findall(r"\d", PurePosixPath(name).stem)) or 0) for name in part.names]
        )
        order = np.lexsort((number, part.labels))
        first = np.concatenate(
            [
                own[: -max(1, len(own) // 10)]
                for own in np.split(order, np.cumsum(np.bincount(part.labels))[:-1])
            ]
        )
        held, how = np.setdiff1d(order, first), "the last tenth of each class by file number"
    else:
        size = max(len(part) // TEST_SHARE, 1)
        held = choose(
            part.labels, size, seed=0, option=f"{where}: a fifth of the recordings, without a test/ folder,"
        )
        first, how = np.setdiff1d(np.arange(len(part)), held), "the same share of each class"
    parts = {"train": part.take(np.sort(first)), "test": part.take(np.sort(held))}
    for name, found in parts.items():
        if len(np.unique(found.labels)) < len(np.unique(part.labels)):
            raise UserError(
                f"{where}: a class has too few recordings for a {name} set; add some, or a test/ folder."
            )
    notes.append(f"{PATH}: no train/ and test/ folders; {len(held)} recordings, {how}, are the test set")
    return parts


def _columns(data: bytes, suffix: str, where: str, unit: TimeUnit) -> Recording:
    """Return t (us), x, y, p of a .npy, .npz or .csv file."""
    if suffix == ".csv":
        found = _table(data, where)
    else:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        names = loaded.files if suffix == ".npz" else array_of(loaded).dtype.names
        if names is None:
            raise UserError(
                f"{where}: is {loaded.dtype} {loaded.shape}; give a structured array with the fields t, x, y, p, so "
                "that the order of the columns is certain."
            )
        found = {name: np.asarray(loaded[name]).reshape(-1) for name in names}
    columns = {}
    for letter, names in _NAMES.items():
        fitting = [name for name in found if name.strip().lower() in names]
        if len(fitting) != 1:
            raise UserError(
                f"{where}: names {', '.join(found) or 'nothing'}; one column each must be t, x, y and p."
            )
        columns[letter] = found[fitting[0]]
    if len({len(column) for column in columns.values()}) > 1:
        raise UserError(
            f"{where}: has {', '.join(f'{len(c)} {n}' for n, c in columns.items())}; give as many of each."
        )
    t = _times(columns["t"], unit, where)
    x, y, p = (_integers(columns[letter], letter, where) for letter in "xyp")
    if len(p) and p.min() == -1 and not (p == 0).any():
        p = (p + 1) // 2
    for letter, column, largest in (("x", x, 1 << 15), ("y", y, 1 << 15), ("p", p, 2)):
        if len(column) and not 0 <= column.min() <= column.max() < largest:
            allowed = "0 and 1, or -1 and 1" if letter == "p" else f"0 to {LARGEST_SIDE - 1}"
            raise UserError(
                f"{where}: {letter} goes from {column.min()} to {column.max()}; allowed: {allowed}."
            )
    backwards = np.flatnonzero(np.diff(t) < 0)
    if len(backwards):
        k = int(backwards[0]) + 1
        raise UserError(
            f"{where}: event {k} at {t[k]} us comes after one at {t[k - 1]} us; sort the events by time."
        )
    return t, x.astype(np.int16), y.astype(np.int16), p.astype(np.int8)


def _table(data: bytes, where: str) -> dict[str, np.ndarray]:
    """Read a .csv file with a header into columns."""
    text = data.decode("utf-8-sig")
    head, _, body = text.lstrip().partition("\n")
    delimiter = next((mark for mark in (",", ";", "\t") if mark in head), " ")
    names = next(csv.reader([head.strip()], delimiter=delimiter, skipinitialspace=True))
    if any(re.fullmatch(r"\s*[-+.\d]+\s*", name) for name in names):
        raise UserError(
            f"{where}: the first line is {head.strip()[:40]!r}; it must name the columns: t, x, y, p."
        )
    if not body.strip():
        return {name: np.zeros(0) for name in names}
    rows = np.loadtxt(
        io.StringIO(body), np.float64, delimiter=None if delimiter == " " else delimiter, ndmin=2
    )
    if rows.shape[1] != len(names):
        raise UserError(f"{where}: rows have {rows.shape[1]} values, the header names {len(names)} columns.")
    return dict(zip(names, rows.T, strict=True))


def _times(t: np.ndarray, unit: TimeUnit, where: str) -> np.ndarray:
    """Return times in whole microseconds."""
    if t.dtype.kind not in "iuf" or not np.isfinite(t).all():
        raise UserError(f"{where}: t is {t.dtype} or not finite; give numbers.")
    if unit == "us" and t.dtype.kind == "f" and (t != np.floor(t)).any():
        raise UserError(
            f"{where}: t has fractions of a microsecond; give its unit: --time-unit s or --time-unit ms."
        )
    if t.dtype.kind == "f" or unit != "us":
        t = np.round(
            (t - t[:1]).astype(np.float64) * _US[unit]
        )  # relative to the first event, so that no digits are lost
    return t.astype(np.int64)


def _integers(column: np.ndarray, letter: str, where: str) -> np.ndarray:
    whole = column.astype(np.int64) if column.dtype.kind in "biuf" and np.isfinite(column).all() else None
    if whole is None or (whole != column).any():
        raise UserError(
            f"{where}: {letter} is {column.dtype} with values that are not whole numbers; give whole numbers."
        )
    return whole


def _nothing() -> Recording:
    return np.zeros(0, np.int64), np.zeros(0, np.int16), np.zeros(0, np.int16), np.zeros(0, np.int8)


def _class_order(names: set[str]) -> list[str]:
    """Sort class names, numerically when all are numbers."""
    return sorted(names, key=int) if all(re.fullmatch("[0-9]+", name) for name in names) else sorted(names)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) <= 8 else [*names[:3], "...", names[-1]])
