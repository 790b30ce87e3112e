from pathlib import Path

import numpy as np
import pytest
from dalton.data.sources import OBJECTS, event_source, events_from_tonic, is_event_source
from event_samples import random_events, write_recordings
from reprokit import UserError

KIND = np.dtype([("x", np.int16), ("y", np.int16), ("p", bool), ("t", np.int64)])


class FakeSet:
    """A data set as tonic's: `data` are paths, `targets` classes, items structured events."""

    def __init__(self, paths, targets, side):
        self.data, self.targets, self.side = paths, targets, side

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        t, x, y, p = random_events(np.random.default_rng(index), 5, (self.side,) * 2, 9000)
        events = np.zeros(5, KIND)
        events["t"], events["x"], events["y"], events["p"] = t, x, y, p
        events["t"][0] = int(Path(self.data[index]).stem.split("_")[-1])
        events["t"][1:] += 10_000
        return events, self.targets[index]


def test_kinds_of_sources(tmp_path):
    recordings = write_recordings(tmp_path / "recordings")
    assert is_event_source("n-mnist")
    assert is_event_source("DIGITS-EVENTS")
    assert is_event_source(recordings)
    assert not is_event_source("mnist")
    assert not is_event_source(tmp_path / "nothing")
    assert event_source("dvs-gesture").options().spatial_factor == 0.25
    assert event_source("cifar10-dvs").large_sensor
    assert event_source(recordings).options(500).window_us == 500
    assert event_source(recordings).name == "recordings"


def test_the_fingerprint_follows_the_content_not_the_place(tmp_path):
    first = event_source(write_recordings(tmp_path / "a", seed=1)).fingerprint()
    same = event_source(write_recordings(tmp_path / "b", seed=1)).fingerprint()
    other = event_source(write_recordings(tmp_path / "c", seed=2)).fingerprint()
    assert first == same
    assert first != other


def test_recordings_of_tonic_are_sorted_by_file_name():
    """DEV-12: the original takes them in the order in which the file system lists them."""
    train = FakeSet(["d/3/00007.bin", "d/1/00002.bin", "d/3/00001.bin"], [3, 1, 3], 34)
    test = FakeSet(["d/0/00009.bin"], [0], 34)
    splits = events_from_tonic("n-mnist", [train, test])
    assert splits.train.labels.tolist() == [3, 1, 3]
    assert [int(splits.train[k][0][0]) for k in range(3)] == [1, 2, 7]
    assert splits.sensor == (34, 34)
    assert splits.train.p.dtype == np.int8


def test_cifar10_dvs_of_tonic_is_split_by_number_within_each_class():
    """DEV-12: in whatever order the directory is listed, the first 900 files of a class train."""
    numbers = np.random.default_rng(0).permutation(905)
    paths = [f"{name}/cifar10_{name}_{k}.aedat4" for name in OBJECTS for k in numbers]
    targets = np.repeat(np.arange(10), 905).tolist()
    splits = events_from_tonic("cifar10-dvs", [FakeSet(paths, targets, 128)])
    assert np.bincount(splits.train.labels).tolist() == [900] * 10
    assert np.bincount(splits.test.labels).tolist() == [5] * 10
    assert [int(splits.test[k][0][0]) for k in range(5)] == [900, 901, 902, 903, 904]
    with pytest.raises(UserError, match="has 900 recordings of airplane, expected 1000"):
        events_from_tonic("cifar10-dvs", [FakeSet(paths[:900], targets[:900], 128)])


def test_tonic_reader_needs_a_known_name_and_the_network_or_its_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")
    monkeypatch.setenv("REPROKIT_DATA", str(tmp_path))
    with pytest.raises(
        UserError, match="reader tonic has n-mnist, dvs-gesture, cifar10-dvs, not 'digits-events'"
    ):
        event_source("digits-events", "tonic")
    with pytest.raises(UserError, match="REPROKIT_OFFLINE forbids downloading n-mnist"):
        event_source("n-mnist", "tonic")
    with pytest.raises(UserError, match="reader is 'other'"):
        event_source("n-mnist", "other")  # pyright: ignore[reportArgumentType]


def test_tonic_reader_opens_tonics_data_sets(monkeypatch, tmp_path):
    datasets = pytest.importorskip("tonic.datasets", reason="needs tonic")
    monkeypatch.setenv("REPROKIT_DATA", str(tmp_path))
    folder = tmp_path / "tonic" / "DVSGesture"

    def opened(save_to, train):
        assert save_to == str(tmp_path / "tonic")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "0.npy").write_bytes(b"content")
        return FakeSet(["u/1.npy", "u/0.npy"] if train else ["v/2.npy"], [1, 0] if train else [2], 128)

    monkeypatch.setattr(datasets, "DVSGesture", opened)
    source = event_source("dvs-gesture", "tonic")
    assert len(source.fingerprint()) == 64
    splits = source.load()
    assert splits.train.labels.tolist() == [0, 1]
    assert splits.classes == 11

    def broken(save_to, train):
        raise OSError("no route")

    monkeypatch.setattr(datasets, "DVSGesture", broken)
    with pytest.raises(UserError, match=r"tonic cannot provide dvs-gesture in .*\(no route\)"):
        source.load()


def test_an_unknown_source_is_named():
    with pytest.raises(UserError, match="unknown event source 'nmist'"):
        event_source("nmist")
