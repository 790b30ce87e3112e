"""Binning, data sets as files, splits and orders."""

from pathlib import Path

import numpy as np
import pytest
from denram.data import loading as dataset
from denram.data.binning import bin_recordings
from denram.data.loading import load_data, open_data, save_data
from denram.data.splits import FaithfulOrder, FixedOrder
from denram.spec import Binning
from hypothesis import given, settings
from hypothesis import strategies as st
from reprokit import Recordings, UserError, load_recordings

GOLDEN = Path(__file__).parent / "golden"


def recordings(times, units, labels=None, speakers=None):
    """Recordings from one list of times and one of units for each sample."""
    offsets = np.cumsum([0, *map(len, times)])
    return Recordings(
        np.concatenate([np.asarray(t, np.float32) for t in times]) if times else np.zeros(0, np.float32),
        np.concatenate([np.asarray(u, np.int64) for u in units]) if units else np.zeros(0, np.int64),
        offsets.astype(np.int64),
        np.zeros(len(times), np.int64) if labels is None else np.asarray(labels),
        speakers,
    )


def test_binning_of_the_original_is_matched_entry_by_entry():
    golden = np.load(GOLDEN / "case0_data.npz")
    raw = Recordings(
        golden["times_concat"].astype(np.float32),
        golden["units_concat"].astype(np.int64),
        golden["offsets"].astype(np.int64),
        golden["labels"].astype(np.int64),
    )
    np.testing.assert_array_equal(Binning().edges, golden["time_bins_s"])
    for n_in in (256, 700, 128, 64):
        for tag, steps in (("trunc", 150), ("full", 280)):
            samples = bin_recordings(raw, 700, Binning(n_in=n_in, steps_in=steps))
            dense = samples.events.dense().transpose(1, 0, 2)
            assert dense.shape == tuple(golden[f"n{n_in}_{tag}_shape"])
            for found, name in zip(np.nonzero(dense), ("sample", "step", "chan"), strict=True):
                np.testing.assert_array_equal(found, golden[f"n{n_in}_{tag}_{name}"])


def dense_by_definition(raw, channels, binning):
    """The dense array straight from the definition, one spike at a time."""
    stride = -(-channels // binning.n_in)
    dense = np.zeros((binning.n_bins, len(raw), binning.n_in), np.uint8)
    for sample in range(len(raw)):
        for time, unit in zip(*raw[sample], strict=True):
            step = int(np.sum(binning.edges <= time))
            if step < binning.n_bins and unit % stride == 0:
                dense[step, sample, unit // stride] = 1
    return dense[: binning.steps_in]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_binning_equals_its_definition_for_any_sizes(data):
    channels = data.draw(st.integers(1, 30))
    binning = Binning(
        n_in=data.draw(st.integers(1, channels)),
        steps_in=data.draw(st.integers(1, 20)),
        dt=0.01,
        duration=0.2,
    )
    spikes = st.lists(st.tuples(st.floats(0, 0.1875, width=32), st.integers(0, channels - 1)), max_size=30)
    samples = data.draw(st.lists(spikes, max_size=4))
    raw = recordings([[t for t, _ in s] for s in samples], [[u for _, u in s] for s in samples])
    events = bin_recordings(raw, channels, binning).events
    np.testing.assert_array_equal(events.dense(), dense_by_definition(raw, channels, binning))


def test_spikes_on_and_after_the_last_edge_are_dropped_and_counted():
    raw = recordings([[0.0, 1.0, np.float16(1.4), 2.0], []], [[0, 1, 2, 3], []])
    with pytest.warns(UserWarning, match=r"here: 2 of 4 spikes come at or after 1\.4 s"):
        samples = bin_recordings(raw, 700, Binning(steps_in=280), name="here")
    assert samples.n_late == 2
    assert samples.events.n_events == 2
    assert samples.events.dense()[1, 0, 0] == 1  # a spike at 0 s falls into step 1: step 0 is always empty


@pytest.mark.parametrize(
    ("times", "units", "message"),
    [
        ([[-0.1]], [[0]], "negative"),
        ([[np.nan]], [[0]], "not a number"),
        ([[0.1]], [[700]], "channel 700"),
        ([[0.1]], [[-1]], "channel -1"),
    ],
)
def test_bad_spikes_are_refused(times, units, message):
    with pytest.raises(UserError, match=message):
        bin_recordings(recordings(times, units), 700, Binning())


def test_a_thousand_samples_need_little_memory_beyond_their_events():
    import tracemalloc

    rng = np.random.default_rng(0)
    raw = recordings(
        [np.sort(rng.uniform(0, 0.7, 2000)) for _ in range(300)],
        [rng.integers(0, 700, 2000) for _ in range(300)],
    )
    tracemalloc.start()
    bin_recordings(raw, 700, Binning())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # dense: 300 * 150 * 700 = 31.5 MB of uint8 alone, 58.8 MB before the truncation


def test_saved_events_come_back_equal(tmp_path):
    data = load_data("spoken-toy", Binning(n_in=100))
    again = open_data(save_data(data, tmp_path))
    assert save_data(data, tmp_path) == save_data(again, tmp_path)
    for part in ("train", "test"):
        assert getattr(again, part).fingerprint() == getattr(data, part).fingerprint()
    assert (again.name, again.classes, again.fingerprint) == (data.name, data.classes, data.fingerprint)
    assert not list(tmp_path.glob(".writing*"))
    with pytest.raises(UserError, match="no complete set"):
        open_data(tmp_path)


def test_fingerprint_tells_data_apart():
    data = load_data("spoken-toy", Binning(n_in=100))
    other = load_data("spoken-toy", Binning(n_in=100, steps_in=149))
    assert data.fingerprint == load_data("spoken-toy", Binning(n_in=100)).fingerprint
    assert data.fingerprint != other.fingerprint


def test_only_the_official_files_are_called_shd(tmp_path, monkeypatch):
    toy = load_recordings("spoken-toy")
    from dataclasses import replace

    named = replace(toy, name="shd")
    assert dataset._honest_name(str(tmp_path), named) == "shd-unofficial"
    assert dataset._honest_name("shd", named) == "shd"
    for part in ("train", "test"):
        (tmp_path / f"shd_{part}.h5.gz").write_bytes(b"bytes")
    monkeypatch.setattr(dataset, "SHD_COUNTS", {"train": len(toy.train), "test": len(toy.test)})
    assert dataset._honest_name(str(tmp_path), named) == "shd-unofficial"
    monkeypatch.setattr(
        dataset, "SHD_MD5", dict.fromkeys(dataset.SHD_MD5, "4b3a6218bb3e3a7303e8a171a60fcf92")
    )  # MD5 of b"bytes"
    assert dataset._honest_name(str(tmp_path), toy) == "shd"


def test_split_and_orders_of_the_original():
    golden = np.load(GOLDEN / "case0_split_seed42.npz")
    order = FaithfulOrder(8156, 2264, seed=42, batch_size=64)
    np.testing.assert_array_equal(order.train, golden["train_idx"])
    np.testing.assert_array_equal(order.validation, golden["val_idx"])
    train, validation = map(np.concatenate, order.epoch(0))
    np.testing.assert_array_equal(train, golden["ep0_train_order"])
    np.testing.assert_array_equal(validation, golden["ep0_val_order"])
    before = order.state()
    np.testing.assert_array_equal(np.concatenate(order.epoch(1)[0]), golden["ep1_train_order_without_test"])
    order.restore(before)
    np.testing.assert_array_equal(np.concatenate(order.test_pass()), golden["ep0_test_order"])
    np.testing.assert_array_equal(np.concatenate(order.epoch(1)[0]), golden["ep1_train_order_after_test"])


def test_dev_13_fixed_validates_on_speakers_it_does_not_train_on():
    speakers = np.repeat(np.arange(10), 37)
    order = FixedOrder(370, 50, speakers, seed=1, batch_size=32, validation=0.2)
    assert not set(speakers[order.train]) & set(speakers[order.validation])
    assert len(order.validation) == 2 * 37
    both = np.sort(np.concatenate([order.train, order.validation]))
    np.testing.assert_array_equal(both, np.arange(370))


@pytest.mark.parametrize("speakers", [None, np.zeros(101, np.int64)])
def test_fixed_splits_by_sample_where_speakers_cannot_be_kept_apart(speakers):
    order = FixedOrder(101, 7, speakers, seed=1, batch_size=32, validation=0.2)
    assert (len(order.train), len(order.validation)) == (81, 20)
    assert not set(order.train) & set(order.validation)


def test_dev_14_fixed_keeps_partial_batches_and_faithful_drops_them():
    fixed = FixedOrder(103, 70, None, seed=1, batch_size=32, validation=0.2)
    train, validation = fixed.epoch(3)
    assert sorted(np.concatenate(train)) == list(fixed.train)
    assert [len(batch) for batch in validation] == [len(fixed.validation)]
    assert len(np.concatenate(fixed.test_pass())) == 70
    np.testing.assert_array_equal(np.concatenate(train), np.concatenate(fixed.epoch(3)[0]))
    assert np.concatenate(train).tolist() != np.concatenate(fixed.epoch(4)[0]).tolist()
    faithful = FaithfulOrder(200, 70, seed=1, batch_size=32)
    assert [len(batch) for batch in faithful.epoch(0)[0]] == [32] * 5
    assert len(np.concatenate(faithful.test_pass())) == 64


def test_too_few_samples_are_refused():
    with pytest.raises(UserError, match="validation set has 20 samples"):
        FaithfulOrder(100, 100, seed=1, batch_size=64)
    with pytest.raises(UserError, match="empty"):
        FixedOrder(1, 10, None, seed=1, batch_size=64, validation=0.2)
    with pytest.raises(UserError, match="test set is empty"):
        FixedOrder(10, 0, None, seed=1, batch_size=64, validation=0.2)
