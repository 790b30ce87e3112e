import json
import logging
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from dalton.data import cache as event_cache
from dalton.data.cache import load_frames
from dalton.data.frames import FrameOptions, frames_of
from dalton.data.sources import EventSource, event_source, events_digest
from event_samples import REAL_DATA, needs_real_data, random_events, splits_of, write_recordings
from reprokit import EventSet, EventSplits, UserError, load_events


def source_of(splits, load=None):
    return EventSource("own", "n-mnist", partial(events_digest, splits), load or (lambda: splits))


def small_splits(seed=0, counts=(60, 200), end=20_000):
    rng = np.random.default_rng(seed)
    return splits_of([random_events(rng, count, (8, 8), end) for count in counts], [0, 1])


def test_cached_frames_are_those_of_the_pipeline(tmp_path):
    splits = small_splits()
    found = load_frames(source_of(splits), folder=tmp_path)
    assert (found.name, found.class_names) == ("own", ("zero", "one"))
    assert found.train.labels.tolist() == [0, 1]
    for index in range(2):
        expected = frames_of(splits.train[index], (8, 8))
        assert found.train.frames[index] == expected.frames
        assert np.array_equal(found.train[index].dense(), expected.dense())


def test_dense_batches_are_windows_padded_with_empty_frames(tmp_path):
    part = load_frames(source_of(small_splits()), folder=tmp_path).train
    whole = [part[index].dense() for index in range(2)]
    batch = part.dense(np.array([1, 0, 1]), np.array([3, 0, 15]), 8)
    assert batch.shape == (8, 3, 2, 8, 8)
    assert batch.dtype == torch.uint8
    for row, (index, start) in enumerate([(1, 3), (0, 0), (1, 15)]):
        expected = np.zeros((8, 2, 8, 8))
        window = whole[index][start : start + 8]
        expected[: len(window)] = window
        assert np.array_equal(batch[:, row].numpy(), expected)


def test_counts_above_255_are_kept(tmp_path):
    t = np.repeat(np.arange(3) * 700, 400)
    many = (t, np.zeros(1200, np.int16), np.arange(1200, dtype=np.int16) % 2, np.zeros(1200, np.int8))
    part = load_frames(source_of(splits_of([many], [0])), folder=tmp_path).train
    assert part.largest == 400
    batch = part.dense(np.array([0]), np.array([0]), 1)
    assert batch.dtype == torch.int32
    assert batch[0, 0, 0, :2, 0].tolist() == [400, 400]


def test_a_second_opening_reads_no_recordings(tmp_path):
    splits = small_splits()
    load_frames(source_of(splits), folder=tmp_path)

    def fail() -> EventSplits:
        raise AssertionError("the recordings were read again")

    again = load_frames(source_of(splits, fail), folder=tmp_path)
    assert len(again.train) == 2


def test_other_content_or_options_are_another_cache(tmp_path):
    load_frames(source_of(small_splits(0)), folder=tmp_path)
    load_frames(source_of(small_splits(1)), folder=tmp_path)
    load_frames(source_of(small_splits(1)), FrameOptions(window_us=2000), tmp_path)
    load_frames(source_of(small_splits(1)), FrameOptions(denoise_us=None), tmp_path)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 4


@pytest.mark.parametrize("damage", ["byte", "cut", "missing", "manifest", "facts"])
def test_a_damaged_cache_is_made_anew(damage, tmp_path, caplog):
    splits = small_splits()
    expected = load_frames(source_of(splits), folder=tmp_path).train[1].dense()
    (store,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    column = store / "train-place"
    content = column.read_bytes()
    if damage == "byte":
        column.write_bytes(content[:9] + bytes([content[9] ^ 1]) + content[10:])
    elif damage == "cut":
        column.write_bytes(content[:-3])
    elif damage == "missing":
        column.unlink()
    else:
        (store / {"manifest": "manifest.json", "facts": "store.json"}[damage]).write_text("{")
    with caplog.at_level(logging.WARNING):
        again = load_frames(source_of(splits), folder=tmp_path)
    assert "damaged and made again" in caplog.text
    assert np.array_equal(again.train[1].dense(), expected)
    assert column.read_bytes() == content


def test_a_large_cache_is_hashed_only_when_it_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(event_cache, "_THOROUGH", 0)
    splits = small_splits()
    load_frames(source_of(splits), folder=tmp_path)
    (store,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    column = store / "train-count"
    content = column.read_bytes()
    column.write_bytes(bytes([content[0] ^ 2]) + content[1:])
    load_frames(source_of(splits), folder=tmp_path)
    assert column.read_bytes() == content


def test_a_killed_writers_leftovers_are_removed(tmp_path):
    splits = small_splits()
    load_frames(source_of(splits), folder=tmp_path)
    (store,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    store.rename(store.with_name(f"{store.name}.tmp-12345"))
    load_frames(source_of(splits), folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [store.name]


CHILD = """
import json, sys
from pathlib import Path
from dalton.data import cache as event_cache
from dalton.data.sources import events_digest
from dalton.data.sources import event_source

built = []
build = event_cache._build
event_cache._build = lambda *arguments: (built.append(1), build(*arguments))
print("ready", flush=True)
sys.stdin.readline()
part = event_cache.load_frames(event_source(sys.argv[1]), folder=Path(sys.argv[2])).train
print(json.dumps([len(built), len(part), int(part.count.sum())]))
"""


@pytest.mark.slow
def test_two_processes_build_one_cache(tmp_path):
    data = write_recordings(tmp_path / "recordings", train=4)
    command = [sys.executable, "-c", CHILD, str(data), str(tmp_path / "cache")]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:  # both are past their imports and start together
        child.stdin.write("\n")
        child.stdin.flush()
    found = [json.loads(child.communicate(timeout=300)[0]) for child in children]
    assert sorted(built for built, _, _ in found) == [0, 1]
    assert found[0][1:] == found[1][1:]
    assert found[0][1] == 12


def test_bad_recordings_leave_nothing_behind(tmp_path):
    good = random_events(np.random.default_rng(0), 50, (8, 8), 10_000)
    outside = (good[0], good[1] + 8, good[2], good[3])
    empty = tuple(column[:0] for column in good)
    for bad, message in [
        (outside, "own: train recording 1: event 0 has x"),
        (empty, "own: train recording 1: the r"),
    ]:
        with pytest.raises(UserError, match=message):
            load_frames(source_of(splits_of([good, bad], [0, 1])), folder=tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_labels_outside_the_classes_and_empty_splits_are_named(tmp_path):
    good = random_events(np.random.default_rng(0), 50, (8, 8), 10_000)
    with pytest.raises(UserError, match="label 2 of train recording 1 is outside the 2 classes 0 to 1"):
        load_frames(source_of(splits_of([good, good], [1, 2])), folder=tmp_path)
    part = EventSet.join([(good, 0)])
    nothing = EventSet(part.t[:0], part.x[:0], part.y[:0], part.p[:0], part.offsets[:1], part.labels[:0])
    with pytest.raises(UserError, match="own: the test set has no recordings"):
        load_frames(source_of(EventSplits(part, nothing, (8, 8), "own", ("zero",))), folder=tmp_path)


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create the folder of prepared events"):
        load_frames(source_of(small_splits()), folder=tmp_path / "file" / "cache")


@needs_real_data
def test_real_recordings(tmp_path):
    path = REAL_DATA / "nmnist-small.zip"
    found = load_frames(event_source(path), folder=tmp_path)
    assert (len(found.train), len(found.test), found.train.shape) == (1000, 100, (2, 34, 34))
    assert (int(found.train.frames.min()), int(found.train.frames.max())) == (290, 313)
    raw = load_events(path)
    for index in (0, 77, 999):
        expected = frames_of(raw.train[index], (34, 34))
        assert np.array_equal(found.train[index].dense(), expected.dense())
