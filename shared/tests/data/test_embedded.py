"""Embedded data: offline, deterministic, and as hard or easy as they claim."""

import hashlib

import numpy as np
import pytest
import reprokit as rk
from reprokit.embedded import spoken_toy
from reprokit.embedded.digits import digit_levels
from reprokit.readers.nmnist import decode_nmnist, encode_nmnist

try:
    from sklearn.datasets import load_digits as sklearn_digits
    from sklearn.linear_model import RidgeClassifier
except ImportError:
    sklearn_digits = RidgeClassifier = None
needs_sklearn = pytest.mark.skipif(RidgeClassifier is None, reason="compares with scikit-learn")


def digest(*arrays: np.ndarray) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def test_digits():
    digits = rk.load_images("digits")
    assert digits.train.images.shape == (1437, 1, 8, 8)
    assert digits.test.images.shape == (360, 1, 8, 8)
    assert digits.train.images.max() == 255
    assert np.bincount(digits.test.labels).min() > 30
    assert digest(digits.train.images, digits.train.labels) == "e04a88bba1e6e7d7"


@needs_sklearn
def test_digits_are_scikit_learns_byte_for_byte():
    for ours, theirs in zip(digit_levels(), sklearn_digits(return_X_y=True), strict=True):
        assert (ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes())


@pytest.fixture(scope="module")
def moved() -> rk.EventSplits:
    return rk.load_events("digits-events")


def test_digits_events_are_the_same_everywhere(moved):
    train = moved.train
    assert digest(train.t, train.x, train.y, train.p, train.offsets) == "d93469f28a434d72"


def test_digits_events_have_the_geometry_of_nmnist(moved):
    for part, count in ((moved.train, 1437), (moved.test, 360)):
        assert len(part) == count
        assert (part.x.min(), part.y.min()) >= (0, 0)
        assert part.x.max() < moved.sensor[1] == 34
        assert part.y.max() < moved.sensor[0] == 34
        assert set(np.unique(part.p)) == {0, 1}
        assert 280_000 < part.t.max() < 300_000
        assert np.diff(part.offsets).min() > 500
    for index in range(0, 1437, 97):
        encoded = encode_nmnist(*moved.train[index])
        decoded = decode_nmnist(encoded, "recording")  # refuses time that runs back
        assert all(np.array_equal(one, other) for one, other in zip(decoded, moved.train[index], strict=True))


@needs_sklearn
def test_each_saccade_moves_its_own_way_and_shows_the_digit(moved):
    train, test = _maps(moved.train), _maps(moved.test)  # (recording, saccade, polarity, row, column)
    for saccade in range(3):
        readout = RidgeClassifier().fit(train[:500, saccade].reshape(500, -1), moved.train.labels[:500])
        assert readout.score(test[:, saccade].reshape(len(test), -1), moved.test.labels) > 0.8
    balance = train.mean(axis=0)
    difference = balance[:, 1] - balance[:, 0]
    directions = difference.reshape(3, -1) / np.linalg.norm(difference.reshape(3, -1), axis=1, keepdims=True)
    assert np.abs((directions @ directions.T)[np.triu_indices(3, 1)]).max() < 0.95


def _maps(part: rk.EventSet) -> np.ndarray:
    """Count events per saccade, polarity and 2 x 2 pixels: (recording, 3, 2, 17, 17)."""
    maps = np.zeros((len(part), 3, 2, 17, 17))
    sample = np.repeat(np.arange(len(part)), np.diff(part.offsets))
    np.add.at(maps, (sample, part.t // 100_000, part.p.astype(int), part.y // 2, part.x // 2), 1)
    return np.log1p(maps)


def test_toy_is_the_same_everywhere():
    toy = rk.load_recordings("spoken-toy")
    assert digest(toy.train.times, toy.train.units.astype(np.int64), toy.train.labels) == "60e022d0d62ddae6"
    spoken_toy.spoken_toy.cache_clear()
    assert np.array_equal(rk.load_recordings("spoken-toy").test.times, toy.test.times)


def test_toy_has_the_layout_of_shd(tmp_path):
    toy = rk.load_recordings("spoken-toy")
    assert (len(toy.train), len(toy.test), toy.channels, toy.classes) == (400, 200, 700, 10)
    assert np.bincount(toy.train.labels).tolist() == [40] * 10
    for split, part in (("train", toy.train), ("test", toy.test)):
        rk.write_shd(tmp_path / f"shd_{split}.h5", part, toy.class_names)
    stored = rk.load_recordings(tmp_path)
    assert np.array_equal(stored.test.units, toy.test.units)
    assert np.abs(stored.test.times - toy.test.times).max() < 5e-4


def binned(part: rk.Recordings, bins: int, groups: int) -> np.ndarray:
    """Spike counts in time bins of up to 0.7 s and groups of channels, one row per recording."""
    counts = np.zeros((len(part), bins, groups))
    sample = np.repeat(np.arange(len(part)), np.diff(part.offsets))
    np.add.at(counts, (sample, (part.times / 0.7 * bins).astype(int), part.units * groups // 700), 1)
    return counts.reshape(len(part), -1)


@needs_sklearn
@pytest.mark.parametrize(
    ("bins", "groups", "low", "high"),
    [(1, 700, 0.0, 0.2), (1, 70, 0.0, 0.2), (20, 1, 0.0, 0.35), (20, 70, 0.7, 1.0)],
    ids=["counts per channel", "counts per group", "counts per time", "counts per channel and time"],
)
def test_toy_needs_both_time_and_channel(bins, groups, low, high):
    toy = rk.load_recordings("spoken-toy")
    readout = RidgeClassifier().fit(binned(toy.train, bins, groups), toy.train.labels)
    assert low <= readout.score(binned(toy.test, bins, groups), toy.test.labels) <= high
