"""Sweeps of a grid file: rules and widths as axes, the gap to back-propagation if that was run."""

from bdfa.cli import main
from bdfa.reproduce.groups import with_gap
from bdfa.reproduce.results import METRICS
from reprokit import Job, Ledger, run_id, run_jobs, standard_row
from reprokit.run.study import Task

GRID = """
seeds = [1]
[base]
dataset = "digits"
epochs = 1
batch_size = 200
[axes]
hidden = [[8], [8, 4]]
rule = ["bp", "dfa"]
"""


def test_a_grid_file(tmp_path, capsys):
    grid, out = tmp_path / "small.toml", tmp_path / "out"
    grid.write_text(GRID)
    assert main(["sweep", str(grid), "--out", str(out), "--threads", "1"]) == 0
    assert "hidden 8x4, rule dfa, seed 1: test_error " in capsys.readouterr().out
    rows = Ledger.for_results(out / "results.csv", METRICS).rows()
    assert [(row["config"]["hidden"], row["rule"]) for row in rows] == [
        ([8], "bp"),
        ([8], "dfa"),
        ([8, 4], "bp"),
        ([8, 4], "dfa"),
    ]
    assert all(row["gap_to_bp"] is not None for row in rows)
    assert main(["sweep", str(grid), "--out", str(out)]) == 0
    assert "4 of 4 runs are finished already and skipped" in capsys.readouterr().out


def test_what_is_no_part_of_a_run_does_not_vary(tmp_path, capsys):
    grid = tmp_path / "small.toml"
    grid.write_text('[base]\ndataset = "digits"\n[axes]\nthreads = [1, 2]')
    assert main(["sweep", str(grid)]) == 2
    assert "threads does not change a run's numbers; put it under [base]" in capsys.readouterr().err


def test_networks_whose_angles_are_measured_are_trained_one_by_one(tmp_path, capsys):
    words = ["reproduce", "--only", "study", "--seeds", "1", "2", "--out", str(tmp_path), "--dry-run"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "study bp 2x64 seed 2" in said
    assert "10 runs, 10 to do" in said


def row_of(config):
    standard = standard_row(
        config,
        package="bdfa",
        claim="c",
        dataset="d",
        scale="smoke",
        seed=1,
        seconds=0.0,
        threads=1,
        packages=(),
    )
    return standard | dict.fromkeys(METRICS) | {"rule": config["rule"], "test_error": config["error"]}


def test_the_gap_to_back_propagation_does_not_depend_on_the_order_of_the_runs(tmp_path):
    """With several workers the other rule may be done first; its row waits, and in the end has no gap."""
    made = {}
    for order in (("bp", "dfa"), ("dfa", "bp"), ("dfa",)):
        ledger = Ledger.for_results(tmp_path / f"{len(made)}.csv", METRICS)
        configs = [{"rule": rule, "error": 0.5} for rule in order]
        planned = [
            Task({"rule": rule, "error": 0.5}, "c", "c", rule, (run_id({"rule": rule, "error": 0.5}),))
            for rule in ("bp", "dfa")
        ]
        jobs = [Job(config, config["rule"]) for config in configs]
        run_jobs(jobs, row_of, ledger=ledger, complete=with_gap(ledger, planned), say=lambda _: None)
        made[order] = {row["rule"]: row["gap_to_bp"] for row in ledger.rows()}
    assert made["bp", "dfa"] == made["dfa", "bp"] == {"bp": 0.0, "dfa": 0.0}
    assert made[("dfa",)] == {"dfa": None}
