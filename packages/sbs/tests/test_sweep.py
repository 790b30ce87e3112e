"""Sweeps of a grid file: fields of the parts of a configuration under dotted names."""

from reprokit import Ledger
from sbs.cli import main
from sbs.reproduce.plan import COLUMNS

GRID = """
config = "digits-smoke"
seeds = [1]
[base]
"learning.updates" = 1
"learning.batch_size" = 4
"network.number_of_spikes" = 5
"data.limit_test" = 10
[axes]
"network.epsilon_0" = [1, 0.5]
"""


def test_a_grid_file(tmp_path, capsys):
    grid, out = tmp_path / "small.toml", tmp_path / "out"
    grid.write_text(GRID)
    assert main(["sweep", str(grid), "--out", str(out)]) == 0
    assert "network.epsilon_0 0.5, seed 1: test_accuracy " in capsys.readouterr().out
    rows = Ledger.for_results(out / "results.csv", COLUMNS).rows()
    assert [row["config"]["network"]["epsilon_0"] for row in rows] == [1.0, 0.5]
    assert {(r["claim"], r["scale"], r["number_of_spikes"], r["updates"]) for r in rows} == {
        ("sweep", "reduced", 5, 1)
    }
    assert main(["sweep", str(grid), "--out", str(out), "--only", "*0.5*"]) == 0
    assert "1 of 1 runs are finished already and skipped" in capsys.readouterr().out


def test_a_grid_without_a_network_is_refused(tmp_path, capsys):
    grid = tmp_path / "small.toml"
    grid.write_text("seeds = [1]")
    assert main(["sweep", str(grid)]) == 2
    assert 'names no network; begin it with config = "digits-smoke"' in capsys.readouterr().err
