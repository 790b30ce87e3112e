"""A study: tasks into one ledger, finished ones skipped, figures at the end."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from reprokit import DataIdentity, Ledger, RunDirectory, UserError, run_id, standard_row
from reprokit.run.directory import begins_anew, measured_again
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


DATA = DataIdentity("d", "ab" * 32, {"train": 1})


def in_a_folder(config):
    """One row from a run directory: what the file `value` contained when the run started."""
    with RunDirectory(config["out"], {"n": config["n"]}) as run:
        if not run.finished:
            run.identify(DATA)
            run.finish({"value": int(Path(config["out"], "value").read_text())})
    with RunDirectory(config["out"], {"n": config["n"]}) as run:  # a second look is not a second measurement
        value = run.summary()["value"]
    return row(config, value) | {"data_digest": DATA.digest}


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


@pytest.fixture
def study(tmp_path):
    """One run that reads its value from a file; returns the values of the ledger and those that are drawn."""
    (tmp_path / "run").mkdir()
    task = Task({"n": 1, "out": str(tmp_path / "run")}, "c", "part", "the run")

    def measure(value, commit="clean", again=(), executor=None, **more):
        (tmp_path / "run" / "value").write_text(str(value))
        drawn = []

        def draw(rows, folder):
            drawn.extend(r["value"] for r in rows)
            return []

        with pytest.MonkeyPatch.context() as patch:
            for module in ("study", "provenance"):
                patch.setattr(f"reprokit.run.{module}.git_commit", lambda: commit)
            code = reproduce(
                [task], in_a_folder, package="p", options=options(tmp_path, again=again), columns=COLUMNS,
                draw=draw, executor=executor, **more,
            )  # fmt: skip
        assert code == 0
        return [r["value"] for r in ledger(tmp_path)], drawn

    return measure


def test_a_row_of_a_modified_tree_is_measured_again_from_the_beginning_in_a_clean_one(study):
    assert study(1, "abc-dirty") == ([1], [1])
    assert study(2, "abd-dirty") == ([1], [1])  # a new one would be no better
    assert study(3) == ([1, 3], [3])
    assert study(4) == ([1, 3], [3])
    assert study(5, "abe-dirty", again=("c",)) == ([1, 3, 5], [3])  # the newest clean one is drawn


def test_a_row_without_a_digest_is_measured_again_where_rows_have_them(study, tmp_path):
    Ledger.for_results(tmp_path / "out" / "results.csv", COLUMNS).append(
        row({"n": 1, "out": str(tmp_path / "run")}, 7) | {"git_commit": "old"}
    )
    assert study(1) == ([7], [7])
    assert study(2, identified=True) == ([7, 2], [2])
    assert study(3, identified=True) == ([7, 2], [2])


def test_again_measures_what_is_finished(study):
    assert study(1) == ([1], [1])
    assert study(2, again=("the run",)) == ([1, 2], [2])
    assert study(3, again=("c",)) == ([1, 2, 3], [3])
    with ThreadPoolExecutor(1) as executor:
        assert study(4, again=("part",), executor=executor) == ([1, 2, 3, 4], [4])
    with pytest.raises(UserError, match="--again nothing is unknown; choose from part, c"):
        study(5, again=("nothing",))


def test_a_run_that_is_measured_again_and_interrupted_goes_on(tmp_path):
    with RunDirectory(tmp_path, {}) as run:
        run.finish({"value": 1})
    with measured_again(), RunDirectory(tmp_path, {}) as run:
        assert not run.finished
        run.log({"epoch": 1})
    with measured_again(), RunDirectory(tmp_path, {}) as run:
        assert run.records() == [{"epoch": 1}]
        run.finish({"value": 2})
    assert RunDirectory(tmp_path, {}).summary() == {"value": 2}
    assert not begins_anew(tmp_path)
    with measured_again():
        assert begins_anew(tmp_path)
        assert not begins_anew(tmp_path)  # asked already
        with RunDirectory(tmp_path, {}) as run:
            assert run.finished
        with RunDirectory(tmp_path, {}, force=True) as run:
            assert not run.finished


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
