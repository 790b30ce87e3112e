import gc
import json
import os
import resource
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from killing import kill_at_every_point
from reprokit import RunDirectory, UserError, read_config, run_id
from reprokit.files.atomic import atomic_write
from reprokit.run import directory as rundir

CONFIG = {"seed": 42, "layers": (800, 800), "out": Path("x")}


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch):
    monkeypatch.setattr(rundir, "PATIENCE", 0.05)


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name not in (".run.lock", "digests.json"))


def test_a_new_run_writes_its_whole_configuration(tmp_path):
    with RunDirectory(tmp_path / "a" / "b", CONFIG) as run:
        assert run.run_id == run_id(CONFIG)
        assert run.config == {"seed": 42, "layers": [800, 800], "out": "x"} == read_config(run.path)
        assert not run.finished
        assert run.records() == []
        assert names(run.path) == ["config.json"]
        with pytest.raises(UserError, match=r"summary.json cannot be read"):
            run.summary()


def test_finish_marks_the_run_and_frees_the_folder(tmp_path):
    run = RunDirectory(tmp_path, CONFIG)
    run.finish({"accuracy": np.float32(0.5), "best": float("nan")})
    again = RunDirectory(tmp_path, CONFIG)
    assert again.finished
    assert again.summary()["accuracy"] == 0.5
    again.close()
    again.close()


def test_log_records_and_rewind(tmp_path):
    with RunDirectory(tmp_path, CONFIG) as run:
        for epoch in range(5):
            values = {
                "loss": np.float32(0.1),
                "curve": np.arange(2),
                "bad": float("nan"),
                "folder": Path("x"),
            }
            run.log({"epoch": epoch, **values})
        assert [record["epoch"] for record in run.records()] == [0, 1, 2, 3, 4]
        assert run.records()[0]["loss"] == float(np.float32(0.1))
        assert run.records()[0]["curve"] == [0, 1]
        assert run.records()[0]["folder"] == "x"
        assert np.isnan(run.records()[0]["bad"])
        before = (run.path / "metrics.jsonl").stat().st_ino
        run.rewind_log(lambda record: record["epoch"] < 10)
        assert (run.path / "metrics.jsonl").stat().st_ino == before
        run.rewind_log(lambda record: record["epoch"] <= 2)
        run.log({"epoch": 3})
        assert [record["epoch"] for record in run.records()] == [0, 1, 2, 3]


def test_a_torn_log_line_is_dropped_on_open(tmp_path):
    with RunDirectory(tmp_path, CONFIG) as run:
        run.log({"epoch": 0})
    log = tmp_path / "metrics.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"epoch": 1, "lo')
    with RunDirectory(tmp_path, CONFIG) as run:
        assert log.read_bytes() == whole
        run.log({"epoch": 1})
        assert run.records() == [{"epoch": 0}, {"epoch": 1}]


@pytest.mark.parametrize("line", ["{", "[1]", "\\xff"])
def test_a_damaged_log_line_is_named(tmp_path, line):
    with RunDirectory(tmp_path, CONFIG) as run:
        (tmp_path / "metrics.jsonl").write_text('{"a": 1}\n' + line + "\n")
        with pytest.raises(UserError, match=r"metrics.jsonl line 2 is damaged"):
            run.records()


def test_another_configuration_is_refused_and_the_keys_named(tmp_path):
    RunDirectory(tmp_path, {"seed": 1, "lr": 0.1, "old": True}).close()
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(UserError) as caught:
        RunDirectory(tmp_path, {"seed": 2, "lr": 0.1, "new": None})
    for part in ("new '(absent)' there, None now", "old True there", "seed 1 there, 2 now"):
        assert part in str(caught.value)
    assert "lr" not in str(caught.value)
    assert (tmp_path / "config.json").read_bytes() == before
    RunDirectory(tmp_path, {"old": True, "seed": 1, "lr": 0.1}).close()  # and the folder is free again


def test_many_differences_are_counted(tmp_path):
    RunDirectory(tmp_path, {}).close()
    with pytest.raises(UserError, match=r"k7 .* now and 4 more;") as caught:
        RunDirectory(tmp_path, {f"k{index:x}": index for index in range(12)})
    assert "k8" not in str(caught.value)
    with pytest.raises(UserError, match=r"k7 '\(absent\)' there, 7 now; choose"):
        RunDirectory(tmp_path, {f"k{index:x}": index for index in range(8)})


def test_a_long_list_that_differs_is_named(tmp_path):
    RunDirectory(tmp_path, {"hidden": list(range(9))}).close()
    with pytest.raises(UserError, match=r"hidden \[0, 1, .*8\] there, \[1, 2, .*9\] now"):
        RunDirectory(tmp_path, {"hidden": list(range(1, 10))})


def test_numbers_of_numpy_are_logged_exactly(tmp_path):
    with RunDirectory(tmp_path, CONFIG) as run:
        run.log({"nan": np.float32("nan"), "inf": np.array([np.inf]), "flag": np.bool_(True)})
        (record,) = run.records()
    assert np.isnan(record["nan"])
    assert record["inf"] == [np.inf]
    assert record["flag"] is True


def test_nested_keys_are_named_one_by_one(tmp_path):
    RunDirectory(tmp_path, {"layers": [{"a": 1, "b": 2}], "net": {"x": 1, "y": 2}}).close()
    with pytest.raises(UserError, match=r"configuration: net\.x 1 there, 3 now; choose"):
        RunDirectory(tmp_path, {"layers": [{"b": 2, "a": 1}], "net": {"y": 2, "x": 3}})


def test_numbers_of_another_kind_are_another_configuration(tmp_path):
    RunDirectory(tmp_path, {"rate": 1}).close()
    with pytest.raises(UserError, match=r"rate 1 there, 1.0 now"):
        RunDirectory(tmp_path, {"rate": 1.0})


def test_without_resume_an_existing_run_is_refused(tmp_path):
    RunDirectory(tmp_path, CONFIG, resume=False).close()
    with pytest.raises(UserError, match="holds a run already"):
        RunDirectory(tmp_path, CONFIG, resume=False)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "cannot be read as JSON"), ("[]", "holds no JSON object")]
)
def test_a_foreign_config_file_is_refused(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=message):
        RunDirectory(tmp_path, CONFIG)
    assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize("damaged", [False, True])
def test_a_refused_start_leaves_the_folder_as_it_was(tmp_path, damaged):
    text = "{" if damaged else '{"tau_cur": 1}'
    (tmp_path / "config.json").write_text(text)
    for options in ({}, {"resume": False}, {"force": True, "options": {"package": "sbs"}}):
        with pytest.raises(UserError):
            RunDirectory(tmp_path, CONFIG, **options)
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]
    assert (tmp_path / "config.json").read_text() == text


def test_a_folder_without_a_run_has_no_configuration(tmp_path):
    assert read_config(tmp_path / "absent") is None


def test_two_owners_in_one_process(tmp_path):
    with RunDirectory(tmp_path, CONFIG):
        with pytest.raises(UserError, match="in use by another run"):
            RunDirectory(tmp_path, CONFIG)
        with pytest.raises(UserError, match="in use by another run"):
            RunDirectory(tmp_path / ".." / tmp_path.name, CONFIG)
    RunDirectory(tmp_path, CONFIG).close()


def test_an_owner_in_the_same_process_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(rundir, "PATIENCE", 100)
    start = time.monotonic()
    with RunDirectory(tmp_path, CONFIG), pytest.raises(UserError, match="in use by another run"):
        RunDirectory(tmp_path, CONFIG)
    assert time.monotonic() - start < 20


def test_a_forgotten_owner_frees_the_folder(tmp_path):
    run = RunDirectory(tmp_path, CONFIG)
    del run
    gc.collect()
    RunDirectory(tmp_path, CONFIG).close()


def test_another_thread_may_close_the_folder(tmp_path):
    run = RunDirectory(tmp_path, CONFIG)
    thread = threading.Thread(target=run.close)
    thread.start()
    thread.join()
    done = subprocess.run(
        [sys.executable, "-c", HOLDER.replace("sleep(60)", "sleep(0)"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "another configuration" in done.stderr  # it got as far as reading the folder


HOLDER = """
import sys, time
from reprokit import RunDirectory
from reprokit.run import directory as rundir
rundir.PATIENCE = 0.05
run = RunDirectory(sys.argv[1], {"seed": 1})
print("held", flush=True)
time.sleep(60)
"""


def test_an_owner_in_another_process_and_its_death(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        with pytest.raises(UserError, match="in use by another run; wait for it or choose another folder"):
            RunDirectory(tmp_path, {"seed": 1})
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    RunDirectory(tmp_path, {"seed": 1}).close()


def test_a_forked_child_does_not_free_its_parents_folder(tmp_path):
    with RunDirectory(tmp_path, {"seed": 1}) as run:  # as HOLDER's
        child = os.fork()
        if child == 0:
            run.close()
            os._exit(0)
        os.waitpid(child, 0)
        done = subprocess.run(
            [sys.executable, "-c", HOLDER.replace("sleep(60)", "sleep(0)"), str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert "in use by another run" in done.stderr


def test_arrays_and_texts(tmp_path):
    with RunDirectory(tmp_path, CONFIG) as run:
        array = np.arange(6, dtype=np.float32).reshape(2, 3)
        assert run.write_array("weights/w_42", array) == tmp_path / "weights" / "w_42.npy"
        np.testing.assert_array_equal(np.load(tmp_path / "weights" / "w_42.npy"), array)
        run.write_array("w_42.npy", array)
        assert run.write_text("notes.txt", "é\n").read_bytes() == "é\n".encode()
        with pytest.raises(ValueError, match="pickle"):  # R8
            run.write_array("objects", np.array([object()]))
        for name in ("../outside", "/outside"):
            with pytest.raises(ValueError, match="leaves the run directory"):
                run.write_text(name, "")
    assert names(tmp_path) == ["config.json", "notes.txt", "w_42.npy", "weights"]


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    (tmp_path / ".w.npy.123.tmp").write_bytes(b"half")
    RunDirectory(tmp_path, CONFIG).close()
    assert names(tmp_path) == ["config.json"]


def test_places_that_cannot_hold_a_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"cannot create the run directory .*file: (File exists|Not a directory)"
    ):
        RunDirectory(tmp_path / "file", CONFIG)
    with pytest.raises(UserError, match="File name too long; choose a folder you may write to"):
        RunDirectory(tmp_path / ("x" * 300), CONFIG)


def test_no_write_permission(tmp_path):
    """R7, as an ordinary user."""
    closed = tmp_path / "closed"
    closed.mkdir()
    for place in (*tmp_path.parents[:3], tmp_path):
        if place.stat().st_uid == os.geteuid() and place != Path("/tmp"):
            place.chmod(place.stat().st_mode | 0o055)
    closed.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(UserError, match=r"cannot create the run directory .*Permission denied"):
            RunDirectory(closed / "run", CONFIG)
        with pytest.raises(UserError, match=r"cannot write in .*Permission denied; choose a folder"):
            RunDirectory(closed, CONFIG)
    finally:
        if root:
            os.seteuid(0)
    assert list(closed.iterdir()) == []


@contextmanager
def small_disk():
    """Let files grow to 1000 bytes only, as a disk that runs full would.

    No fixture: the limit must be gone before pytest reports the test, for its output may be a longer file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_old_files_whole(tmp_path):
    """R7: replaced files stay the old ones, the log keeps whole lines, nothing half-written remains."""
    with small_disk(), RunDirectory(tmp_path, CONFIG) as run:
        run.write_array("w.npy", np.zeros(10))
        with pytest.raises(OSError, match="File too large"):
            run.write_array("w.npy", np.zeros(1000))
        assert np.load(tmp_path / "w.npy").shape == (10,)
        run.log({"text": "x" * 600})
        with pytest.raises(OSError, match="File too large"):
            run.log({"text": "y" * 600})
        run.log({"text": "z"})
        assert [record["text"][0] for record in run.records()] == ["x", "z"]
    assert names(tmp_path) == ["config.json", "metrics.jsonl", "w.npy"]


def test_a_full_disk_at_the_start_leaves_no_run(tmp_path):
    with small_disk(), pytest.raises(OSError, match="File too large"):
        RunDirectory(tmp_path, {"text": "x" * 2000})
    assert names(tmp_path) == []
    RunDirectory(tmp_path, CONFIG).close()


LOGGER = """
from pathlib import Path
from reprokit import RunDirectory

def work(folder, say):
    with RunDirectory(folder, {"seed": 1}) as run:
        epochs = [record["epoch"] for record in run.records()]
        assert epochs == list(range(len(epochs)))
        state, epoch = Path(folder) / "state.txt", len(epochs)
        if state.exists():
            words = state.read_text().split()
            assert len(words) == 5000 and len(set(words)) == 1
        say(epoch)
        while True:
            run.write_text("state.txt", f"{epoch} " * 5000)
            run.log({"epoch": epoch, "filling": "x" * 200})
            epoch += 1
            say(epoch)
"""


def test_kill_at_every_point(tmp_path):
    """R5: after each of 100 kills the same command starts, acknowledged records are there, files are whole."""
    acknowledged = kill_at_every_point(LOGGER, tmp_path)
    with RunDirectory(tmp_path, {"seed": 1}) as run:
        assert len(run.records()) >= acknowledged > 0
    assert names(tmp_path) == ["config.json", "metrics.jsonl", "state.txt"]
    assert json.loads((tmp_path / "config.json").read_text()) == {"seed": 1}


def test_an_interrupted_replacement_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "f"
    atomic_write(target, b"old")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(target, b"new")
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["f"]
