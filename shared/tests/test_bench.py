import csv
import gc
import time

import pytest
from reprokit import UserError, bench


class Clock:
    """A clock that only moves when told to, so that no other load on the machine is measured."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(bench, "time", clock)
    return clock


def test_a_row_with_provenance(tmp_path, clock):
    results = tmp_path / "results.csv"
    found = bench.compare(
        "p", "sleep", "ours", "peer 1.0",
        lambda: clock.advance(0.25), lambda: clock.advance(0.75),
        threads=1, repeats=3, results=results, packages=("numpy",),
    )  # fmt: skip
    assert (found.ours_seconds, found.peer_seconds, found.ratio) == (0.25, 0.75, 3.0)
    assert found.ratio == found.peer_seconds / found.ours_seconds
    assert "x faster (1 threads)" in str(found)
    bench.compare("p", "b", "e", "q", lambda: clock.advance(1), lambda: clock.advance(1), results=results)
    with results.open() as file:
        rows = list(csv.reader(file))
    assert rows[0][:8] == [
        "package",
        "case",
        "engine",
        "peer",
        "threads",
        "ours_seconds",
        "peer_seconds",
        "ratio",
    ]
    assert rows[1][:5] == ["p", "sleep", "ours", "peer 1.0", "1"]
    assert float(rows[1][7]) == found.ratio
    assert "numpy" in rows[1][rows[0].index("versions")]
    assert len(rows) == 3


def test_calls_alternate_and_swap_the_first_place(clock):
    calls = []

    def noting(name):
        def call():
            calls.append(name)
            clock.advance(0.3)

        return call

    bench.compare("p", "c", "e", "q", noting("a"), noting("b"), repeats=4, results=None)
    assert "".join(calls[-8:]) == "abbaabba"


def test_short_calls_are_timed_in_groups(clock):
    calls = []

    def ours():
        calls.append(1)
        clock.advance(2.0**-12)

    found = bench.compare("p", "c", "e", "q", ours, lambda: clock.advance(1), repeats=3, results=None)
    assert len(calls) > 3 * bench.SHORTEST * 2**12
    assert found.ours_seconds == 2.0**-12


def test_time_passes_on_the_real_clock():
    assert bench._time(lambda: time.sleep(0.01), 2) >= 0.01


def test_median_and_spread(monkeypatch):
    times = iter([1.0, 1.0, 2.0, 8.0, 3.0, 4.0])  # after warm-up: ours 1, 4, 2; peer 1, 3, 8
    order = {0: [], 1: []}

    def ours():
        order[0].append(1)

    monkeypatch.setattr(bench, "_group_size", lambda call: 1)
    monkeypatch.setattr(bench, "_time", lambda call, size: next(times))
    found = bench.compare("p", "c", "e", "q", ours, lambda: None, repeats=3, results=None)
    assert (found.ours_seconds, found.peer_seconds, found.ratio) == (3.0, 2.0, 2 / 3)
    assert found.ours_spread == pytest.approx((5.5 - 2.0) / 3.0)
    assert found.peer_spread == pytest.approx((3.0 - 1.5) / 2.0)


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_off_while_timing_and_restored(enabled):
    seen = []
    (gc.enable if enabled else gc.disable)()
    try:
        bench._time(lambda: seen.append(gc.isenabled()), 2)
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
    assert seen == [False, False, False]  # one call before the clock starts, two timed ones


def test_wrong_arguments_and_foreign_files(tmp_path):
    with pytest.raises(UserError, match="repeats is 2; a median needs at least 3"):
        bench.compare("p", "c", "e", "q", time.time, time.time, repeats=2, results=None)
    (tmp_path / "r.csv").write_text("a,b\n")
    with pytest.raises(UserError, match="other columns"):
        bench.compare("p", "c", "e", "q", time.time, time.time, results=tmp_path / "r.csv")
