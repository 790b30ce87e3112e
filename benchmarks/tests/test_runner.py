"""The runner with made-up programs and a clock that only moves when told to."""

import csv
import subprocess
import sys
import time

import numpy as np
import pytest
from reprokit import UserError, bench

from benchmarks import cases, done, environments, guard, machine, recorded, runner, table, trial
from benchmarks.cases import Case, Floor, LeftOut, Settings, Unequal, Work
from benchmarks.remote import Remote


class Clock:
    now = 0.0

    def perf_counter(self):
        return self.now

    def takes(self, seconds):
        def call():
            self.now += seconds

        return call


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(bench, "time", clock)
    return clock


def made_up(clock, *, ours=1.0, theirs=3.0, proof=lambda: "equal", floor=None, name="work", events=None):
    def build():
        if events is not None:
            events.append("built")
        return Work(clock.takes(ours), clock.takes(theirs), proof, floor)

    return Case("p", name, "ours", "peer 1.0", build, repeats=3)


@pytest.fixture
def fast_machine(monkeypatch):
    monkeypatch.setattr(machine, "speeds", lambda threads: machine.Speeds(1e9, 1e9))


def rows(path):
    return bench.open_results(path).rows()


def test_a_row_says_how_equal_the_work_is_and_where_the_floor_is(tmp_path, clock, fast_machine):
    lines = []
    found, failures = runner.measure(
        [made_up(clock, floor=Floor(flops=5e8))], isa="avx2", results=tmp_path / "r.csv", say=lines.append
    )
    assert (found[0].ratio, failures) == (3.0, [])
    (row,) = rows(tmp_path / "r.csv")
    assert (row["kind"], row["isa"], row["work"], row["floor_seconds"]) == ("measured", "avx2", "equal", 0.5)
    assert "GEMM 1 GFLOP/s" in row["floor"]
    assert "3.00x faster" in lines[0]


def test_work_that_differs_is_never_timed(tmp_path, clock):
    def differ():
        raise Unequal("by 1")

    lines = []
    case = made_up(clock, proof=differ)
    found, failures = runner.measure([case], isa="avx2", results=tmp_path / "r.csv", say=lines.append)
    assert (found, clock.now, (tmp_path / "r.csv").exists()) == ([], 0.0, False)
    assert failures == lines == [f"NOT EQUAL, not timed: {case}: by 1"]


def test_what_is_missing_is_left_out_and_the_rest_is_measured(tmp_path, clock):
    def missing():
        raise LeftOut("norse is not there")

    lines = []
    left = Case("p", "work", "ours", "norse", missing)
    found, failures = runner.measure([left, made_up(clock)], isa="avx2", results=None, say=lines.append)
    assert (len(found), failures) == (1, [])
    assert lines[0] == "left out: p: work | ours | norse: norse is not there"


@pytest.mark.parametrize("where", ["building", "comparing", "timing"])
def test_a_case_that_fails_does_not_end_the_others(clock, where):
    def fails():
        raise ValueError("broken")

    def build():
        if where == "building":
            fails()
        ours = fails if where == "timing" else clock.takes(1)
        return Work(ours, clock.takes(1), fails if where == "comparing" else lambda: "equal")

    broken, lines = Case("p", "n", "e", "q", build), []
    found, failures = runner.measure([broken, made_up(clock)], isa="avx2", results=None, say=lines.append)
    assert ([case.ratio for case in found], failures) == ([3.0], [f"FAILED: {broken}: ValueError: broken"])


@pytest.fixture
def commit(monkeypatch):
    """The commit of the code, which a test may change."""
    name = ["abc"]
    monkeypatch.setattr(bench, "git_commit", lambda: name[0])
    monkeypatch.setattr(done, "git_commit", lambda: name[0])
    return name


def test_a_stopped_run_goes_on_where_it_was(tmp_path, clock, commit):
    events, lines = [], []
    cases_ = [made_up(clock, name=name, events=events) for name in ("first", "second")]

    def run(only=cases_, **options):
        events.clear()
        runner.measure(
            only,
            **{"isa": "avx2", "results": tmp_path / "r.csv", "again": False, "say": lines.append, **options},
        )
        return len(events)

    assert run(cases_[:1]) == 1
    assert run() == 1  # the second alone
    assert run() == 0
    assert lines[-2:] == [f"measured before: {case}" for case in cases_]
    assert run(again=True) == 2
    assert run(isa="avx512") == 2
    assert run(repeats=5) == 2
    assert run(repeats=5) == 0
    commit[0] = "abd"
    assert run() == 2
    commit[0] = "abd-dirty"
    assert [run(), run()] == [2, 2]


def test_a_case_of_stand_in_data_is_not_measured_twice(tmp_path, clock, commit):
    build = lambda: Work(clock.takes(1), clock.takes(2), lambda: "equal", name="digits")  # noqa: E731
    case, lines = Case("p", "MNIST", "e", "q", build, repeats=3), []
    for _ in range(2):
        runner.measure([case], isa="avx2", results=tmp_path / "r.csv", again=False, say=lines.append)
    assert lines[1:] == ["measured before, with other data: p: MNIST | e | q"]
    assert len(rows(tmp_path / "r.csv")) == 1


def test_nothing_begins_after_the_time(tmp_path, clock):
    lines = []
    found, failures = runner.measure(
        [made_up(clock)] * 3, isa="avx2", results=None, until=0.0, say=lines.append
    )
    assert (found, failures) == ([], [])
    assert lines == ["the time is over: 3 not measured; the same command continues there"]


def test_trying_proves_and_times_once_and_records_nothing(clock, monkeypatch):
    monkeypatch.setattr(bench, "open_results", lambda *_: pytest.fail("a ledger was opened"))

    def differ():
        raise Unequal("by 1")

    lines = []
    broken = made_up(clock, name="other", proof=differ)
    failures = runner.attempt([made_up(clock), broken], [], Settings(), say=lines.append)
    assert failures == [f"NOT EQUAL, not timed: {broken}: by 1"]
    assert clock.now == 2 * 1.0 + 2 * 3.0
    assert lines[0].startswith(
        "tried: p: work | ours | peer 1.0: equal; ours 1 s, theirs 3 s, once; a recording takes"
    )
    assert lines[-1] == "nothing was recorded; recording what was tried takes about 0 minutes"


@pytest.mark.parametrize(("seconds", "repeats"), [(1.0, 3), (0.125, 3), (0.01, 15), (0.25, 7)])
def test_the_seconds_of_a_recording_are_those_that_compare_takes(clock, seconds, repeats):
    bench.compare("p", "c", "e", "q", clock.takes(seconds), clock.takes(0.25), repeats=repeats, results=None)
    other = trial.recording(0.25, repeats)
    assert trial.recording(seconds, repeats) == pytest.approx(clock.now - other)


def test_closing_happens_after_a_failure_too(clock):
    closed = []

    def differ():
        raise Unequal("x")

    build = lambda: Work(clock.takes(1), clock.takes(1), differ, close=lambda: closed.append(1))  # noqa: E731
    runner.measure([Case("p", "n", "e", "q", build)], isa="avx2", results=None, say=str)
    assert closed == [1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--repeats", "2"], "--repeats is 2; a median needs at least 3"),
        (["denram", "--repeats", "0"], "--repeats is 0"),
        (["--jobs", "2"], "add --growth"),
        (["--scheduler", "tcp://x"], "add --growth"),
        (["--growth", "--jobs", "0"], "--jobs is 0"),
        (["--try", "--growth", "--jobs", "2"], "--try runs one after another"),
        (["--minutes", "0"], "--minutes is 0; it must be above 0"),
        (["norse"], "no benchmarks for 'norse'; choose from bdfa"),
    ],
)
def test_refusals_come_before_anything_starts(monkeypatch, words, message):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(UserError, match=message):
        runner.main(words)


def test_every_package_gets_a_process_with_the_limits_and_the_words(monkeypatch, tmp_path):
    started = []

    def run(command, *, cwd, env):
        started.append((command[3:], env["REPROKIT_ISA"], env["OMP_NUM_THREADS"]))
        return subprocess.CompletedProcess(command, 1 if command[3] == "sbs" else 0)

    monkeypatch.setattr(runner.subprocess, "run", run)
    words = [
        "sbs",
        "bdfa",
        "--only",
        "A1",
        "sbs",
        "--repeats",
        "5",
        "--isa",
        "portable",
        "--guard",
        "--try",
        "--again",
    ]
    words += ["--minutes", "1"]
    assert runner.main([*words, "--results", str(tmp_path / "r.csv")]) == 1
    assert [command[:2] for command, *_ in started] == [["sbs", "--here"], ["bdfa", "--here"]]
    assert [limits for _, *limits in started] == [["portable", "1"]] * 2
    again = runner.parser().parse_args(started[0][0])
    assert (again.only, again.repeats, again.guard, again.packages) == (["A1", "sbs"], 5, True, ["sbs"])
    assert (again.attempt, again.again) == (True, True)
    assert 0 < again.until - time.time() < 61


def test_a_process_that_is_killed_is_named_and_the_others_run(monkeypatch, capsys):
    ended = {"sbs": -9, "bdfa": 0}
    monkeypatch.setattr(
        runner.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, ended[command[3]]),
    )
    assert runner.main(["sbs", "bdfa", "--try"]) != 0
    assert "FAILED: sbs: its process ended by SIGKILL" in capsys.readouterr().out


def test_the_file_of_a_package_never_hides_the_package():
    words = [sys.executable, str(cases.HERE / "runner.py"), "--help"]
    done = subprocess.run(words, cwd=cases.HERE, capture_output=True, text=True)
    assert "proven equal" in done.stdout, done.stderr


def test_words_choose_by_text_and_by_pattern(clock):
    entries = [made_up(clock, name="A1, batch 50"), made_up(clock, name="A3, batch 50")]
    assert cases.select(entries, ["a1"]) == entries[:1]
    assert cases.select(entries, ["*a3*ours*"]) == entries[1:]
    assert cases.select(entries, []) == entries
    assert cases.select(entries, ["none"]) == []


@pytest.mark.parametrize("package", cases.REGISTRY)
def test_the_registry_is_cheap_and_its_cases_are_told_apart(package):
    before = {"torch", "jax"} & set(sys.modules)
    found, curves = cases.registered(package, Settings(isa="avx2"))
    assert ({"torch", "jax"} & set(sys.modules)) == before
    keys = [case.key for case in found]
    assert len(found) > 0
    assert len(set(keys)) == len(keys)
    assert len(set(map(str, curves))) == len(curves)
    assert all(case.repeats >= 3 for case in found)


def committed_keys():
    with runner.RESULTS.open(encoding="utf-8", newline="") as file:
        found = [row for row in csv.DictReader(file) if row.get("kind") != "recorded"]
    return {(r["package"], r["case"], r["engine"], r["peer"], int(r["threads"])) for r in found}


def test_no_case_of_the_former_scripts_was_lost():
    registered = {
        case.key
        for isa in ("avx512", "avx2")
        for package in cases.REGISTRY
        for case in cases.registered(package, Settings(isa=isa))[0]
    }
    lost = {
        key
        for key in committed_keys() - registered
        # other processors and data than these settings, and rows of a form that was replaced before
        if "H200" not in key[1]
        and "FastMLP x5" not in key[2]
        and "8000 neurons, 4 mnist" not in key[1]
        and "event pipeline" not in key[1]
        and "torch 2." not in key[3]
    }
    assert lost == set()


def guarded(clock, tmp_path, before, now, **row):
    lines, isa = [], "avx2"
    known = {
        "package": "p",
        "case": "work",
        "engine": "ours",
        "peer": "peer 1.0",
        "threads": "1",
        "isa": "avx2",
    }
    monkey = [{**known, "kind": "measured", "ratio": str(before), **row}]
    results = tmp_path / "r.csv"
    old, guard.committed = guard.committed, lambda _: monkey
    try:
        status = guard.run(
            [made_up(clock, ours=1.0, theirs=now)], isa, results,
            lambda some, file: runner.measure(some, isa=isa, results=file, say=str), lines.append,
        )  # fmt: skip
    finally:
        guard.committed = old
    return status, lines[0], results.exists()


@pytest.mark.parametrize(
    ("now", "status", "word"),
    [
        (4.0, 0, "as before"),
        (3.41, 0, "as before"),
        (3.39, 1, "SLOWER"),
        (1.0, 1, "SLOWER"),
        (5.0, 0, "faster"),
    ],
)
def test_the_guard_fails_beyond_its_tolerance_alone(clock, tmp_path, now, status, word):
    assert guard.TOLERANCE == 0.15
    found = guarded(clock, tmp_path, 4.0, now)
    assert (found[0], found[2]) == (status, False)
    assert word in found[1]


@pytest.mark.parametrize(
    "other", [{"isa": "avx512"}, {"isa": ""}, {"threads": "2"}, {"peer": "peer 2.0"}, {"kind": "recorded"}]
)
def test_the_guard_records_where_no_row_is_comparable(clock, tmp_path, other):
    status, line, written = guarded(clock, tmp_path, 4.0, 1.0, **other)
    assert (status, written) == (0, True)
    assert line.startswith("recorded: p: work | ours | peer 1.0: no committed row with avx2 and 1 threads")


def test_the_guard_reads_what_is_committed_not_what_lies_there(tmp_path):
    def git(*words):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    (tmp_path / "r.csv").write_text("a\n1\n")
    git("init", "-q")
    git("add", ".")
    git("-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x")
    (tmp_path / "r.csv").write_text("a\n1\n2\n")
    assert guard.committed(tmp_path / "r.csv") == [{"a": "1"}]
    (tmp_path / "new.csv").write_text("a\n3\n")
    assert guard.committed(tmp_path / "new.csv") == [{"a": "3"}]
    assert guard.committed(tmp_path / "none.csv") == []


def test_a_ledger_of_an_older_release_grows_at_its_right(tmp_path, clock):
    lines = runner.RESULTS.read_text(encoding="utf-8").splitlines()
    old = [line.split(",kind,isa")[0] for line in lines[:1]] + [lines[1][: lines[1].index("+00:00") + 6]]
    file = tmp_path / "r.csv"
    file.write_text("\n".join(old) + "\n", encoding="utf-8")
    runner.measure([made_up(clock)], isa="avx2", results=file, say=str)
    first, second = rows(file)
    assert (first["isa"], second["isa"]) == ("", "avx2")
    assert file.read_text(encoding="utf-8").splitlines()[1].startswith(old[1])


def test_a_program_in_another_process_keeps_its_own_time():
    given = {"values": np.arange(3), "factor": 2}
    code = Remote(sys.executable, "benchmarks.tests.remote_example:twice", given)
    try:
        assert code()["values"].tolist() == [0, 2, 4]
        assert 0 <= code.seconds(3) < 60
    finally:
        code.close()
    assert code.process.poll() == 0


def test_a_program_that_cannot_start_says_so(capfd):
    with pytest.raises(RuntimeError, match="nothing:here ended with an error"):
        Remote(sys.executable, "nothing:here")
    assert "No module named 'nothing'" in capfd.readouterr().err


def test_pins_are_exact():
    for file in sorted(environments.PINS.glob("*.txt")):
        lines = file.read_text(encoding="utf-8").split("\n")
        if lines[0] == environments.ON_TOP:
            assert all("==" in line for line in lines[2:] if line), file.name
        assert environments.imported(file.stem).isidentifier() or "." in environments.imported(file.stem)
        assert environments.pinned(file.stem)
    with pytest.raises(KeyError, match="does not pin torch"):
        environments.pinned("norse", "torch")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("install", r"x\.txt cannot be installed: Error: no x"),
        ("import x", r"x\.txt lists cannot be imported: Error: no x"),
    ],
)
def test_a_peer_that_cannot_be_installed_or_imported_is_left_out(monkeypatch, tmp_path, command, message):
    monkeypatch.setattr(environments, "PINS", tmp_path)
    monkeypatch.setattr(environments, "folder", lambda peer: tmp_path / peer)
    monkeypatch.setattr(environments.venv, "create", lambda *_, **__: (tmp_path / "x").mkdir())
    (tmp_path / "x.txt").write_text("# imports x\nx==1\n")

    def run(words, **_):
        return subprocess.CompletedProcess(words, int(command in words), "", "a line\nError: no x\n")

    monkeypatch.setattr(environments.subprocess, "run", run)
    with pytest.raises(LeftOut, match=message):
        environments.python("x")
    assert not (tmp_path / "x" / "complete").exists()


def test_limits_hold_both_sides(monkeypatch):
    monkeypatch.setattr(machine, "best", lambda: "avx512")
    monkeypatch.delenv("REPROKIT_ISA", raising=False)
    monkeypatch.setenv("XLA_FLAGS", "--own")
    slow, fast = machine.limit("avx2"), machine.limit(None)
    assert (slow["REPROKIT_ISA"], fast["REPROKIT_ISA"]) == ("avx2", "avx512")
    assert slow["ATEN_CPU_CAPABILITY"] == "avx2"
    assert "ATEN_CPU_CAPABILITY" not in set(fast) - set(machine.os.environ)
    assert slow["XLA_FLAGS"] == f"--own --xla_cpu_max_isa=AVX2 {machine.ONE_THREAD}"
    assert fast["XLA_FLAGS"] == f"--own {machine.ONE_THREAD}"
    monkeypatch.setattr(machine, "best", lambda: "avx2")
    with pytest.raises(UserError, match="'avx512', which this processor lacks; choose one of avx2, portable"):
        machine.limit("avx512")
    with pytest.raises(UserError, match="'sse9'; it must be one of portable"):
        machine.limit("sse9")


def test_the_floor_is_the_slower_of_arithmetic_and_memory():
    speeds = machine.Speeds(flops=100.0, bandwidth=10.0)
    assert speeds.seconds(Floor(flops=200, bytes=10)) == 2.0
    assert speeds.seconds(Floor(flops=200, bytes=30)) == 3.0
    found = machine.speeds.__wrapped__(1, size=64, megabytes=1)
    assert found.flops > 0
    assert found.bandwidth > 0


def test_a_row_without_a_set_counts_only_alone():
    def row(**changes):
        start = dict.fromkeys(("package", "case", "engine", "peer", "threads", "kind"), "x")
        return start | {"isa": ""} | changes

    rows = [row(), row(isa="avx2"), row(case="y"), row(kind="recorded")]
    assert table.newest(rows[:3]) == rows[1:3]
    assert table.newest([*rows[1:3], rows[3]]) == rows[1:]


def test_tables_show_the_newest_row_and_recorded_times_apart(tmp_path, clock, fast_machine):
    results = tmp_path / "results.csv"
    for seconds in (9.0, 3.0):
        runner.measure(
            [made_up(clock, theirs=seconds, floor=Floor(5e8))], isa="avx2", results=results, say=str
        )
    ledger = bench.open_results(results)
    entry = {"package": "p", "case": "work", "engine": "ours", "peer": "the original", "threads": 1, "seconds": 50.0,
             "cpu": "another", "conditions": "one run, hours ago"}  # fmt: skip
    orphan = {**entry, "case": "never measured"}
    for found in (entry, orphan):
        ledger.append(recorded.row(found))
    shown = table.with_recorded(table.newest(ledger.rows()))
    assert [(row["peer"], row["ratio"]) for row in shown] == [("peer 1.0", 3.0), ("the original", 50.0)]
    text = table.markdown(shown)
    assert "| 1 s | 3 s | 3x ± 0% | 50% | equal |" in text
    assert "50x (recorded elsewhere, not the same run)" in text
    assert "never measured" not in text
    (file,) = table.figure(shown, tmp_path / "f.png")
    assert file.stat().st_size > 1000


def test_recorded_times_are_entered_once_and_belong_to_cases(tmp_path):
    ledger = bench.open_results(tmp_path / "r.csv")
    entries = recorded.read()
    assert recorded.enter(ledger) == len(entries) > 0
    assert recorded.enter(ledger) == 0
    assert {row["kind"] for row in ledger.rows()} == {"recorded"}
    known = {case.key[:3] for p in cases.REGISTRY for case in cases.registered(p, Settings(isa="avx512"))[0]}
    assert {(e["package"], e["case"], e["engine"]) for e in entries} <= known


def test_a_recorded_time_without_its_conditions_is_refused(tmp_path):
    (tmp_path / "r.toml").write_text('[[time]]\npackage = "p"\n')
    with pytest.raises(UserError, match="conditions"):
        recorded.read(tmp_path / "r.toml")


def test_listing_measures_nothing(capsys, monkeypatch):
    monkeypatch.setenv("REPROKIT_ISA", "avx2")
    assert runner.main(["reprokit", "--here", "--list"]) == 0
    assert (
        capsys.readouterr().out == "reprokit: 6 smoke runs of denram | Dask, two workers | Dask, one worker\n"
    )
