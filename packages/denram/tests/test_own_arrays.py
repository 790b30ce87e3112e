"""Own recordings in memory, and unusual files: empty, out of order, with a validation part."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from denram import DataSet, Recordings, TrainConfig, from_arrays, load_data, open_run, train
from denram.data.binning import bin_recordings
from denram.data.loading import open_data, save_data
from denram.data.splits import make_order
from denram.spec import Binning
from reprokit import UserError
from reprokit.load import recording_files

BINNING = Binning(n_in=8, steps_in=20, dt=0.005, duration=0.1)
TONIC = np.dtype([("t", np.int64), ("x", np.int64), ("p", np.int8)])


def pairs(count: int = 8, scale: float = 1.0, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Samples of 12 spikes over 8 channels, out of order."""
    rng = np.random.default_rng(seed)
    return [(rng.uniform(0, 0.09, 12) * scale, rng.permutation(12) % 8) for _ in range(count)]


def structured(times: np.ndarray, units: np.ndarray) -> np.ndarray:
    found = np.ones(len(times), TONIC)
    found["t"], found["x"] = np.rint(times), units
    return found


LABELS = np.arange(8) % 4


def same(a: DataSet, b: DataSet) -> bool:
    return a.fingerprint == b.fingerprint


def test_pairs_structured_arrays_data_sets_and_recordings_are_one(tmp_path):
    microseconds = [(np.rint(1e6 * t), u) for t, u in pairs()]
    plain = from_arrays((microseconds, LABELS), (microseconds, LABELS), BINNING, time_unit="us")
    events = [structured(*sample) for sample in microseconds]
    assert same(plain, from_arrays((events, LABELS), (events, LABELS), BINNING, time_unit="us"))
    tonic = list(zip(events, LABELS.tolist(), strict=True))
    assert same(plain, from_arrays(tonic, tonic, BINNING, time_unit="us"))
    flat = [np.concatenate(part) for part in zip(*microseconds, strict=True)]
    raw = Recordings((flat[0] / 1e6).astype(np.float32), flat[1].astype(np.int32), 12 * np.arange(9), LABELS)
    assert same(plain, from_arrays(raw, raw, BINNING, time_unit="s"))
    assert (plain.channels, plain.classes, plain.train.n_kept) == (8, 4, 96)
    later = [(t + 5e6, u) for t, u in microseconds]
    moved = from_arrays((later, LABELS), (later, LABELS), BINNING, time_unit="us", start="first-event")
    assert moved.train.n_kept == 96


def test_a_run_is_trained_on_arrays(tmp_path):
    data = from_arrays((pairs(), LABELS), (pairs(seed=1), LABELS), BINNING, time_unit="s", name="cochlea")
    config = TrainConfig(n_in=8, n_delays=2, steps=20, duration=0.1, nb_epochs=1, batch_size=4, noise_std=0.0)
    result = train(replace(config, data="cochlea", out=tmp_path / "run"), data)
    assert result.config["data"] == "cochlea"
    assert open_run(tmp_path / "run").stored.config["data_fingerprint"] == data.fingerprint


def test_words_are_classes_and_empty_samples_count():
    words = ["two", "one"] * 4
    samples = [*pairs(7), (np.zeros(0), np.zeros(0))]
    data = from_arrays((samples, words), (pairs(), words), BINNING, time_unit="s")
    assert data.classes == 2
    assert data.train.labels.tolist() == [1, 0] * 4
    assert data.train.events.take(np.array([7])).n_events == 0
    only_in_test = from_arrays((pairs(), LABELS % 2), (pairs(), LABELS), BINNING, time_unit="s")
    assert only_in_test.classes == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_unit": "minutes"}, "'minutes' is unknown; it must be one of s, ms, us"),
        ({"test": (pairs(), LABELS - 1)}, "a label is -1; classes are numbered from 0"),
        ({"test": (pairs(), LABELS + 0.5)}, "labels are float64, int64; give whole numbers from 0, or words"),
        ({"test": (pairs(), LABELS[1:])}, r"own test: has 8 samples and labels of shape \(7,\)"),
        ({"test": 3}, "own test: is int; it must be .samples, labels."),
        ({"test": ([(np.zeros(2), np.zeros(2))], [0])}, "sample 0 has units of float64"),
        ({"test": ([(np.zeros(2), np.zeros(3, int))], [0])}, r"sample 0 has times \(2,\) and units \(3,\)"),
        ({"test": ([(np.array([-1.0]), np.array([0]))], [0])}, "sample 0 has a time of -1 s"),
        (
            {"test": ([(np.array([np.nan]), np.array([0]))], [0])},
            "sample 0 has times that are not finite numbers",
        ),
        ({"test": ([np.zeros(2, [("t", "i8"), ("y", "i8")])], [0])}, "has the fields t, y; it needs t and x"),
        (
            {"test": ([np.array([(0, 1, 0), (1, 1, 1)], TONIC)], [0])},
            "several values of p; give .times, units. with a unit for each x and p",
        ),
        ({"train": (pairs(scale=1e3), LABELS)}, "own train: .* the times look like ms: give --time-unit ms"),
        ({"channels": 4}, "channels run from 0 to 3|n_in is 8, but the data have 4 channels"),
    ],
)
def test_arrays_that_cannot_be_meant_are_one_sentence(change, message):
    given = {"train": (pairs(), LABELS), "test": (pairs(), LABELS), "time_unit": "s"} | change
    with pytest.raises(UserError, match=message):
        from_arrays(given.pop("train"), given.pop("test"), BINNING, **given)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("labels", np.array(["a", "b"]), "labels are <U1; they must be whole numbers"),
        ("labels", np.array([0.0, 1.7]), "labels are float64"),
        ("units", np.array([3.9, -0.5, 0.0]), "units are float64"),
        ("offsets", np.array([0, 2]), r"offsets have shape \(2,\) for 2 labels"),
        ("offsets", np.array([0, 2, 2]), "3 times, 3 units and offsets that end at 2"),
    ],
)
def test_recordings_that_do_not_fit_together_are_refused(field, value, message):
    raw = Recordings(np.zeros(3, np.float32), np.zeros(3, np.int64), np.array([0, 1, 3]), np.array([0, 1]))
    with pytest.raises(UserError, match=message):
        bin_recordings(replace(raw, **{field: value}), 8, BINNING)


@pytest.mark.parametrize("label", [-1, 4])
def test_a_data_set_refuses_labels_that_are_no_classes(label):
    data = from_arrays((pairs(), LABELS), (pairs(), LABELS), BINNING, time_unit="s")
    spoilt = replace(data.test, labels=np.array([0] * 7 + [label]))
    with pytest.raises(UserError, match=f"own test: label {label} of sample 7 is outside the 4 classes"):
        replace(data, test=spoilt)


def write(folder: Path, word: str, **parts: tuple) -> Path:
    """Files in SHD layout: for each part its samples and labels."""
    folder.mkdir(exist_ok=True)
    for part, (samples, labels) in parts.items():
        with h5py.File(folder / f"{word}_{part}.h5", "w") as file:
            for k, name in enumerate(("times", "units")):
                kind = np.float32 if name == "times" else np.uint16
                rows = file.create_dataset(f"spikes/{name}", (len(samples),), h5py.vlen_dtype(kind))
                for index, sample in enumerate(samples):
                    rows[index] = np.asarray(sample[k], kind)
            file["labels"] = np.asarray(labels)
    return folder


def test_files_with_empty_and_unsorted_recordings_are_read(tmp_path):
    samples = [(np.zeros(0), np.zeros(0)), *pairs(6), (np.zeros(0), np.zeros(0))]
    folder = write(tmp_path / "own", "shd", train=(samples, LABELS), test=(pairs(), LABELS))
    for start in ("zero", "first-event"):
        with pytest.warns(UserWarning, match="sorted the spikes") as seen:
            data = load_data(folder, BINNING, start=start)
        said = [str(warning.message) for warning in seen]
        assert ["sorted the spikes of 6 of 8 recordings" in said[0], "of 8 of 8 recordings" in said[1]] == [
            True,
            True,
        ]
        assert data.train.n_kept == 72
        assert data.train.events.take(np.array([0, 7])).n_events == 0


def test_a_validation_file_validates(tmp_path):
    ordered = [tuple(part[np.argsort(t)] for part in (t, u)) for t, u in pairs(16)]
    parts = {
        "train": (ordered[:8], LABELS),
        "valid": (ordered[8:12], LABELS[:4]),
        "test": (ordered[12:], LABELS[:4]),
    }
    folder = write(tmp_path / "own", "ssc", **parts)
    assert recording_files(folder)["validation"] == folder / "ssc_valid.h5"
    data = open_data(save_data(load_data(folder, BINNING), tmp_path / "saved"))
    assert (len(data.train), data.n_validation, data.identity.samples["validation"]) == (12, 4, 4)
    together = from_arrays((ordered[:12], np.r_[LABELS, LABELS[:4]]), parts["test"], BINNING, time_unit="s")
    assert data.train.fingerprint() == together.train.fingerprint()
    assert data.fingerprint != together.fingerprint
    sizes = {"n_train": 12, "n_test": 4, "speakers": None, "seed": 1, "batch_size": 4, "validation": 0.2}
    order = make_order(faithful=False, **sizes, n_validation=data.n_validation)
    assert (order.train.tolist(), order.validation.tolist()) == (list(range(8)), list(range(8, 12)))
    with pytest.raises(UserError, match="faithful profile draws its own from the training samples"):
        make_order(faithful=True, **sizes, n_validation=4)


def test_a_class_of_the_test_file_alone_needs_n_out(tmp_path):
    ordered = [tuple(part[np.argsort(t)] for part in (t, u)) for t, u in pairs()]
    folder = write(tmp_path / "own", "shd", train=(ordered, LABELS % 2), test=(ordered, LABELS))
    with pytest.raises(UserError, match=r"shd_test\.h5: label 2 of recording 2 is outside the 2 classes"):
        load_data(folder, BINNING)
    assert load_data(folder, BINNING, classes=4).classes == 4


def test_several_sets_in_one_folder_are_not_guessed(tmp_path):
    ordered = [tuple(part[np.argsort(t)] for part in (t, u)) for t, u in pairs()]
    for word in ("a", "b"):
        write(tmp_path / "own", word, train=(ordered, LABELS), test=(ordered, LABELS))
    with pytest.raises(UserError, match=r"holds several sets \(a, b\); give each its own folder"):
        load_data(tmp_path / "own", BINNING)
