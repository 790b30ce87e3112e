import numpy as np
import pytest
from dalton.data.frames import (
    FrameOptions,
    check_events,
    collate,
    denoise,
    downsample,
    frames_of,
    to_frames,
)
from event_samples import random_events, slow_denoise
from reprokit import UserError


@pytest.mark.parametrize(
    ("count", "sensor", "end", "filter_us"),
    [
        (300, (6, 6), 400_000, 100_000),
        (400, (12, 5), 900_000, 30_000),
        (300, (34, 34), 300_000, 100_000),
        (200, (1, 9), 500_000, 20_000),
        (200, (9, 1), 500_000, 20_000),
        (50, (1, 1), 500_000, 100_000),
        (300, (4, 4), 60, 10),  # many events at the same time
        (1, (5, 5), 10, 100_000),
        (400, (300, 300), 10_000, 500),  # more pixels than 16-bit numbers
    ],
)
def test_denoise_equals_the_scan_over_events(count, sensor, end, filter_us):
    for seed in range(20):
        events = random_events(np.random.default_rng(seed), count, sensor, end)
        assert np.array_equal(denoise(events, filter_us), slow_denoise(events, filter_us))


def test_denoise_passes_everything_before_the_filter_time_and_nothing_of_a_lone_pixel():
    t = np.array([0, 99_999, 100_000, 250_000])
    x, y, p = np.array([3, 3, 3, 3]), np.array([2, 2, 2, 2]), np.zeros(4, np.int8)
    assert denoise((t, x, y, p)).tolist() == [True, True, False, False]
    alone = (t, np.zeros(4, np.int16), np.zeros(4, np.int16), p)
    assert denoise(alone).tolist() == [False] * 4
    assert denoise(tuple(column[:0] for column in alone)).tolist() == []


def test_pipeline_equals_tonics_transforms():
    transforms = pytest.importorskip("tonic.transforms", reason="needs tonic")
    kind = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
    for seed, (side, factor) in enumerate([(34, 1.0), (128, 0.25), (100, 0.3)]):
        t, x, y, p = random_events(np.random.default_rng(seed), 500, (side, side), 250_000)
        raw = np.zeros(len(t), kind)
        raw["t"], raw["x"], raw["y"], raw["p"] = t, x, y, p
        small = int((side - 1) * factor) + 1
        steps = [
            transforms.Denoise(100_000),
            transforms.Downsample(spatial_factor=factor),
            transforms.ToFrame(sensor_size=(small, small, 2), time_window=1000),
        ]
        theirs = transforms.Compose(steps)(raw)
        ours = frames_of((t, x, y, p), (side, side), FrameOptions(spatial_factor=factor))
        assert np.array_equal(ours.dense(), theirs)


def test_frames_count_and_drop_the_incomplete_tail():
    t = np.array([500, 600, 1499, 1500, 3499, 3500, 3600])
    x, y = np.array([1, 1, 2, 0, 3, 3, 3]), np.array([0, 0, 1, 1, 1, 1, 1])
    p = np.array([0, 0, 1, 1, 0, 0, 1], np.int8)
    found = to_frames((t, x, y, p), (2, 2, 4))
    dense = found.dense()
    assert found.frames == 3
    assert dense.shape == (3, 2, 2, 4)
    assert dense[0, 0, 0, 1] == 2
    assert dense[0, 1, 1, 2] == 1
    assert dense[1, 1, 1, 0] == 1
    assert dense[2, 0, 1, 3] == 1
    assert dense.sum() == 5  # the events at 3500 us and 3600 us are in the tail
    assert found.count.tolist() == [2, 1, 1, 1]


def test_short_and_empty_recordings_give_one_frame():
    one = to_frames((np.array([7]), np.array([0]), np.array([0]), np.array([1])), (2, 3, 3))
    assert one.frames == 1
    assert one.dense().sum() == 1
    nothing = np.zeros(0, np.int64)
    empty = to_frames((nothing, nothing, nothing, nothing), (2, 3, 3))
    assert empty.dense().shape == (1, 2, 3, 3)
    lone = (np.array([200_000]), np.array([5]), np.array([5]), np.array([0]))  # filtered out
    assert frames_of(lone, (8, 8)).dense().sum() == 0


def test_downsampling_truncates():
    x, y = downsample(np.array([0, 3, 4, 127], np.int16), np.array([1, 7, 8, 126], np.int16), 0.25)
    assert x.tolist() == [0, 0, 1, 31]
    assert y.tolist() == [0, 1, 2, 31]
    assert FrameOptions(spatial_factor=0.25).frame_shape((128, 128)) == (2, 32, 32)


def test_collation_pads_with_empty_frames():
    batch = collate([np.ones((2, 2, 1, 1)), np.ones((5, 2, 1, 1))])
    assert batch.shape == (2, 5, 2, 1, 1)
    assert batch.dtype == np.float32
    assert batch.sum(axis=(2, 3, 4)).tolist() == [[2, 2, 0, 0, 0], [2] * 5]


def events_with(**changes):
    events = {"t": [5, 6, 9], "x": [0, 1, 2], "y": [0, 1, 2], "p": [0, 1, 0]} | changes
    return tuple(np.array(events[name], np.int64) for name in "txyp")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t": [], "x": [], "y": [], "p": []}, "r7: the recording is empty; remove it"),
        ({"x": [0, 34, 2]}, "event 1 has x 34, outside the sensor; allowed: 0 to 33"),
        ({"y": [0, 1, -1]}, "event 2 has y -1, outside the sensor; allowed: 0 to 33"),
        ({"p": [0, 2, 0]}, "event 1 has polarity 2, unknown; allowed: 0 to 1"),
        ({"t": [5, 4, 9]}, "event 1 at 4 us comes after one at 5 us"),
        ({"t": [-5, 4, 9]}, "event 0 is at -5 us"),
        ({"p": [0, 1]}, "3 times, 3 x, 3 y and 2 polarities"),
    ],
)
def test_bad_recordings_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        check_events(events_with(**changes), (34, 34), "r7")


@pytest.mark.parametrize(
    "options", [{"denoise_us": 0}, {"spatial_factor": 0.0}, {"spatial_factor": 1.5}, {"window_us": 0}]
)
def test_bad_options_are_named(options):
    with pytest.raises(UserError, match=f"{next(iter(options))} is"):
        FrameOptions(**options)
