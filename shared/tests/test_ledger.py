import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reprokit import LEDGER_COLUMNS, Ledger, UserError, standard_row
from reprokit import ledger as ledger_module
from reprokit.ledger import read_ledger

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


def test_rows_come_back_typed(ledger):
    assert ledger.rows() == []
    assert not ledger.path.exists()
    assert ledger.append(row())
    assert ledger.append(
        row("r2", accuracy=np.float32(0.1), count=np.int64(7), good=np.bool_(False), text="")
    )
    assert ledger.append(row("r3", accuracy=None, count=None, good=None, extra=None))
    assert ledger.rows() == [
        row(),
        row("r2", accuracy=float(np.float32(0.1)), count=7, good=False, text=""),
        row("r3", accuracy=None, count=None, good=None, extra=None),
    ]


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), 1e-308, 0.1 + 0.2, 5e-324, -0.0])
def test_floats_are_exact(ledger, value):
    ledger.append(row(accuracy=value))
    found = ledger.rows()[0]["accuracy"]
    assert np.float64(found).tobytes() == np.float64(value).tobytes()


def test_nan_is_kept_apart_from_empty(ledger):
    ledger.append(row(accuracy=float("nan")))
    assert np.isnan(ledger.rows()[0]["accuracy"])


def test_a_finished_run_is_recorded_once(ledger):
    assert ledger.append(row())
    before = ledger.path.read_bytes()
    assert not ledger.append(row(accuracy=0.9))
    assert not Ledger(ledger.path, SCHEMA).append(row())
    assert ledger.path.read_bytes() == before
    assert ledger.has("r1")
    assert not ledger.has("r2")


def test_another_instance_sees_new_rows(ledger):
    other = Ledger(ledger.path, SCHEMA)
    assert not other.has("r1")
    ledger.append(row())
    assert other.has("r1")
    assert not other.append(row())


def test_a_deleted_or_replaced_file_is_noticed(ledger):
    ledger.append(row())
    ledger.append(row("r2"))
    ledger.path.unlink()
    assert not ledger.has("r1")
    assert ledger.append(row())
    assert len(ledger.rows()) == 1


def test_another_file_in_its_place_is_read_anew(ledger):
    ledger.append(row())
    other = Ledger(ledger.path.with_name("other.csv"), SCHEMA)
    for name in ("r5", "r6", "r7"):
        other.append(row(name))
    other.path.replace(ledger.path)
    assert not ledger.has("r1")
    assert ledger.has("r5")
    ledger.path.write_bytes(b"")  # the same file, shorter
    assert not ledger.has("r5")
    assert ledger.append(row("r5"))


def test_a_schema_without_run_id_takes_equal_rows(tmp_path):
    ledger = Ledger(tmp_path / "b.csv", {"case": str, "seconds": float})
    assert ledger.append({"case": "a", "seconds": 1})
    assert ledger.append({"case": "a", "seconds": 1})
    assert len(ledger.rows()) == 2


def test_standard_columns_and_metrics(tmp_path):
    ledger = Ledger.for_results(tmp_path / "r.csv", {"n_in": int, "test_acc": float})
    full = standard_row(
        {"s": 1}, package="p", claim="c", dataset="d", scale="smoke", seed=1, seconds=1, threads=1
    )
    ledger.append(full | {"n_in": 256, "test_acc": 0.8})
    (found,) = ledger.rows()
    assert found == full | {"n_in": 256, "test_acc": 0.8}
    assert ledger.path.read_text().startswith(
        "run_id,package,claim,dataset,scale,seed,n_in,test_acc,seconds,"
    )
    with pytest.raises(ValueError, match="columns seed exist"):
        Ledger.for_results(tmp_path / "r.csv", {"seed": int})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracy": "0.5"}, "column accuracy takes a float, not '0.5'"),
        ({"accuracy": True}, "column accuracy takes a float, not True"),
        ({"count": 1.0}, "column count takes a int, not 1.0"),
        ({"count": True}, "column count takes a int"),
        ({"good": 1}, "column good takes a bool, not 1"),
        ({"text": Path("x")}, "column text takes a str"),
        ({"text": "two\nlines"}, "takes one line"),
        ({"text": "two\rlines"}, "takes one line"),
        ({"text": "nul\0"}, "takes one line"),
        ({"text": "x" * 131_073}, "at most 131072 characters"),
        ({"extra": [1]}, "column extra takes a dict"),
        ({"unknown": 1}, "has the unknown columns unknown"),
    ],
)
def test_wrong_values_are_refused_and_nothing_is_written(ledger, change, message):
    with pytest.raises(UserError, match=message):
        ledger.append(row(**change))
    assert not ledger.path.exists()


def test_missing_columns_are_named(ledger):
    with pytest.raises(UserError, match="lacks accuracy, good and has the unknown columns more"):
        ledger.append({"run_id": "a", "count": 1, "text": "", "extra": {}, "more": 1})


def test_the_longest_cell_can_be_read_back(ledger):
    ledger.append(row(text="x" * 131_072))
    assert len(ledger.rows()[0]["text"]) == 131_072


def test_other_columns_are_an_error_that_names_them(ledger):
    ledger.append(row())
    schema = {name: kind for name, kind in SCHEMA.items() if name != "count"} | {"recall": float}
    with pytest.raises(UserError, match=r"it lacks recall and it has count besides; .*Ledger.widen"):
        Ledger(ledger.path, schema)
    with pytest.raises(UserError, match="their order differs"):
        Ledger(ledger.path, dict(reversed(SCHEMA.items())))


def test_columns_that_appear_later_are_noticed_at_append(tmp_path):
    early = Ledger(tmp_path / "r.csv", {"run_id": str})
    Ledger(tmp_path / "r.csv", SCHEMA).append(row())
    with pytest.raises(UserError, match="besides"):
        early.append({"run_id": "x"})
    with pytest.raises(UserError, match="besides"):
        early.rows()


def test_widen_adds_columns_and_loses_none(ledger):
    ledger.append(row())
    wider = Ledger.widen(ledger.path, SCHEMA | {"recall": float})
    assert wider.rows() == [row() | {"recall": None}]
    assert wider.append(row("r2") | {"recall": 0.5})
    with pytest.raises(UserError, match=r"has the columns accuracy, .* lost"):
        Ledger.widen(ledger.path, {"run_id": str})
    with pytest.raises(UserError, match="other columns"):
        ledger.append(row("r3"))


def test_column_types_are_checked(tmp_path):
    with pytest.raises(TypeError, match="cannot be of type list"):
        Ledger(tmp_path / "x.csv", {"a": list})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run_id,accuracy,count,good,text,extra\nr1,0.5\n", "line 2 has 2 cells, not 6"),
        (
            "run_id,accuracy,count,good,text,extra\nr1,much,3,true,,{}\n",
            "row 2, column accuracy: 'much' is no float",
        ),
        (
            "run_id,accuracy,count,good,text,extra\nr1,1,3.5,true,,{}\n",
            "row 2, column count: '3.5' is no int",
        ),
        ("run_id,accuracy,count,good,text,extra\nr1,1,3,yes,,{}\n", "column good: 'yes' is no bool"),
        ("run_id,accuracy,count,good,text,extra\nr1,1,3,true,,{\n", "column extra: '{' is no dict"),
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


def write_rows(path, writer, count, log):
    """Append rows; note each acknowledged one in `log` at once."""
    ledger = Ledger(path, LEDGER_COLUMNS)
    base = standard_row({}, package="p", claim="c", dataset="d", scale="smoke", seed=1, seconds=1, threads=1)
    with Path(log).open("a", buffering=1) as acknowledged:
        for index in range(count):
            name = f"{writer}-{index}"
            if ledger.append(base | {"run_id": name, "seed": index}):
                acknowledged.write(f"{name}\n")


def test_eight_writers_of_a_thousand_rows_three_killed(tmp_path):
    """R11: every acknowledged row present once, none torn, one header."""
    path = tmp_path / "results.csv"
    context = multiprocessing.get_context("fork")
    logs = [tmp_path / f"log{writer}" for writer in range(8)]
    writers = [context.Process(target=write_rows, args=(path, w, 1000, logs[w])) for w in range(8)]
    rng = random.Random(11)
    for writer in writers:
        writer.start()
    for victim in rng.sample(writers, 3):
        time.sleep(rng.uniform(0.2, 0.6))
        os.kill(victim.pid, signal.SIGKILL)
    for writer in writers:
        writer.join()
    killed = sum(writer.exitcode == -signal.SIGKILL for writer in writers)
    assert killed == 3
    acknowledged = [name for log in logs for name in log.read_text().split("\n")[:-1]]
    names = [found["run_id"] for found in Ledger(path, LEDGER_COLUMNS).rows()]
    assert len(names) == len(set(names))
    assert set(acknowledged) <= set(names)
    assert (
        len(set(names) - set(acknowledged)) <= killed
    )  # a row on disk whose writer died before it could say so
    assert len(names) >= 5000
    assert path.read_bytes().count(b"run_id,package") == 1
    assert path.read_bytes().endswith(b"\n")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), max_size=30),
    number=st.floats(allow_nan=False),
    count=st.integers(),
    extra=st.dictionaries(st.text(max_size=5), st.lists(st.integers(), max_size=3), max_size=3),
)
def test_any_value_round_trips(tmp_path, text, number, count, extra):
    path = tmp_path / "any.csv"
    path.unlink(missing_ok=True)
    ledger = Ledger(path, SCHEMA)
    values = row(text=text, accuracy=number, count=count, extra=extra)
    ledger.append(values)
    assert ledger.rows() == [values]


def test_files_of_release_0_1_stay_readable():
    """R17."""
    (found,) = Ledger(Path(__file__).parent / "old_files" / "ledger-0.1.csv", SCHEMA).rows()
    assert found == row()
