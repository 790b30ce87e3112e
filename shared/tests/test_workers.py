"""Options of commands that do several runs: which are chosen, dry runs, retries, and one driver at a time."""

import signal
import sys
import threading
from pathlib import Path

import pytest
from reprokit import Job, Ledger, RunDirectory, UserError, run_jobs
from reprokit.run import places
from reprokit.run.forecast import expected_seconds, facts
from reprokit.run.study import ReproduceOptions, Task, chosen, reproduce
from reprokit.run.watch import Position, watched
from reprokit.run.workers import WorkerOptions, hand_out, on_gpu, sole_driver
from sweep_work import jobs_of, make_row, work

COLUMNS = {"value": int}


@pytest.fixture
def ledger(tmp_path):
    return Ledger.for_results(tmp_path / "results.csv", COLUMNS)


def do(runs, function, ledger, **options):
    return hand_out(runs, function, ledger=ledger, options=WorkerOptions(**options), package="p")


def failing(times):
    """A run that fails the given number of times."""
    left = [times]

    def run(config):
        left[0] -= 1
        if left[0] >= 0:
            raise OSError("a cable was out")
        return make_row(config)

    return run


def test_a_run_that_fails_once_is_tried_again(ledger, capsys):
    assert do(jobs_of({"seed": 1}), failing(1), ledger).ok
    assert "seed 1: failed (OSError: a cable was out) and is tried again\n" in capsys.readouterr().out
    assert [row["value"] for row in ledger.rows()] == [1]


def test_a_run_that_fails_twice_is_listed_and_stops_nothing(ledger):
    report = do(jobs_of({"seed": 1}, {"seed": 2}), failing(2), ledger)
    assert report.failed == {"seed 1": "OSError: a cable was out"}
    assert report.done == ["seed 2"]
    assert do(jobs_of({"seed": 1}), failing(3), ledger, retries=3).ok
    assert not do(jobs_of({"seed": 3}), failing(1), ledger, retries=0).ok


def test_a_second_driver_on_a_folder_is_refused_by_a_sentence(ledger, tmp_path):
    with sole_driver(tmp_path), pytest.raises(UserError, match=f"another program does runs into {tmp_path}"):
        do(jobs_of({"seed": 1}), work, ledger)
    assert do(jobs_of({"seed": 1}), work, ledger).ok  # it left the folder


def test_a_dry_run_lists_the_runs_and_their_minutes_and_does_none(ledger, tmp_path, capsys):
    ledger.append(make_row({"seed": 1, "lr": 0.1, "epochs": 2}) | {"seconds": 90.0})
    ledger.append(make_row({"seed": 2, "lr": 0.1, "epochs": 2}) | {"seconds": 120.0})
    jobs = [
        Job({"seed": seed, "lr": 0.1, "epochs": epochs}, f"seed {seed}, epochs {epochs}")
        for seed, epochs in ((1, 2), (3, 2), (3, 50))
    ]
    report = do(jobs, work, ledger, dry_run=True)
    assert (report.done, report.skipped) == ([], [])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1].strip() for line in lines] == [
        "minutes",
        "finished",
        "2.0",
        "unknown",
        "3 runs, 2 to do, about 2.0 minutes for 1 of them",
    ]
    assert len(ledger.rows()) == 2
    assert not (tmp_path / ".driver.lock").exists()
    tasks = [Task({"seed": 9}, "c", "part", "nine")]
    out = tmp_path / "none"
    assert (
        reproduce(tasks, work, package="p", options=ReproduceOptions(out=out, dry_run=True), columns=COLUMNS)
        == 0
    )
    assert not out.exists()


def test_minutes_come_from_similar_runs_of_the_same_length():
    job = Job({"a": 1, "b": 2, "epochs": 3, "seed": 5}, "job")
    alike, longer = {"a": 1, "b": 2, "epochs": 3, "seed": 6}, {"a": 1, "b": 2, "epochs": 4}
    assert expected_seconds(job, [(facts(alike), 7.0), (facts(alike), 9.0), (facts(longer), 99.0)]) == 9.0
    assert expected_seconds(job, [(facts({"c": 1, "d": 2, "epochs": 3}), 7.0)]) is None
    assert facts({"configs": [{"a": 1}, {"a": 2}], "seed": 3}) == {("a", "1"), ("a", "2")}


def test_skip_and_patterns_select_by_label():
    tasks = [Task({"n": n}, "claim", "odd" if n % 2 else "even", f"n {n}, seed {n}") for n in range(1, 5)]

    def labels(only=(), skip=()):
        return [task.label[2] for task in chosen(tasks, only, skip=skip)]

    assert labels(skip=("odd",)) == ["2", "4"]
    assert labels(only=("n 1, seed 1", "*seed 4")) == ["1", "4"]
    assert labels(only=("even",), skip=("*seed 4",)) == ["2"]
    with pytest.raises(UserError, match=r"--skip \*seed 9 is unknown; choose from odd, claim, even"):
        labels(skip=("*seed 9",))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"retries": -1}, "--retries is -1; it must be 0 or more"),
        ({"scheduler_config": Path("x.yaml")}, "--scheduler-config x.yaml needs --scheduler"),
        ({"jobs": 10**6}, "--jobs 1000000 with --threads 1 makes 1000000 threads, and this machine has"),
        ({"scheduler": "here"}, "--scheduler is 'here'; give an address such as tcp://HOST:8786"),
        ({"scheduler": "tcp://h:1", "jobs": 2}, "--jobs 2 is about workers that this program starts"),
        ({"scheduler": "dask", "scheduler_config": Path("/none.yaml")}, "--scheduler-config /none.yaml cannot be read"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_used(ledger, options, sentence):
    with pytest.raises(UserError) as caught:
        do(jobs_of({"seed": 1}), work, ledger, **options)
    assert sentence in str(caught.value)


def test_without_dask_one_sentence_says_how_to_get_it(ledger, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(
        UserError, match=r"needs Dask; install it with: pip install distributed dask-jobqueue"
    ):
        do(jobs_of({"seed": 1}), work, ledger, scheduler="dask")


def stepping(config):
    """A run of three epochs, each with a checkpoint; interrupts itself in the second if asked to."""
    with RunDirectory(config["out"], {"epochs": 3, "seed": config["seed"]}) as run:
        found = run.continue_from("epoch")
        for epoch in range(1 if found is None else found.step + 1, 4):
            if epoch == 2 and config.get("interrupt") and not (run.path / "asked").exists():
                (run.path / "asked").touch()
                signal.raise_signal(signal.SIGINT)
            run.log({"epoch": epoch})
            run.checkpoints().save(epoch, {}, {})
            (run.path / "last").write_text(str(epoch))
        run.finish({"value": 0})
    return make_row(config)


def test_the_first_ctrl_c_lets_a_run_come_to_its_next_checkpoint(ledger, tmp_path, capsys):
    jobs = jobs_of({"seed": 1, "out": str(tmp_path / "run"), "interrupt": True}, {"seed": 2, "out": "never"})
    assert threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            do(jobs, stepping, ledger)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert "stopping at the next checkpoint of each run" in capsys.readouterr().err
    assert (
        tmp_path / "run" / "last"
    ).read_text() == "1"  # the second checkpoint is written, what follows is not done
    assert [file.name for file in (tmp_path / "run" / "checkpoints").iterdir()].count(
        "checkpoint-000000000002.safetensors"
    )
    assert do(jobs[:1], stepping, ledger).done == ["seed 1"]


def test_a_watcher_hears_how_far_a_run_is(tmp_path):
    heard = []

    class Watcher:
        def at(self, position):
            heard.append(str(position))

        def wanted(self):
            return True

    with watched(Watcher()):
        stepping({"seed": 1, "out": str(tmp_path / "run")})
        with RunDirectory(tmp_path / "phases", {}) as run:
            run.log({"phase": "initialise"})
            run.log({"other": 1})
    assert heard == ["epoch 1 of 3", "epoch 2 of 3", "epoch 3 of 3", "initialise done"]
    assert str(Position("update", 5)) == "update 5"


def test_processes_have_pinned_threads_and_tell_how_far_they_are(ledger, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "check_cores", lambda *_: None)
    monkeypatch.setattr("reprokit.run.workers.check_cores", lambda *_: None)
    monkeypatch.setattr("reprokit.run.sweep.SAY_SECONDS", 0.0)
    lines = []
    jobs = jobs_of(*({"seed": seed, "out": str(tmp_path / f"run{seed}")} for seed in (1, 2)))
    report = run_jobs(jobs, pinned_run, ledger=ledger, workers=2, threads=3, say=lines.append)
    assert sorted(report.done) == ["seed 1", "seed 2"]
    assert (tmp_path / "run1" / "threads").read_text() == "3 3"
    assert any(" running: seed " in line for line in lines)


def test_one_run_at_a_time_tells_its_progress_where_there_is_no_terminal(ledger, tmp_path, monkeypatch):
    """A log file of a training of hours would otherwise stay empty until its end."""
    monkeypatch.setattr("reprokit.run.sweep.SAY_SECONDS", 0.0)
    lines = []
    jobs = jobs_of(*({"seed": seed, "out": str(tmp_path / f"run{seed}")} for seed in (1, 2)))
    assert run_jobs(jobs, stepping, ledger=ledger, say=lines.append).ok
    running = [line for line in lines if "running" in line]
    assert running[0] == "0 done, 1 running: seed 1 (begun), 0 failed"
    assert running[1] == "0 done, 1 running: seed 1 (epoch 1 of 3), 0 failed"
    assert running[-1].startswith("1 done, 1 running: seed 2 (epoch 3 of 3")
    lines.clear()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    jobs = jobs_of({"seed": 3, "out": str(tmp_path / "run3")})
    assert run_jobs(jobs, stepping, ledger=ledger, say=lines.append).ok
    assert not [line for line in lines if "running" in line]


def test_an_interrupt_stops_worker_processes_at_their_next_checkpoint(ledger, tmp_path, monkeypatch, capfd):
    """The runs would never end by themselves; the third one is not started."""
    monkeypatch.setattr("reprokit.run.sweep.SAY_SECONDS", 0.0)
    jobs = jobs_of(*({"seed": seed, "out": str(tmp_path / f"run{seed}")} for seed in (1, 2, 3)))
    pressed = []

    def say(line):
        if "2 running" in line and line.count("epoch") == 2 and not pressed:
            pressed.append(line)  # a second time would abandon the runs
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, endless, ledger=ledger, workers=2, threads=1, say=say)
    assert "stopping at the next checkpoint of each run" in capfd.readouterr().err
    for seed in (1, 2):
        folder = tmp_path / f"run{seed}"
        newest = max(folder.glob("checkpoints/checkpoint-*"))
        assert int(newest.stem.split("-")[1]) == len((folder / "metrics.jsonl").read_text().splitlines())
    assert not (tmp_path / "run3").exists()


def endless(config):
    """A run with a checkpoint after each record that never ends."""
    with RunDirectory(config["out"], {"epochs": 10**9, "seed": config["seed"]}) as run:
        for epoch in range(1, 10**9):
            run.log({"epoch": epoch})
            run.checkpoints().save(epoch, {}, {})


def pinned_run(config):
    """A run that records what its process may use."""
    import os

    row = stepping(config)
    (Path(config["out"]) / "threads").write_text(
        f"{os.environ['OMP_NUM_THREADS']} {os.environ['MKL_NUM_THREADS']}"
    )
    return row


def test_devices_that_need_a_gpu():
    assert [on_gpu(device) for device in ("cuda", "cuda:1", "0", "cpu", "auto", None)] == [True] * 3 + [
        False
    ] * 3
