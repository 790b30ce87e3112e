"""Sweeps: every combination on its own, into one ledger, on any executor; finished ones are skipped."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dalton import train
from dalton.cli import main
from dalton.reproduce.sweep import Task, combinations, run_tasks
from dalton.training.runs import open_ledger, run_directory
from reprokit import UserError
from small_runs import FLAGS, assert_same, small


def tasks(**lists):
    lists = {"tau_cur": (None, 5e-3), "gain": (1.0, 2.0), "bias": (0.0,)} | lists
    return [Task(config, "sweep", "reduced") for config in combinations(small(epochs=1), **lists)]


def test_combinations_in_the_originals_order():
    configs = combinations(
        small(), tau_cur=(1e-3, 5e-3), gain=(1.0, 2.0), bias=(0.0, 0.1), methods=("surrgd", "TFR_RTRL_SCNN"),
        seeds=(0, 1),
    )  # fmt: skip
    assert len(configs) == 32
    assert [(c.tau_cur, c.gain, c.bias) for c in configs[:4]] == [
        (1e-3, 1.0, 0.0), (1e-3, 1.0, 0.1), (1e-3, 2.0, 0.0), (1e-3, 2.0, 0.1),
    ]  # fmt: skip
    assert {(c.method, c.setting) for c in configs} == {("surrgd", "bptt"), ("tfr", "online")}
    for wrong in ({"gain": ()}, {"gain": (1.0, 1.0)}):
        with pytest.raises(UserError, match=r"gain is .* each once"):
            tasks(**wrong)


def test_rows_directories_and_skipping(tmp_path):
    ledger, runs = tmp_path / "results.csv", tmp_path / "runs"
    first = run_tasks(tasks()[:3], ledger, runs)
    assert first.ok
    report = run_tasks(tasks(), ledger, runs)
    assert (len(report.done), len(report.skipped)) == (1, 3)
    rows = open_ledger(ledger).rows()
    assert [(row["tau_cur"], row["gain"]) for row in rows] == [
        (None, 1.0),
        (None, 2.0),
        (5e-3, 1.0),
        (5e-3, 2.0),
    ]
    assert {(row["dataset"], row["scale"], row["claim"]) for row in rows} == {("digits", "reduced", "sweep")}
    assert len(list(runs.iterdir())) == 4
    assert str(tmp_path) not in ledger.read_text()


def test_dev24_a_run_of_a_sweep_is_the_run_alone(tmp_path):
    """DEV-24: the original draws all runs of a sweep from one stream, so only the first is determined by the seed."""
    last = tasks()[-1]
    run_tasks(tasks(), tmp_path / "results.csv", tmp_path / "runs")
    alone = small(epochs=1, tau_cur=5e-3, gain=2.0, out=tmp_path / "alone")
    train(alone)
    assert_same(run_directory(last.config, tmp_path / "runs"), tmp_path / "alone")


def test_any_executor(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        report = run_tasks(tasks()[:2], tmp_path / "results.csv", tmp_path / "runs", executor=pool)
    assert len(report.done) == 2


def test_a_failing_run_stops_no_other(tmp_path):
    bad = Task(small(epochs=1, dataset=str(Path("nowhere.zip"))), "sweep", "reduced")
    report = run_tasks([bad, *tasks()[:1]], tmp_path / "results.csv", tmp_path / "runs")
    assert len(report.done) == 1
    assert "unknown data set" in next(iter(report.failed.values()))


def test_a_grid_file_makes_the_runs_of_the_lists(tmp_path, capsys):
    grid = tmp_path / "grid.toml"
    grid.write_text('[axes]\nmethod = ["tfr", "dalton"]\ntau_cur = [1e-3]\n[base]\ngain = 2')
    words = ["sweep", *FLAGS, "--out", str(tmp_path / "out"), "--dry-run"]
    assert main([*words, "--methods", "tfr", "dalton", "--tau-cur", "1e-3", "--gain", "2"]) == 0
    listed = capsys.readouterr().out
    assert main([words[0], str(grid), *words[1:]]) == 0
    assert capsys.readouterr().out == listed
    assert "2 runs, 2 to do" in listed
    assert main([words[0], str(grid), *words[1:], "--bias", "1"]) == 2
    assert "--bias and the grid" in capsys.readouterr().err


def test_a_study_takes_labels_and_patterns(tmp_path, capsys):
    words = ["reproduce", "--dry-run", "--out", str(tmp_path / "out"), "--only"]
    assert main([*words, "*tfr bptt*"]) == 0
    assert "1 runs, 1 to do" in capsys.readouterr().out
    assert main([*words, "study", "--skip", "*online*"]) == 0
    assert "3 runs, 3 to do" in capsys.readouterr().out
    assert main([*words, "tau*dalton bptt*"]) == 0  # a part that is done only if named
    assert "6 runs, 6 to do" in capsys.readouterr().out
    assert main([*words, "stud"]) == 2
    assert "--only 'stud' is unknown" in capsys.readouterr().err
