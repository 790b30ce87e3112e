"""Event-camera recordings in one shape, as in N-MNIST."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reprokit.errors import UserError

Recording = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # t (us), x, y, p of one recording


@dataclass(frozen=True)
class EventSet:
    """Events of many recordings, concatenated; recording i owns ``offsets[i]:offsets[i + 1]``.

    Args:
        t: int64 (event,), microseconds from the start of the recording, ascending within one.
        x: int16 (event,), column from 0.
        y: int16 (event,), row from 0, downwards.
        p: int8 (event,), polarity: 1 brighter (ON), 0 darker (OFF).
        offsets: int64 (recording + 1,), from 0 to the number of events.
        labels: int64 (recording,), from 0.
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Recording:
        """Return t (us), x, y and p of recording `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"recording {index} of {len(self)}")
        window = slice(self.offsets[index], self.offsets[index + 1])
        return self.t[window], self.x[window], self.y[window], self.p[window]

    @classmethod
    def join(cls, recordings: Iterable[tuple[Recording, int]]) -> "EventSet":
        """Concatenate single recordings.

        Args:
            recordings: (t, x, y, p) and label of each; at least one.
        """
        found = list(recordings)
        labels = [label for _, label in found]
        lengths = [len(recording[0]) for recording, _ in found]
        t, x, y, p = (np.concatenate([recording[column] for recording, _ in found]) for column in range(4))
        return cls(
            t.astype(np.int64, copy=False),
            x.astype(np.int16, copy=False),
            y.astype(np.int16, copy=False),
            p.astype(np.int8, copy=False),
            np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int64),
            np.array(labels, np.int64),
        )


@dataclass(frozen=True)
class EventSplits:
    """A training and a test set of event recordings.

    Args:
        train: The training recordings.
        test: The test recordings.
        sensor: (height, width) in pixels.
        name: The data set really used, as it goes into a ledger row.
        class_names: One name per class; labels index it.
    """

    train: EventSet
    test: EventSet
    sensor: tuple[int, int]
    name: str
    class_names: tuple[str, ...]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def load_events(source: str | Path) -> EventSplits:
    """Load an event-camera data set.

    Args:
        source: A catalogue name (``n-mnist``, ``dvs-gesture``, ``cifar10-dvs``), the embedded
            ``digits-events``, a folder or .zip of N-MNIST files (``Train/<digit>/*.bin``,
            ``Test/<digit>/*.bin``), or a folder of DVS128 Gesture's AEDAT files (``trials_to_train.txt``).

    Returns:
        The two splits. `name` is the catalogue name, or the stem of the path.

    Raises:
        UserError: Unknown source, missing or damaged files.
    """
    known = _known()
    if isinstance(source, str) and source.lower() in known:
        return known[source.lower()]()
    path = Path(source)
    if not path.exists():
        raise UserError(
            f"unknown event source {str(source)!r}: neither a path that exists nor one of {', '.join(known)}"
        )
    if (path / "trials_to_train.txt").is_file():
        from reprokit.readers.dvs import read_dvs_gesture

        return read_dvs_gesture(path)
    from reprokit.readers.nmnist import read_nmnist

    return read_nmnist(path)


def _known() -> dict[str, Callable[[], EventSplits]]:
    """Return the loader of every event data set known by name."""
    from reprokit.embedded.digits_events import digits_events
    from reprokit.readers import dvs, nmnist

    return {
        "n-mnist": nmnist.load_nmnist,
        "dvs-gesture": dvs.load_dvs_gesture,
        "cifar10-dvs": dvs.load_cifar10_dvs,
        "digits-events": digits_events,
    }
