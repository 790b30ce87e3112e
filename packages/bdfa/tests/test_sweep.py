"""Sweeps of a grid file: rules and widths as axes, the gap to back-propagation where that is there."""

from bdfa.cli import main
from bdfa.reproduce.results import METRICS
from reprokit import Ledger

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
    assert "threads changes nothing of a run's numbers; put it under [base]" in capsys.readouterr().err


def test_networks_whose_angles_are_measured_are_trained_one_by_one(tmp_path, capsys):
    words = ["reproduce", "--only", "study", "--seeds", "1", "2", "--out", str(tmp_path), "--dry-run"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "study bp 2x64 seed 2" in said
    assert "10 runs, 10 to do" in said
