"""Input events: the rate code, event lists, encodings."""

from __future__ import annotations

import numpy as np
import pytest
from nalsm import Events, Rates, event_list, rate_probabilities, recordings_to_events
from nalsm.data.encoding import noisy_images, reflect
from nalsm.data.loading import EventRecordings, load_dataset
from nalsm.data.sources import philox
from nalsm_small import small_rates
from reprokit import UserError


def test_philox_known_answers() -> None:
    """Known answers published with the generator (Salmon et al. 2011), zero and all-ones counters."""
    zero = philox(np.zeros((1, 4), np.uint32), 0)[0]
    assert [hex(v) for v in zero] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]
    ones = philox(np.full((1, 4), 0xFFFFFFFF, np.uint32), 0xFFFFFFFFFFFFFFFF)[0]
    assert [hex(v) for v in ones] == ["0x408f276d", "0x41c83b0e", "0xa20bc7c6", "0x6d5451fd"]


def test_rate_code_has_the_probabilities_asked_for() -> None:
    p = np.array([[0.0, 0.01, 0.1, 0.5, 0.97, 1.0]])
    duration = 40_000
    events = Rates(p, np.zeros(1, np.int64), 5).events(duration)
    counts = np.bincount(events.channels, minlength=6) / duration
    deviation = np.sqrt(p[0] * (1 - p[0]) / duration)
    assert (np.abs(counts - p[0]) <= 4.5 * deviation + 1e-12).all()


def test_rate_code_is_independent_from_millisecond_to_millisecond() -> None:
    events = Rates(np.full((1, 1), 0.3), np.zeros(1, np.int64), 9).events(60_000)
    train = np.diff(events.first[0]).astype(float)
    for lag in (1, 2, 5):
        correlation = np.corrcoef(train[:-lag], train[lag:])[0, 1]
        assert abs(correlation) < 4.5 / np.sqrt(len(train))


def test_samples_and_seeds_differ() -> None:
    rates = small_rates(2)
    twice = Rates(rates.probability[[0, 0]], np.array([0, 1]), 3).events(50)
    first, second = (twice[k : k + 1] for k in (0, 1))
    assert not np.array_equal(
        first.channels[first.first[0, 0] : first.first[0, -1]],
        second.channels[second.first[0, 0] : second.first[0, -1]],
    )


def test_events_from_raster_round_trip() -> None:
    raster = np.random.default_rng(1).integers(0, 3, (3, 5, 12)).astype(np.uint8)
    events = Events.from_raster(raster)
    back = np.zeros_like(raster)
    for k in range(3):
        for t in range(12):
            np.add.at(back[k, :, t], events.channels[events.first[k, t] : events.first[k, t + 1]], 1)
    np.testing.assert_array_equal(back, raster)


def test_windows_of_events() -> None:
    raster = np.random.default_rng(2).integers(0, 2, (2, 4, 30)).astype(np.uint8)
    window = Events.from_raster(raster).window(np.array([3, 20]), 10)
    expected = Events.from_raster(np.stack([raster[0, :, 3:13], raster[1, :, 20:30]]))
    np.testing.assert_array_equal(np.diff(window.first, axis=1), np.diff(expected.first, axis=1))
    with pytest.raises(UserError, match="exceed the 30 ms"):
        Events.from_raster(raster).window(np.array([25, 0]), 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rates(np.full((1, 2), 1.5), np.zeros(1, np.int64)), "outside"),
        (lambda: Rates(np.full((1, 2), np.nan), np.zeros(1, np.int64)), "not finite"),
        (lambda: Rates(np.zeros((2, 2)), np.zeros(1, np.int64)), "shape"),
        (lambda: Events.from_lists([(np.array([5]), np.array([0]))], 2, 5), "sample 0"),
        (lambda: Events(np.array([[0, 1]]), np.array([9], np.int32), 3), "allowed is 0 to 2"),
        (lambda: rate_probabilities(np.zeros((2, 3))), "image 0 is constant zero"),
        (lambda: rate_probabilities(np.array([[1.0, -1.0]])), "negative"),
        (lambda: Events.from_raster(np.zeros((1, 1, 5), np.uint8)).events(9), "9 ms were asked for"),
    ],
)
def test_bad_sources_are_refused(make: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()  # pyright: ignore


def test_event_binning_drops_and_merges() -> None:
    t = np.array([400, 600, 1500, 2500, 999_000])
    x = np.array([1, 1, 40, 2, 3])
    y, p = np.zeros(5, int), np.ones(5, int)
    time, channel = event_list(t, x, y, p, 250)
    assert time.tolist() == [
        0,
        1,
        2,
    ]  # 0.4 -> 0, 0.6 -> 1, 2.5 -> 2 (half to even); x = 40 and 999 ms dropped
    assert channel.tolist() == [34 * 34 + 1, 34 * 34 + 1, 34 * 34 + 2]


def test_event_binning_at_the_edges_of_the_sensor_and_of_time() -> None:
    """The sensor has 34 x 34 pixels from 0; what is outside is dropped, and no event is before 0."""
    x = np.array([-1, 0, 33, 34, 0, 0, 33, 0])
    y = np.array([0, 0, 33, 0, -1, 34, 33, 33])
    t, p = 1000 * np.arange(8), np.array([0, 0, 0, 0, 0, 0, 1, 1])
    time, channel = event_list(t, x, y, p, 7)  # the last is at 7 ms, which is too late
    assert time.tolist() == [1, 2, 6]
    assert channel.tolist() == [0, 34 * 34 - 1, 2 * 34 * 34 - 1]
    assert event_list(t, x, y, p, 8)[1].tolist() == [0, 34 * 34 - 1, 2 * 34 * 34 - 1, 34 * 34 + 33 * 34]
    for first in (-1, -1e-3):
        with pytest.raises(UserError, match="the earliest event time is -"):
            event_list(t + np.array([first, *7 * [0]]), x, y, p, 8)
    with pytest.raises(UserError, match="polarities range from 0 to 2"):
        event_list(t, x, y, 2 * p, 8)


def test_noisy_images_stay_between_0_and_255() -> None:
    images = np.stack([np.zeros(500), np.full(500, 255), np.full(500, 128)])
    noisy = noisy_images(images, 125.0, 3)
    assert (noisy.min(), noisy.max()) == (0.0, 255.0)
    inside = noisy[(noisy > 0) & (noisy < 255)]
    assert inside.size > 700
    assert noisy_images(images, 125.0, 3, top=16.0).max() == 16.0


def test_unsorted_recordings_are_named() -> None:
    t, zero = np.array([5, 3]), np.zeros(2, int)
    with pytest.raises(UserError, match="recording 0: event times are not sorted"):
        recordings_to_events(t, zero, zero, zero, np.array([0, 2]), 10)


def test_events_outside_the_sensor_are_named() -> None:
    t, zero = np.array([3, 5]), np.zeros(2, int)
    with pytest.raises(UserError, match="recording 0: an event at x 34, y 0 is outside"):
        recordings_to_events(t, np.array([1, 34]), zero, zero, np.array([0, 2]), 10)


def test_jitter_per_event_and_per_sample() -> None:
    """DEV-5: the original shifts a whole recording by one number."""
    t = np.full(400, 100_000)
    x = np.arange(400) % 34
    y = np.arange(400) // 34
    p, offsets = np.ones(400, int), np.array([0, 400])
    single = recordings_to_events(t, x, y, p, offsets, 250, jitter=10.0, jitter_per_sample=True, seed=1)
    each = recordings_to_events(t, x, y, p, offsets, 250, jitter=10.0, seed=1)
    assert (np.diff(single.first[0]) > 0).sum() == 1
    assert (np.diff(each.first[0]) > 0).sum() > 20
    assert single.first[0, -1] == each.first[0, -1] == 400


def test_jitter_does_not_depend_on_batch_mates() -> None:
    data = load_dataset("digits-events", duration=120)
    whole = data.source("test", np.arange(6), 3, noise=10.0)
    single = data.source("test", np.array([4]), 3, noise=10.0)
    assert isinstance(whole, Events)
    assert isinstance(single, Events)
    np.testing.assert_array_equal(single.channels, whole.channels[whole.first[4, 0] : whole.first[4, -1]])


def test_windows_start_between_1_and_278_ms() -> None:
    """N-MNIST initialisation: 20 ms with a random start in 1..278 of 300 ms."""
    data = load_dataset("digits-events", duration=250)
    assert isinstance(data, EventRecordings)
    index = np.arange(40)
    whole = data._binned("train", index, 300, 5)
    windows = data.window(index, index, 5, 20)
    starts = []
    for k in index:
        shown = [windows.at(t)[k] for t in (0, 10, 19)]
        first = windows.first[k] - windows.first[k, 0]
        matches = [
            t
            for t in range(1, 279)
            if np.array_equal(whole.first[k, t : t + 21] - whole.first[k, t], first)
            and all(
                np.array_equal(whole.at(t + d)[k], row) for d, row in zip((0, 10, 19), shown, strict=True)
            )
        ]
        assert matches
        starts += matches[:1]
    assert len(set(starts)) > 10


def test_windows_are_keyed_by_their_place() -> None:
    """A recording that is shown twice gets another window, in whatever chunk it is presented."""
    data = load_dataset("digits-events", duration=250)
    index = np.zeros(12, int)
    whole = data.window(index, np.arange(12), 5, 20)
    assert isinstance(whole, Events)
    assert len({tuple(row) for row in np.diff(whole.first)}) > 3
    part = data.window(index[:3], np.arange(7, 10), 5, 20)
    assert isinstance(part, Events)
    np.testing.assert_array_equal(np.diff(part.first), np.diff(whole.first[7:10]))


def test_reflection() -> None:
    assert reflect(np.array([-3, 0, 9, 10, 12]), 10).tolist() == [3, 0, 9, 8, 6]
