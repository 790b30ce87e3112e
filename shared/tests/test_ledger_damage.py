"""Ledgers that are damaged, shared, killed or on a full disk: no acknowledged row is lost, none torn or doubled."""

import itertools
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from killing import kill_at_every_point
from reprokit import LEDGER_COLUMNS, Ledger, UserError, standard_row
from reprokit.run import ledger as ledger_module
from reprokit.run.ledger import read_ledger

KILLED_AT = {
    1: ("write", 5),
    4: ("fsync", 125),
    6: ("write", 175),
}  # writer -> function of `os` and number of its call
SCHEMA = {"run_id": str, "accuracy": float, "count": int, "good": bool, "text": str, "extra": dict}


def row(name="r1", **changes):
    values = {
        "run_id": name,
        "accuracy": 0.5,
        "count": 3,
        "good": True,
        "text": 'a, "b"',
        "extra": {"k": [1]},
    }
    return values | changes


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "deep" / "results.csv", SCHEMA)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run_id,accuracy,count,good,text,extra\nr1,0.5\n", "line 2 has 2 cells, not 6"),
        (
            "run_id,accuracy,count,good,text,extra\nr1,much,3,true,,{}\n",
            "line 2, column accuracy: 'much' is not of type float",
        ),
        (
            "run_id,accuracy,count,good,text,extra\nr1,1,3.5,true,,{}\n",
            "line 2, column count: '3.5' is not of type int",
        ),
        ("run_id,accuracy,count,good,text,extra\nr1,1,3,yes,,{}\n", "column good: 'yes' is not of type bool"),
        ("run_id,accuracy,count,good,text,extra\nr1,1,3,true,,{\n", "column extra: '{' is not of type dict"),
    ],
)
def test_damaged_rows_are_named(tmp_path, text, message):
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        Ledger(tmp_path / "r.csv", SCHEMA).rows()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\n",
        b'run_id,"x\n',
        b"a\n\0\n",
        b'run_id,accuracy,count,good,text,extra\n"r1"x,1,2,true,,{}\n',
    ],
)
def test_files_that_are_no_csv(tmp_path, data):
    (tmp_path / "r.csv").write_bytes(data)
    with pytest.raises(UserError):
        Ledger(tmp_path / "r.csv", SCHEMA).rows()


def test_a_short_line_has_no_run_id(tmp_path):
    (tmp_path / "r.csv").write_text("a,run_id\n1\n2,r2\n")
    ledger = Ledger(tmp_path / "r.csv", {"a": str, "run_id": str})
    assert ledger.has("r2")
    assert not ledger.has("1")
    with pytest.raises(UserError, match="line 2 has 1 cells, not 2"):
        ledger.rows()


def test_a_spreadsheet_may_have_touched_the_file(ledger):
    ledger.append(row())
    ledger.path.write_bytes(b"\xef\xbb\xbf" + ledger.path.read_bytes().replace(b"\n", b"\r\n"))
    again = Ledger(ledger.path, SCHEMA)
    assert again.append(row("r2"))
    assert not again.append(row())
    assert again.rows() == [row(), row("r2")]


def test_a_torn_last_line_moves_aside_on_open(ledger):
    ledger.append(row())
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole + b"r2,0.")
    assert ledger.rows() == [row()]  # a reader never sees it
    Ledger(ledger.path, SCHEMA)
    assert ledger.path.read_bytes() == whole
    assert ledger.path.with_name("results.csv.rejected").read_bytes() == b"r2,0.\n"


def test_a_torn_line_moves_aside_on_append_and_its_run_counts_as_new(ledger):
    ledger.append(row())
    with ledger.path.open("ab") as file:
        file.write(b"r2,0.5,3")
    assert ledger.append(row("r2"))
    assert ledger.rows() == [row(), row("r2")]


def test_a_torn_header_is_written_anew(ledger):
    ledger.path.parent.mkdir()
    ledger.path.write_bytes(b"run_id,accu")
    assert Ledger(ledger.path, SCHEMA).append(row())
    assert ledger.rows() == [row()]


def test_every_truncation_leaves_the_rows_before_it(ledger):
    for name in ("r1", "r2"):
        ledger.append(row(name))
    data = ledger.path.read_bytes()
    ends = [position + 1 for position, byte in enumerate(data) if byte == 10]
    for length in range(len(data)):
        ledger.path.write_bytes(data[:length])
        again = Ledger(ledger.path, SCHEMA)
        complete = max(0, sum(end <= length for end in ends) - 1)
        assert len(again.rows()) == complete
        assert again.append(row("r9"))
        assert again.rows()[-1] == row("r9")
        assert ledger.path.read_bytes().count(b"run_id") == 1


def test_reading_needs_no_write_permission(ledger, monkeypatch):
    ledger.append(row())
    with ledger.path.open("ab") as file:
        file.write(b"torn")

    def refuse(*_, **__):
        raise UserError("cannot write")

    monkeypatch.setattr(ledger_module, "acquire", refuse)
    assert Ledger(ledger.path, SCHEMA).rows() == [row()]


def test_unreadable_places(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match=r"folder.csv cannot be read: Is a directory"):
        Ledger(tmp_path / "folder.csv", SCHEMA)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_ledger(tmp_path / "absent.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be read: Not a directory"):
        Ledger(tmp_path / "file" / "r.csv", SCHEMA)


def test_a_cell_of_endless_brackets_is_named(tmp_path):
    ledger = Ledger(tmp_path / "r.csv", {"run_id": str, "extra": dict})
    ledger.append({"run_id": "a", "extra": {}})
    text = ledger.path.read_text()
    ledger.path.write_text(text.replace("{}", "[" * 100_000))
    with pytest.raises(UserError, match=r"line 2, column extra: '\[{80}\.\.\.' is not of type dict; repair"):
        ledger.rows()


def test_unwritable_folder(tmp_path):
    """R7, as an ordinary user: one clear sentence."""
    folder = tmp_path / "closed"
    folder.mkdir()
    Ledger(folder / "r.csv", SCHEMA)
    folder.chmod(0o555)

    def attempt():
        if os.geteuid() == 0:
            for place in (*tmp_path.parents[:3], tmp_path):
                place.chmod(place.stat().st_mode | 0o055)
            os.seteuid(65534)
        try:
            Ledger(folder / "r.csv", SCHEMA).append(row())
        except UserError as error:
            return f"{error}"
        finally:
            if os.getuid() == 0:
                os.seteuid(0)
        return "no error"

    assert "cannot write in" in attempt()
    assert "Permission denied; choose a folder you may write to" in attempt()


def test_a_full_disk_leaves_the_file_as_it_was(ledger):
    """R7: the system cuts a write short; the half line is taken back, the next append works."""
    ledger.append(row())
    before = ledger.path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: .*results\.csv"):
            ledger.append(row("r2"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ledger.path.read_bytes() == before
    assert ledger.append(row("r2"))
    assert ledger.rows() == [row(), row("r2")]


def test_a_lock_that_stays_taken_is_an_error(ledger, monkeypatch):
    monkeypatch.setattr(ledger_module, "PATIENCE", 0.05)
    ledger.append(row())
    code = f"import fcntl,time; f=open({str(ledger_module.lock_beside(ledger.path))!r}); fcntl.flock(f, 2)"
    code += "; print(1, flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        holder.stdout.readline()
        with pytest.raises(UserError, match="has been locked for"):
            ledger.append(row("r2"))
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert ledger.append(row("r2"))


def test_threads_share_one_ledger(ledger):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda index: ledger.append(row(f"r{index % 50}")), range(200)))
    assert sum(added) == 50
    assert len(ledger.rows()) == 50


def die_at(name, number):
    """Let this process die at its `number`-th call of `os.<name>`: before it, or in the middle of a write."""
    call, calls = getattr(os, name), itertools.count(1)

    def stand_in(*arguments):
        if next(calls) == number:
            if name == "write":
                call(arguments[0], arguments[1][: len(arguments[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments)

    setattr(os, name, stand_in)


def write_rows(path, writer, count, log):
    """Append rows; note each acknowledged one in `log` at once."""
    if writer in KILLED_AT:
        die_at(*KILLED_AT[writer])
    ledger = Ledger(path, LEDGER_COLUMNS)
    base = standard_row({}, package="p", claim="c", dataset="d", scale="smoke", seed=1, seconds=1, threads=1)
    with Path(log).open("a", buffering=1) as acknowledged:
        for index in range(count):
            name = f"{writer}-{index}"
            if ledger.append(base | {"run_id": name, "seed": index}):
                acknowledged.write(f"{name}\n")


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_eight_writers_three_killed(tmp_path, count):
    """R11: every acknowledged row present once, none torn, one header."""
    path = tmp_path / "results.csv"
    context = multiprocessing.get_context("fork")
    logs = [tmp_path / f"log{writer}" for writer in range(8)]
    writers = [context.Process(target=write_rows, args=(path, w, count, logs[w])) for w in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    killed = sum(writer.exitcode == -signal.SIGKILL for writer in writers)
    assert killed == len(KILLED_AT)
    acknowledged = [name for log in logs for name in log.read_text().split("\n")[:-1]]
    names = [found["run_id"] for found in Ledger(path, LEDGER_COLUMNS).rows()]
    assert len(names) == len(set(names))
    assert set(acknowledged) <= set(names)
    assert (
        len(set(names) - set(acknowledged)) <= killed
    )  # a row on disk whose writer died before it could say so
    assert len(names) >= 5 * count
    assert path.read_bytes().count(b"run_id,package") == 1
    assert path.read_bytes().endswith(b"\n")


APPENDER = """
from pathlib import Path
from reprokit import Ledger

def work(folder, say):
    ledger = Ledger(Path(folder) / "results.csv", {"run_id": str, "count": int, "text": str})
    rows = ledger.rows()
    assert [row["count"] for row in rows] == list(range(len(rows)))
    count = len(rows)
    say(count)
    while True:
        assert ledger.append({"run_id": f"r{count}", "count": count, "text": "x" * 3000})
        count += 1
        say(count)
"""


def test_kill_at_every_point(tmp_path):
    """R5: after each of 100 kills the acknowledged rows are there, once, in order, and appending continues."""
    acknowledged = kill_at_every_point(APPENDER, tmp_path)
    rows = Ledger(tmp_path / "results.csv", {"run_id": str, "count": int, "text": str}).rows()
    assert [row["count"] for row in rows] == list(range(len(rows)))
    assert len(rows) >= acknowledged > 0
