"""Runs on a Dask cluster inside this process: what every worker must prove, and what happens to its runs.

With real processes, killed ones and Slurm: `test_cluster_processes.py`.
"""

import threading
import time
from functools import partial
from pathlib import Path

import pytest
from reprokit import Job, Ledger, RunDirectory, UserError
from reprokit.run import cluster
from reprokit.run.directory import DirectoryInUse
from reprokit.run.site import Site
from reprokit.run.sweep import run_jobs
from reprokit.run.work import News, Work
from reprokit.run.workers import WorkerOptions, hand_out
from sweep_work import jobs_of, make_row, work

dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def scheduler():
    """The address of a scheduler in this process, with one worker that offers no GPU."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as local:
        yield local.scheduler_address


@pytest.fixture
def ledger(tmp_path):
    return Ledger.for_results(tmp_path / "results.csv", {"value": int})


def do(runs, function, ledger, scheduler, *, data=(), small=(), **options):
    return hand_out(
        runs, function, ledger=ledger, options=WorkerOptions(scheduler=scheduler, **options), package="p", data=data,
        small=small,
    )  # fmt: skip


def stepping(config, *, runs, stop_at=0):
    """A run of three epochs with a checkpoint each, in a folder below `runs`."""
    with RunDirectory(Path(runs) / f"run-{config['seed']}", {"epochs": 3, "seed": config["seed"]}) as run:
        found = run.continue_from("epoch")
        for epoch in range(1 if found is None else found.step + 1, 4):
            run.log({"epoch": epoch})
            run.checkpoints().save(epoch, {}, {})
        run.finish({"value": 0})
    return make_row(config)


def test_rows_are_those_of_serial_runs_and_only_this_process_writes_them(scheduler, ledger, tmp_path, capsys):
    jobs = jobs_of({"seed": 1}, {"seed": 2, "fail": True}, {"seed": 3})
    report = do(jobs, work, ledger, scheduler)
    assert sorted(report.done) == ["seed 1", "seed 3"]
    assert report.failed == {"seed 2": "ValueError: seed is bad"}
    out = capsys.readouterr().out
    assert "seed 2: failed (ValueError: seed is bad) and is tried again" in out
    serial = Ledger.for_results(tmp_path / "serial.csv", {"value": int})
    run_jobs([jobs[0], jobs[2]], work, ledger=serial)

    def lasting(rows):
        return {
            row["run_id"]: {k: v for k, v in row.items() if k not in ("started", "peak_memory_mb")}
            for row in rows
        }

    assert lasting(ledger.rows()) == lasting(serial.rows())
    assert do(jobs[:1], work, ledger, "tcp://nobody:1").skipped == [
        "seed 1"
    ]  # nothing to do: nobody is asked
    assert not list(tmp_path.glob(".cluster-*"))


def test_a_scheduler_file_is_an_address_too(scheduler, ledger, tmp_path):
    file = tmp_path / "scheduler.json"
    file.write_text(f'{{"address": "{scheduler}"}}')
    assert do(jobs_of({"seed": 1}), work, ledger, str(file)).ok
    file.write_text("{}")
    with pytest.raises(UserError, match=f"--scheduler {file} is not a scheduler file"):
        do(jobs_of({"seed": 2}), work, ledger, str(file))


def test_a_scheduler_that_does_not_answer(ledger):
    with dask.config.set({"distributed.comm.timeouts.connect": "50ms"}), pytest.raises(UserError) as caught:
        do(jobs_of({"seed": 1}), work, ledger, "tcp://127.0.0.1:1")
    assert str(caught.value).startswith("--scheduler tcp://127.0.0.1:1 does not answer (")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("versions", lambda _: {"reprokit": "0.0", "p": "absent"}, r"has reprokit .* and this program has 0\.0"),
        ("git_commit", lambda: "a" * 40, r"runs commit .* and this program runs aaaa"),
    ],
)  # fmt: skip
def test_a_worker_of_other_code_is_refused_by_name(scheduler, ledger, monkeypatch, name, value, sentence):
    """The driver's side is changed, but only while it describes itself."""
    real = Site.of

    def of(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"reprokit.run.site.{name}", value)
            return real(*arguments)

    monkeypatch.setattr(Site, "of", of)
    with pytest.raises(UserError, match=f"worker inproc://.* {sentence}"):
        do(jobs_of({"seed": 1}), work, ledger, scheduler)
    assert ledger.rows() == []


def test_a_worker_that_does_not_see_the_data_is_refused_by_name(scheduler, ledger, tmp_path):
    data = tmp_path / "data.npz"
    data.write_bytes(b"12345")
    assert do(jobs_of({"seed": 1}), work, ledger, scheduler, data=[data, "digits", None]).ok
    site = Site.of(tmp_path, "p", [data], [], 1)
    sentence = rf"worker inproc://.* does not see the data {data} as they are here"
    with cluster.on_cluster(scheduler, site) as place:
        data.unlink()  # after the first proof, as for a worker that joins later
        with pytest.raises(UserError, match=sentence):
            run_jobs(jobs_of({"seed": 2}), work, ledger=ledger, executor=place)
    data.write_bytes(b"1")
    with pytest.raises(UserError, match=sentence), cluster.on_cluster(scheduler, site):
        pass


def test_a_worker_that_would_mix_runs_in_a_process_is_refused(ledger):
    site = Site.of(ledger.path.parent, "p", [], [], 1)
    assert "does 4 runs at a time in one process; start it with --nthreads 1" in site.complaint("w", 4)
    assert site.complaint("w", 1) == ""


def test_workers_that_share_no_folder_deliver_rows_from_private_ones(
    scheduler, ledger, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(Site, "seen", lambda _: False)
    small = tmp_path / "runs" / "choice.json"
    small.parent.mkdir()
    small.write_text("[1]")
    function = partial(private, runs=tmp_path / "runs", paths={"choice": [str(small)], "other": "/elsewhere"})
    assert do(jobs_of({"seed": 1}, {"seed": 2}), function, ledger, scheduler, small=[small]).ok
    assert [row["value"] for row in ledger.rows()] == [1, 4]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["choice.json"]  # no run of theirs
    out = capsys.readouterr().out
    assert out.count(f"does not see {tmp_path}: its runs are kept in its own folder") == 1


def private(config, *, runs, paths):
    """A run that must not be where the driver's runs are."""
    (choice,) = paths["choice"]
    assert Path(choice).parent == runs
    assert Path(choice).read_text() == "[1]"
    assert paths["other"] == "/elsewhere"
    return stepping(config, runs=runs)


def test_gpu_runs_wait_for_a_worker_that_offers_one(scheduler, ledger, monkeypatch):
    monkeypatch.setattr(cluster, "LONELY_SECONDS", 0.0)
    lines = []

    def say(line):
        lines.append(line)
        raise KeyboardInterrupt  # it would wait for ever

    job = Job({"seed": 1}, "on a GPU", gpu=True)
    site = Site.of(ledger.path.parent, "p", [], [], 1)
    with cluster.on_cluster(scheduler, site, say=say) as place, pytest.raises(KeyboardInterrupt):
        run_jobs([job], work, ledger=ledger, executor=place, say=lines.append)
    (line,) = lines
    assert line.startswith(
        "waiting: no worker offers the resource GPU; start one with: dask worker inproc://"
    )
    assert line.endswith("--nthreads 1 --resources GPU=1")


def test_a_run_whose_folder_is_in_use_waits_for_it(scheduler, ledger, tmp_path, monkeypatch, capsys):
    """As after a killed driver, whose runs stop only at their next checkpoint."""
    monkeypatch.setattr("reprokit.run.directory.PATIENCE", 0.01)
    function = partial(taken_once, folder=str(tmp_path))
    assert do(jobs_of({"seed": 1}), function, ledger, scheduler, retries=0).ok
    assert capsys.readouterr().out.count("seed 1 waits: its folder is in use by another process") == 1


def taken_once(config, *, folder):
    """A run that finds its folder in use twice."""
    marks = list(Path(folder).glob("mark-*"))
    if len(marks) < 2:
        (Path(folder) / f"mark-{len(marks)}").touch()
        raise DirectoryInUse("in use by another run")
    return make_row(config)


def test_an_interrupt_stops_runs_at_their_next_checkpoint_and_news_travel_through_dask(
    scheduler, ledger, tmp_path, monkeypatch
):
    """The run waits in its first epoch until the driver was interrupted by the news of it."""
    monkeypatch.setattr("reprokit.run.places.TELL_SECONDS", 0.0)
    site = Site.of(tmp_path, "p", [], [], 1)
    told = []
    with cluster.on_cluster(scheduler, site) as place:
        heard, stop = place.heard, place.stop

        def interrupting():
            news = heard()
            told.extend(news)
            if any(item.position for item in news) and not stopped.is_set():
                raise KeyboardInterrupt
            return news

        def stopping(promises):
            answer = stop(promises)
            while promises[0].status != "cancelled":
                time.sleep(0.01)
            stopped.set()
            return answer

        place.heard, place.stop = interrupting, stopping
        stopped.clear()
        with pytest.raises(KeyboardInterrupt):
            run_jobs(jobs_of({"seed": 5}), partial(patient, runs=tmp_path), ledger=ledger, executor=place)
    assert [str(item.position) for item in told if item.position][:1] == ["epoch 1 of 3"]
    assert told[-1].state == "stopped"
    files = [file.name for file in (tmp_path / "run-5" / "checkpoints").iterdir()]
    assert files == ["checkpoint-000000000001.safetensors"]
    assert not (tmp_path / "run-5" / "summary.json").exists()
    assert do(jobs_of({"seed": 5}), partial(stepping, runs=tmp_path), ledger, scheduler).done == ["seed 5"]


stopped = threading.Event()


def patient(config, *, runs):
    """Like `stepping`, but between the first record and the first checkpoint it waits for the interrupt."""
    with RunDirectory(Path(runs) / f"run-{config['seed']}", {"epochs": 3, "seed": config["seed"]}) as run:
        run.log({"epoch": 1})
        assert stopped.wait(60)
        while (state := _state()) not in (None, "cancelled"):
            time.sleep(0.01)
        run.checkpoints().save(1, {}, {})
        raise AssertionError(state)


def _state():
    worker = distributed.get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    return None if task is None else task.state


def test_news_are_plain_lists():
    assert News.read(News("id", "started").plain()) == News("id", "started")
    assert Work(work, {"x"}).of(Job({"seed": 1}, "one")) == (work, {"seed": 1}, False)
