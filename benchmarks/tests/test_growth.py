"""Curves of growth with made-up points, and what is said about them."""

import json
import tomllib
from pathlib import Path

import pytest
from reprokit.run.ledger import Ledger

from benchmarks import cases, done, growth, trial
from benchmarks.cases import Growth, Settings

ROOT = Path(__file__).parents[2]


def test_exponents_and_their_bands():
    exact = growth.fit({x: 3.0 * x**1.5 for x in (1, 2, 4, 8)})
    assert exact.exponent == pytest.approx(1.5)
    assert exact.high - exact.low < 1e-6
    noisy = growth.fit({1: 1.0, 2: 2.2, 4: 3.8, 8: 8.4})
    # slope and 95 % interval of a regression of log y on log x (t = 4.303 for 2 degrees of freedom)
    assert noisy.exponent == pytest.approx(0.99997, abs=2e-5)
    assert (noisy.low, noisy.high) == (pytest.approx(0.7854, abs=1e-3), pytest.approx(1.2146, abs=1e-3))
    assert growth.fit({1: 1.0, 2: 2.0}) is None
    assert growth.fit({1: 0.0, 2: 2.0, 3: 3.0}) is None


def curve(**changes):
    return Growth(
        **{
            "package": "p",
            "method": "m",
            "parameter": "time-steps",
            "values": (1, 2, 4),
            "build": lambda n: n,
            **changes,
        }
    )


@pytest.fixture
def registry(monkeypatch):
    curves = [curve(method="first"), curve()]
    monkeypatch.setattr(growth, "registered", lambda *_: ([], curves))
    return curves


def test_points_are_measured_in_turn_and_become_rows_of_medians(tmp_path, registry):
    seen, lines = [], []

    def measured(package, number, value, settings):
        seen.append((package, number, value))
        assert json.dumps(settings)
        return {"seconds": value * (1 + len(seen) % 3), "memory_mb": 5.0, "before_mb": 100.0}

    file = tmp_path / "g.csv"
    growth.measure(
        [registry[1]], Settings(isa="avx2"), repeats=3, results=file, measured=measured, say=lines.append
    )
    assert seen == [("p", 1, value) for _ in range(3) for value in (1, 2, 4)]
    rows = Ledger(file, growth.COLUMNS).rows()
    assert [(row["value"], row["seconds"], row["processes"], row["isa"]) for row in rows[:1]] == [
        (
            1,
            2.0,
            3,
            "avx2",
        )
    ]
    assert len(lines) == len(rows) == 3


FOUND = {"seconds": 1.0, "memory_mb": 1.0, "before_mb": 1.0, "process_seconds": 2.0}


@pytest.mark.parametrize(
    ("word", "line", "failures"), [("left out", "left out: ", 0), ("error", "FAILED: ", 1)]
)
def test_a_point_that_fails_ends_no_other(tmp_path, registry, word, line, failures):
    def measured(package, number, value, settings):
        return {word: "MemoryError"} if value == 4 else FOUND

    lines, file = [], tmp_path / "g.csv"
    found = growth.measure(
        [registry[0]], Settings(), repeats=3, results=file, jobs=2, measured=measured, say=lines.append
    )
    assert [row["value"] for row in Ledger(file, growth.COLUMNS).rows()] == [1, 2]
    assert lines[-1] == f"{line}p: first, time-steps 4: MemoryError"
    assert len(found) == failures


def test_a_stopped_measurement_goes_on_where_it_was(tmp_path, registry, monkeypatch):
    seen, lines, file = [], [], tmp_path / "g.csv"

    def measured(package, number, value, settings):
        seen.append(value)
        return FOUND if len(seen) < 12 else {**FOUND, "seconds": 9.0}

    def run(**limits):
        seen.clear()
        growth.measure(registry, Settings(), repeats=3, results=file, again=False, measured=measured, say=lines.append,
                       **limits)  # fmt: skip
        return len(seen)

    monkeypatch.setattr(done, "git_commit", lambda: "abc")
    monkeypatch.setattr(growth, "git_commit", lambda: "abc")
    assert run(until=0.0) == 0
    assert lines == ["the time is over: 2 not measured; the same command continues there"]
    growth.measure(registry[:1], Settings(), repeats=3, results=file, measured=measured, say=str)
    assert run() == 9  # the second curve alone
    assert run() == 0
    assert lines[-1] == f"measured before: {registry[1]}"
    monkeypatch.setattr(done, "git_commit", lambda: "abd")
    assert run() == 18


def test_the_ends_of_a_curve_tell_how_long_it_takes(registry, monkeypatch):
    monkeypatch.setattr(trial.growth, "places", lambda *_: {str(c): n for n, c in enumerate(registry)})
    seen, lines = [], []

    def measured(package, number, value, settings):
        seen.append((number, value))
        return {**FOUND, "process_seconds": 2.0 * value} if number else {"error": "MemoryError"}

    seconds, failures = trial.curves(registry, Settings(), 3, lines.append, measured)
    assert seen == [(0, 1), (1, 1), (1, 4)]
    assert seconds == pytest.approx(3 * 2 * (1 + 2 + 4))
    assert failures == [lines[0]] == [f"FAILED: {registry[0]}: time-steps 1: MemoryError"]


def row(value, seconds=1.0, memory=1.0, **changes):
    empty = {name: None for name in growth.COLUMNS}
    return {**empty, "package": "p", "method": "m", "parameter": "time-steps", "isa": "avx2", "value": value,
            "seconds": seconds, "memory_mb": memory, **changes}  # fmt: skip


def judged(tmp_path, rows, limit):
    (tmp_path / "s.toml").write_text(
        '[[statement]]\npackage = "p"\nreadme = "r"\ntext = "t"\nmethod = "m"\nparameter = "time-steps"\n'
        + limit
    )
    (found,) = growth.judge(rows, tmp_path / "s.toml")
    return found["verdict"], found["found"]


LINEAR = [row(n, seconds=0.1 * n, memory=8.0) for n in (1, 2, 4, 8)]
SQUARE = [row(n, seconds=n**2, isa="avx512") for n in (1, 2, 4)]
NOISY = [row(n, seconds=s) for n, s in ((1, 1.0), (2, 1.2), (4, 1.0), (8, 1.3))]


@pytest.mark.parametrize(
    ("rows", "limit", "verdict"),
    [
        ([], 'measure = "seconds"\nat_most = 1.1\n', "not run"),
        (LINEAR[:2], 'measure = "seconds"\nat_most = 1.1\n', "not run"),
        (LINEAR, 'measure = "seconds"\nat_most = 1.1\nat_least = 0.9\n', "ok"),
        (LINEAR, 'measure = "seconds"\nat_most = 0.5\n', "fail"),
        (LINEAR, 'measure = "seconds"\nat_least = 1.5\n', "fail"),
        (LINEAR, 'measure = "memory_mb"\nat_most = 0.1\n', "ok"),
        (LINEAR, 'measure = "memory_mb"\nbelow = 9\n', "ok"),
        (LINEAR, 'measure = "memory_mb"\nbelow = 8\n', "fail"),
        (NOISY, 'measure = "seconds"\nat_most = 0.1\n', "undecided"),
        ([*LINEAR, *SQUARE], 'measure = "seconds"\nat_most = 1.1\n', "fail"),
    ],
)  # fmt: skip
def test_statements_are_judged_by_the_whole_band(tmp_path, rows, limit, verdict):
    assert judged(tmp_path, rows, limit)[0] == verdict


def test_a_newer_row_replaces_an_older_one(tmp_path):
    rows = [row(1, seconds=100.0), *(row(n, seconds=n) for n in (1, 2, 4))]
    assert judged(tmp_path, rows, 'measure = "seconds"\nat_most = 1.1\n')[0] == "ok"


def test_figures_and_tables_are_written_next_to_the_rows(tmp_path):
    ledger = Ledger(tmp_path / "growth.csv", growth.COLUMNS)
    for found in LINEAR:
        filled = {
            name: found[name] if found[name] is not None else {str: "", dict: {}}.get(kind, 0)
            for name, kind in growth.COLUMNS.items()
        }
        ledger.append(filled)
    files = growth.draw(tmp_path / "growth.csv")
    assert [file.name for file in files] == ["growth.md", "growth-p.svg", "growth-p.csv"]
    assert "not run" in files[0].read_text()
    assert files[2].read_text().splitlines()[1].startswith("m,avx2,time-steps,1,seconds,0.1,")


def statements():
    return tomllib.loads(growth.STATEMENTS.read_text(encoding="utf-8"))["statement"]


def test_statements_are_in_the_readmes_and_belong_to_a_curve():
    curves = {
        (c.package, c.method, c.parameter)
        for package in cases.REGISTRY
        for c in cases.registered(package, Settings(isa="avx2"))[1]
    }
    assert statements()
    for found in statements():
        text = " ".join((ROOT / found["readme"]).read_text(encoding="utf-8").split())
        assert found["text"] in text, found["text"]
        assert (found["package"], found["method"], found["parameter"]) in curves
        assert found["measure"] in growth.MEASURES
        assert {"at_most", "at_least", "below"} & set(found)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
def test_the_peak_above_what_was_there_is_measured():
    import numpy as np

    found = growth.sample(lambda: np.ones(4_000_000).sum())
    assert 25 < found["memory_mb"] < 60  # 32 MB
    assert 0 < found["seconds"] < 10


def test_curves_have_sizes_for_a_fit():
    for package in cases.REGISTRY:
        for found in cases.registered(package, Settings())[1]:
            assert len(found.values) >= 3 or found.parameter == "threads"
            assert list(found.values) == sorted(set(found.values))
