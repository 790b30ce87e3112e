import multiprocessing
import os
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from reprokit import Job, Ledger, UserError, run_id, run_jobs
from reprokit.run import places
from reprokit.run.sweep import duration
from sweep_work import jobs_of, make_row, work

METRICS = {"value": int}


@pytest.fixture
def ledger(tmp_path):
    return Ledger.for_results(tmp_path / "results.csv", METRICS)


@pytest.fixture
def lines():
    return []


def test_runs_each_job_once_and_skips_finished(ledger, lines):
    jobs = jobs_of({"seed": 1}, {"seed": 2}, {"seed": 3})
    first = run_jobs(jobs[:2], work, ledger=ledger, say=lines.append)
    assert (first.done, first.skipped, first.ok) == (["seed 1", "seed 2"], [], True)
    assert [row["value"] for row in ledger.rows()] == [1, 4]
    lines.clear()
    second = run_jobs(jobs, work, ledger=ledger, say=lines.append)
    assert (second.done, second.skipped) == (["seed 3"], ["seed 1", "seed 2"])
    assert lines[0] == "2 of 3 runs are finished already and skipped"
    assert lines[1].startswith("[1/1] seed 3: done after 0 s")
    assert lines[-1] == "sweep finished: 1 done, 2 skipped, 0 failed"
    assert len(ledger.rows()) == 3


def test_progress_lines_estimate_the_rest(lines):
    run_jobs(jobs_of({"seed": 1}, {"seed": 2}), make_row, say=lines.append)
    assert lines[0] == "[1/2] seed 1: done after 0 s, about 0 s left"
    assert lines[1] == "[2/2] seed 2: done after 0 s"


def test_a_failing_job_does_not_stop_the_others(ledger, lines):
    report = run_jobs(jobs_of({"seed": 1, "fail": True}, {"seed": 2}), work, ledger=ledger, say=lines.append)
    assert (report.done, report.ok) == (["seed 2"], False)
    assert report.failed == {"seed 1": "ValueError: seed is bad"}
    assert 'raise ValueError("seed is bad")' in report.tracebacks["seed 1"]
    assert lines[0].startswith("[1/2] seed 1: failed (ValueError: seed is bad)")
    assert lines[-2:] == ["sweep finished: 1 done, 0 skipped, 1 failed", "  seed 1: ValueError: seed is bad"]
    assert run_jobs(jobs_of({"seed": 1}), work, ledger=ledger, say=lines.append).done == ["seed 1"]


def test_user_errors_are_reported_as_sentences(lines):
    def refuse(_):
        raise UserError("n_in is 0; it must be above 0")

    assert run_jobs(jobs_of({"seed": 1}), refuse, say=lines.append).failed == {
        "seed 1": "n_in is 0; it must be above 0"
    }


def test_an_error_without_words_counts_as_a_failure(lines):
    def refuse(_):
        raise UserError

    assert not run_jobs(jobs_of({"seed": 1}), refuse, say=lines.append).ok


def test_a_function_may_append_its_row_itself(ledger, lines):
    def own(config):
        ledger.append(make_row(config))

    assert run_jobs(jobs_of({"seed": 1}), own, ledger=ledger, say=lines.append).done == ["seed 1"]
    assert len(ledger.rows()) == 1


@pytest.mark.parametrize("change", [{"run_id": "other"}, {"value": "text"}])
def test_a_row_the_ledger_cannot_take_is_a_failure(ledger, lines, change):
    report = run_jobs(
        jobs_of({"seed": 1}), lambda config: make_row(config) | change, ledger=ledger, say=lines.append
    )
    assert list(report.failed) == ["seed 1"]
    assert ledger.rows() == []


def test_an_interrupt_is_not_a_failure(lines):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs_of({"seed": 1}), stop, say=lines.append)


def test_wrong_arguments(lines):
    with pytest.raises(UserError, match="workers is 0"):
        run_jobs([], work, workers=0)
    with pytest.raises(UserError, match="two jobs"):
        run_jobs(jobs_of({"seed": 1}, {"seed": 1}), work)
    assert run_jobs([], work, say=lines.append).ok
    assert Job({"seed": 1}, "a").run_id == run_id({"seed": 1})


def test_worker_processes(ledger, lines, tmp_path):
    """One job fails, one kills its process: the others are done, each exactly once in the ledger."""
    configs = [{"seed": seed, "folder": str(tmp_path)} for seed in range(4)]
    configs[1]["fail"] = True
    configs[2]["die"] = True
    report = run_jobs(jobs_of(*configs), work, ledger=ledger, workers=2, say=lines.append)
    assert sorted(report.done) == ["seed 0", "seed 3"]
    assert report.failed == {
        "seed 1": "ValueError: seed is bad",
        "seed 2": "its process died (killed, or out of memory)",
    }
    assert sorted(row["seed"] for row in ledger.rows()) == [0, 3]


def test_a_function_that_cannot_travel_is_a_failure(lines):
    report = run_jobs(jobs_of({"seed": 1}), lambda _: None, workers=2, say=lines.append)
    assert list(report.failed) == ["seed 1"]


def test_any_executor(ledger, lines):
    with ThreadPoolExecutor(2) as pool:
        report = run_jobs(
            jobs_of({"seed": 1}, {"seed": 2, "fail": True}),
            work,
            ledger=ledger,
            executor=pool,
            say=lines.append,
        )
        assert pool.submit(lambda: 1).result() == 1  # left open
    assert report.done == ["seed 1"]
    assert list(report.failed) == ["seed 2"]


class Foreign:
    """An executor like submitit's: its jobs are not futures, they have `done` and `result` alone."""

    def __init__(self):
        self.jobs = []

    def submit(self, fn, /, *arguments):
        self.jobs.append(ForeignJob(fn, arguments, len(self.jobs)))
        return self.jobs[-1]


class ForeignJob:
    """Jobs end at the third poll, the first one last; a lost one raises when its result is requested."""

    def __init__(self, fn, arguments, number):
        self.fn, self.arguments, self.looks = fn, arguments, 4 if number == 0 else 2

    def done(self):
        self.looks -= 1
        return self.looks < 0

    def result(self):
        assert self.looks < 0
        if self.arguments[1].get("lost"):
            raise RuntimeError("the node\nwent away")
        return self.fn(*self.arguments)


def test_an_executor_whose_jobs_are_no_futures(ledger, lines, monkeypatch):
    monkeypatch.setattr(places, "POLL_SECONDS", 0)
    jobs = jobs_of({"seed": 1}, {"seed": 2, "lost": True}, {"seed": 3})
    report = run_jobs(jobs, work, ledger=ledger, executor=Foreign(), say=lines.append)
    assert report.done == ["seed 3", "seed 1"]
    assert report.failed == {"seed 2": "RuntimeError: the node went away"}
    assert sorted(row["seed"] for row in ledger.rows()) == [1, 3]
    report = run_jobs(jobs, work, ledger=ledger, executor=Foreign(), say=lines.append)
    assert (report.skipped, list(report.failed)) == (["seed 1", "seed 3"], ["seed 2"])


class Broken(Executor):
    """An executor that breaks at its second job."""

    def __init__(self):
        self.calls = 0

    def submit(self, fn, /, *args, **kwargs):
        from concurrent.futures import BrokenExecutor

        self.calls += 1
        if self.calls > 1:
            raise BrokenExecutor("gone")
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_jobs_lost_with_a_broken_executor_are_failures(lines):
    report = run_jobs(jobs_of({"seed": 1}, {"seed": 2}), work, executor=Broken(), say=lines.append)
    assert report.done == ["seed 1"]
    assert report.failed == {"seed 2": "the executor broke before it was finished"}


def test_an_interrupt_cancels_what_waits():
    ran = []

    def slow(config):
        ran.append(config)
        time.sleep(0.02)

    def say(_):
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        run_jobs(
            jobs_of(*({"seed": seed} for seed in range(20))),
            slow,
            executor=pool,
            say=say,
        )
    assert len(ran) < 20


SWEEP = """
import sys
sys.path.insert(0, {tests!r})
from sweep_work import jobs_of, work
from reprokit import run_jobs
if __name__ == "__main__":
    run_jobs(jobs_of({{"seed": 1, "folder": {folder!r}, "sleep": 300}}), work, workers=2)
"""


def test_workers_end_with_a_killed_sweep(tmp_path):
    script = tmp_path / "sweep.py"
    script.write_text(SWEEP.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    process = subprocess.Popen([sys.executable, str(script)])
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "ran-1").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        children = [
            int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        ]
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert children


def test_a_worker_ends_itself_when_its_parent_is_gone(monkeypatch):
    ended = threading.Event()
    codes = []
    reader, writer = os.pipe()
    never, held = multiprocessing.Pipe(duplex=False)
    monkeypatch.setattr(places.os, "_exit", lambda code: (codes.append(code), ended.set()))
    places.follow(never)  # this process has no parent in multiprocessing's sense: nothing to watch
    parent = types.SimpleNamespace(sentinel=reader)
    monkeypatch.setattr(places.multiprocessing, "parent_process", lambda: parent)
    places.follow(never)
    assert not ended.wait(0.05)
    os.close(writer)
    assert ended.wait(10)
    os.close(reader)
    held.close()
    never.close()
    assert codes == [1]


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119, "119 s"), (150, "2 min"), (7100, "118 min"), (12000, "3 h 20 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
