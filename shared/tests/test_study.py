"""A study: tasks into one ledger, finished ones skipped, figures at the end."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from reprokit import Ledger, UserError, run_id, standard_row
from reprokit.run.study import ReproduceOptions, Task, chosen, reproduce

COLUMNS = {"value": int, "writer": int, "rank": int}


def row(config, value):
    about = {
        "package": "p",
        "claim": "c",
        "dataset": "d",
        "scale": "smoke",
        "seed": 0,
        "seconds": 0.0,
        "threads": 1,
    }
    return standard_row(config, **about, packages=()) | {"value": value, "writer": os.getpid(), "rank": None}


def square(config):
    """One row."""
    if config["n"] < 0:
        raise UserError("n is negative")
    return row(config, config["n"] ** 2)


def curve(config):
    """A row for each point."""
    return [row(config | {"point": point}, point) for point in config["points"]]


def tasks(*numbers):
    return [Task({"n": n}, "squares", "even" if n % 2 == 0 else "odd", f"n {n}") for n in numbers]


def options(tmp_path, **more):
    return ReproduceOptions(out=tmp_path / "out", **more)


def run(tmp_path, planned, work=square, **more):
    return reproduce(planned, work, package="p", options=options(tmp_path), columns=COLUMNS, **more)


def ledger(tmp_path):
    return Ledger.for_results(tmp_path / "out" / "results.csv", COLUMNS).rows()


def test_rows_are_written_once_and_drawn(tmp_path, capsys):
    drawn = []

    def draw(rows, folder):
        drawn.append(([r["value"] for r in rows], folder))
        return [folder / "figure.png"]

    assert run(tmp_path, tasks(1, 2), draw=draw) == 0
    assert run(tmp_path, tasks(1, 2, 3), draw=draw) == 0
    assert [r["value"] for r in ledger(tmp_path)] == [1, 4, 9]
    assert drawn == [([1, 4], tmp_path / "out"), ([1, 4, 9], tmp_path / "out")]
    out = capsys.readouterr().out
    assert "2 of 3 runs are finished already and skipped" in out
    assert f"figure: {tmp_path / 'out' / 'figure.png'}" in out
    assert out.endswith(f"results: {tmp_path / 'out' / 'results.csv'}\n")


def test_a_task_may_give_several_rows_and_is_finished_when_all_are_there(tmp_path):
    config = {"points": [1, 2]}
    ids = tuple(run_id(config | {"point": point}) for point in (1, 2))
    task = Task(config, "c", "part", "curve", rows=ids)
    book = Ledger.for_results(tmp_path / "out" / "results.csv", COLUMNS)
    book.append(row(config | {"point": 1}, 1))
    assert run(tmp_path, [task], curve) == 0
    assert [r["value"] for r in ledger(tmp_path)] == [1, 2]
    incomplete = Task({"points": [3]}, "c", "part", "other", rows=(*ids, "0" * 16))
    assert run(tmp_path, [incomplete], curve) == 1
    assert len(ledger(tmp_path)) == 2


def test_a_failure_is_listed_and_stops_nothing(tmp_path, capsys):
    assert run(tmp_path, tasks(-1, 5)) == 1
    assert [r["value"] for r in ledger(tmp_path)] == [25]
    assert "n -1: n is negative" in capsys.readouterr().out


def test_rows_are_completed_by_the_parent_from_the_whole_ledger(tmp_path):
    def complete(row):
        return row | {"rank": len(ledger(tmp_path))}

    assert run(tmp_path, tasks(1, 2, 3), complete=complete) == 0
    assert [r["rank"] for r in ledger(tmp_path)] == [0, 1, 2]


def test_only_selects_by_part_claim_and_label():
    planned = tasks(1, 2, 3)
    assert chosen(planned, ()) == planned
    assert chosen(planned, ("odd",)) == [planned[0], planned[2]]
    assert chosen(planned, ("squares",)) == planned
    assert chosen(planned, ("n 2", "n 3")) == planned[1:]
    with pytest.raises(UserError, match="--only nope is unknown; choose from odd, squares, even"):
        chosen(planned, ("nope",))


def test_extra_tasks_are_done_only_when_named():
    small, large = tasks(1)[0], replace(tasks(2)[0], extra=True)
    assert chosen([small, large], ()) == [small]
    assert chosen([small, large], (large.label,)) == [large]
    assert chosen([small, large], (small.claim,)) == [small, large]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"jobs": 0}, "--jobs is 0"),
        ({"threads": 0}, "--threads is 0"),
        ({"seeds": (1, 1)}, "--seeds are 1 1"),
    ],
)
def test_impossible_options(more, words):
    with pytest.raises(UserError, match=words):
        ReproduceOptions(**more).check()


def test_the_default_folder_is_never_the_committed_one(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert ReproduceOptions().folder("sbs") == tmp_path / "runs" / "reproduce" / "sbs" / "smoke"
    assert ReproduceOptions(out=Path("x")).folder("sbs") == tmp_path / "x"
