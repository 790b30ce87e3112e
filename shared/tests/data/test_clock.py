import numpy as np
import pytest
from reprokit import EventSet, EventSplits, UserError, load_events, write_nmnist_file
from reprokit.data.clock import first_times, window_lines, with_clock


def part(*recordings):
    """Recordings of these times, one pixel."""
    return EventSet.join(
        ((np.array(times, np.int64), *(np.zeros(len(times), int) for _ in "xyp")), k)
        for k, times in enumerate(recordings)
    )


def splits(*recordings):
    return EventSplits(
        part(*recordings), part([0, 1000]), (1, 1), "own", tuple(map(str, range(len(recordings))))
    )


def test_every_recording_can_begin_with_its_first_event():
    found = splits([5000, 6000], [], [10**15, 10**15 + 7], [3])
    shifted = with_clock(found, "first-event")
    assert shifted.train.t.tolist() == [0, 1000, 0, 7, 0]
    assert shifted.test.t.tolist() == [0, 1000]
    assert found.train.t.tolist() == [5000, 6000, 10**15, 10**15 + 7, 3]  # the argument stays as it was
    assert first_times(found.train).tolist() == [5000, 0, 10**15, 3]
    assert shifted.train.t.dtype == np.int64
    begun_at_0 = splits([0, 6000])
    assert with_clock(begun_at_0, "first-event").train is begun_at_0.train
    empty = splits([], [])
    assert with_clock(empty, "first-event").train.t.tolist() == []


def test_an_absurd_span_is_refused_and_the_remedy_named():
    hour = 3_600_000_000
    with_clock(splits([0, hour]))
    with pytest.raises(
        UserError,
        match=r"^own train: recording 1 lasts 1e\+09 s, at most 3600 s are allowed; give start first-event "
        r"\(--start first-event\) if its clock did not begin at 0$",
    ):
        with_clock(splits([1], [10**15, 10**15 + 5]))
    with pytest.raises(
        UserError, match=r"own train: recording 0 lasts 3600 s.* check that times are in microsec"
    ):
        with_clock(splits([5, hour + 6]), "first-event")
    with pytest.raises(UserError, match="start is 'begin'; it must be one of zero, first-event"):
        with_clock(splits([5]), "begin")


def test_events_outside_the_window_are_counted_and_the_cause_named():
    late = splits([150_000, 249_000, 251_000], [160_000, 300_000])
    with pytest.raises(
        UserError,
        match=r"^own train: 2 of 5 events come after the first 250 ms \(half of the recordings begin after 155 ms\); "
        r"give --start first-event, or --allow-loss to use the rest$",
    ):
        window_lines(late, 250_000)
    begun = with_clock(late, "first-event")
    assert window_lines(begun, 250_000, start="first-event") == [
        "own train: 5 of 5 events kept", "own test: 2 of 2 events kept"
    ]  # fmt: skip
    with pytest.raises(
        UserError, match="2 of 5 events come after the first 100 ms; give a longer --duration, or"
    ):
        window_lines(begun, 100_000, start="first-event")
    with pytest.warns(UserWarning, match="own train: 3 of 5 events"):
        lines = window_lines(begun, 99_000, start="first-event", allow_loss=True)
    assert lines[0] == "own train: 2 of 5 events kept; 3 come after the first 99 ms"
    assert window_lines(splits([0] * 19 + [250_000]), 250_000)[0].startswith(
        "own train: 19 of 20 events kept; 1 come"
    )
    assert window_lines(splits([]), 2000)[0] == "own train: 0 of 0 events kept"


def test_the_clock_of_own_recordings_is_chosen_where_they_are_read(tmp_path):
    for split in ("Train", "Test"):
        (tmp_path / split / "3").mkdir(parents=True)
        write_nmnist_file(tmp_path / split / "3" / "1.bin", [40, 50], [1, 2], [3, 4], [0, 1])
    assert load_events(tmp_path).train.t.tolist() == [40, 50]
    assert load_events(tmp_path, start="first-event").test.t.tolist() == [0, 10]
    with pytest.raises(UserError, match="start is 'x'"):
        load_events(tmp_path, start="x")
    with pytest.raises(
        UserError, match="the clock of digits-events is the published one; leave start to own data"
    ):
        load_events("digits-events", start="first-event")
