"""The study of delays that learn: which runs, their rows, table and figure."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from denram import cli
from denram.config import TrainConfig
from denram.reproduce import delays
from denram.reproduce.delays import NETWORKS, grid, name_of, points, table


def test_the_networks_differ_in_what_is_asked_and_are_told_apart():
    planned = grid("paper")
    assert len(planned) == 3 * len(NETWORKS)
    assert {config.seed for _, config in planned} == {42, 50, 9}
    for name, config in planned:
        assert name_of(config) == name
        assert config.noise_std == 0
    fixed, twice, learned = (dict(planned)[name] for name in ("fixed", "fixed-twice", "learned"))
    assert replace(fixed, train_delays=True) == learned
    assert replace(fixed, n_delays=2 * fixed.n_delays) == twice


@pytest.mark.slow
def test_rows_table_and_figure(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        delays, "SMOKE", {"n_in": 8, "n_delays": 2, "nb_epochs": 2, "steps": 30, "max_delay": 10}
    )
    words = ["reproduce", "--only", "delays-fixed", "delays-learned", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["network"], row["n_parameters"], row["train_delays"].lower()) for row in rows] == [
        ("fixed", "170", "false"),
        ("learned", "330", "true"),
    ]
    assert rows[0]["val_acc_rounded"] == ""
    assert 0 <= float(rows[1]["val_acc_rounded"]) <= 1
    assert (tmp_path / "delays.png").exists()
    assert "learned" in capsys.readouterr().out
    assert cli.main(words) == 0
    assert "2 skipped" in capsys.readouterr().out


def test_the_table_names_means_and_what_rounding_cost():
    rows = [
        {"network": "learned", "test_acc": "0.8", "n_parameters": "10", "val_acc_rounded": "0.71",
         "val_acc_unrounded": "0.70"},
        {"network": "learned", "test_acc": "0.9", "n_parameters": "10", "val_acc_rounded": "0.73",
         "val_acc_unrounded": "0.70"},
        {"network": "fixed", "test_acc": "0.5", "n_parameters": "5", "val_acc_rounded": "", "val_acc_unrounded": ""},
    ]  # fmt: skip
    assert points(rows) == {"fixed": [50.0], "learned": [80.0, 90.0]}
    fixed, learned = table(rows)[1:]
    assert fixed.split("|")[-1].strip() == "-"
    assert "85.00 ± 7.07" in learned
    assert learned.endswith("+2.00")


def test_other_studies_options_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", "--only", "delays", "--engine", "fft", "--out", str(tmp_path)]) == 2
    assert "--engine does not act on the delays study" in capsys.readouterr().err
    with pytest.raises(ValueError, match="is not a run of this study"):
        name_of(TrainConfig(layers=2, recurrent=True))
