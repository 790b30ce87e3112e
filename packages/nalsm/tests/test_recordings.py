"""Your own event recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nalsm import Config, Run, load_event_arrays, save_event_arrays
from nalsm.data.loading import EventRecordings, RateImages, load_dataset
from reprokit import EventSet, EventSplits, UserError


def recordings(count: int, seed: int) -> dict[str, np.ndarray]:
    """Return recordings of two classes: class 1 has its events on the right half of a 6 x 10 sensor."""
    stream = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    length = stream.integers(200, 400, count)
    offsets = np.concatenate([[0], np.cumsum(length)])
    x = stream.integers(0, 5, offsets[-1]) + 5 * np.repeat(labels, length)
    t = np.concatenate([np.sort(stream.integers(0, 120_000, n)) for n in length])
    y, p = stream.integers(0, 6, offsets[-1]), stream.integers(0, 2, offsets[-1])
    return {"t": t, "x": x, "y": y, "p": p, "offsets": offsets, "labels": labels}


def test_own_recordings_make_a_run(tmp_path: Path) -> None:
    file = save_event_arrays(
        tmp_path / "my events" / "own.npz", recordings(36, 0), recordings(20, 1), (6, 10)
    )
    loaded = load_event_arrays(file)
    assert (loaded.sensor, len(loaded.train), loaded.classes) == ((6, 10), 36, 2)
    config = Config(
        data=str(file), dims=(4, 4, 4), duration=120, record=0, readout="ridge", initial_samples=40
    )
    run = Run(tmp_path / "run", config)
    assert isinstance(run.data, EventRecordings)
    assert (run.data.inputs, run.data.span) == (120, 120)
    assert run.data.notes[0] == "own train: 10858 of 10858 events kept"
    assert run.train()["test_accuracy"] > 0.8


def test_npz_of_images_stays_images(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(1, 255, (12, 5, 5)).astype(np.uint8)
    file = tmp_path / "images.npz"
    labels = np.arange(12) % 3
    np.savez(file, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    assert isinstance(load_dataset(str(file)), RateImages)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.int64(10)}, "recording 0: x is 10; allowed is 0 to 9"),
        ({"y": np.int64(-1)}, "recording 0: y is -1"),
        ({"p": np.int64(2)}, "recording 0: p is 2; allowed is 0 to 1"),
        ({"t": np.int64(10**6)}, "recording 0: times must be 0 or more and sorted"),
        ({"labels": np.int64(-3)}, "labels are needed"),
        ({"offsets": np.int64(5)}, "offsets must be 5 numbers from 0"),
    ],
)
def test_bad_values_are_named_and_nothing_is_written(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    train = recordings(4, 0)
    for column, value in change.items():
        train[column] = train[column].copy()
        train[column][0] = value
    with pytest.raises(UserError, match=message):
        save_event_arrays(tmp_path / "own.npz", train, recordings(4, 1), (6, 10))
    assert not list(tmp_path.iterdir())


def test_bad_shapes_and_files_are_named(tmp_path: Path) -> None:
    good = recordings(4, 0)
    for change, message in (
        ({"x": good["x"][:-1]}, "x has"),
        ({"x": good["x"].astype(float)}, "x is float64"),
        ({"offsets": good["offsets"][:-1]}, "offsets must be"),
    ):
        with pytest.raises(UserError, match=message):
            save_event_arrays(tmp_path / "own.npz", good | change, good, (6, 10))
    with pytest.raises(UserError, match="lacks labels"):
        save_event_arrays(tmp_path / "own.npz", {k: good[k] for k in good if k != "labels"}, good, (6, 10))
    np.savez(tmp_path / "part.npz", train_t=good["t"])
    with pytest.raises(UserError, match=r"part\.npz: lacks train_x"):
        load_dataset(str(tmp_path / "part.npz"))
    (tmp_path / "torn.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"torn\.zip"):
        load_dataset(str(tmp_path / "torn.zip"))


def test_whole_n_mnist_is_split_as_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings come in MNIST's order: the first 50,000 of 60,000 train, the others validate."""
    empty = np.zeros(0, np.int64)

    def silent(count: int) -> EventSet:
        return EventSet(empty, empty, empty, empty, np.zeros(count + 1, np.int64), np.arange(count) % 10)

    splits = EventSplits(silent(60_000), silent(10), (34, 34), "n-mnist", tuple("0123456789"))
    monkeypatch.setattr("nalsm.data.loading.load_events", lambda _: splits)
    data = load_dataset("n-mnist")
    assert isinstance(data, EventRecordings)
    np.testing.assert_array_equal(data.index["train"], np.arange(50_000))
    np.testing.assert_array_equal(data.index["validation"], np.arange(50_000, 60_000))
