"""Sweeps of a grid file: data sets, networks and seeds as axes, finished runs skipped."""

import pytest
from denram.cli import main
from denram.reproduce.plan import COLUMNS
from reprokit import Ledger

GRID = """
seeds = [1]
[base]
data = "spoken-toy"
nb_epochs = 1
devices = 1
batch_size = 64
[[zip]]
n_in = [64, 32]
tau_mem = [0.01, 0.02]
[axes]
noise_std = [0, 0.2]
[[exclude]]
noise_std = 0.2
n_in = 32
"""


def test_a_grid_file(tmp_path, capsys):
    grid, out = tmp_path / "small.toml", tmp_path / "out"
    grid.write_text(GRID)
    assert main(["sweep", str(grid), "--out", str(out), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "noise_std 0, n_in 32, tau_mem 0.02, seed 1" in said
    assert "3 runs, 3 to do" in said
    assert main(["sweep", str(grid), "--out", str(out), "--skip", "noise_std 0.2*"]) == 0
    assert main(["sweep", str(grid), "--out", str(out)]) == 0
    assert "2 of 3 runs are finished already and skipped" in capsys.readouterr().out
    rows = Ledger.for_results(out / "results.csv", COLUMNS).rows()
    assert [(r["noise_std"], r["n_in"], r["tau_mem"], r["network"]) for r in rows] == [
        (0.0, 64, 0.01, "own"),
        (0.0, 32, 0.02, "own"),
        (0.2, 64, 0.01, "own"),
    ]
    assert {(r["claim"], r["scale"], r["dataset"], r["seed"]) for r in rows} == {
        ("sweep", "reduced", "spoken-toy", 1)
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[axes]\nnoise = [1]", "unknown key 'noise'; the nearest valid key is 'noise_std'"),
        ("[base]\nnb_epochs = 0", "nb_epochs is 0; it must be at least 1"),
    ],
)
def test_a_grid_that_cannot_be_used(tmp_path, capsys, text, sentence):
    grid = tmp_path / "small.toml"
    grid.write_text(text)
    assert main(["sweep", str(grid), "--out", str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err
