"""`bdfa reproduce --scale smoke`: its rows, its figures, what a second call does, and what own data are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bdfa import cli
from bdfa.reproduce.groups import run_folder, tasks
from bdfa.reproduce.plan import wanted
from bdfa.reproduce.readings import READINGS, compared, readings_table
from bdfa.reproduce.results import error_table, open_ledger
from bdfa.training.runs import open_run
from reprokit.run.published import published_digest
from reprokit.run.study import chosen

RULES = {"bp", "fa", "dfa", "bfa", "bdfa"}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    words = ["reproduce", "--scale", "smoke", "--seeds", "1", "--epochs", "1", "--out", str(out)]
    assert cli.main([*words, "--only", "study", "beyond", "table", "readings"]) == 0
    return out


@pytest.mark.slow
def test_every_planned_run_has_a_row_that_judges_nothing(done):
    rows = open_ledger(done / "results.csv").rows()
    planned = [config for group in wanted("smoke", seeds=[1], epochs=1) for config in group.configs]
    assert len(rows) == len(planned)
    parts = {row["claim"].partition("-")[0] for row in rows}
    assert parts == {"study", "beyond", "table", "reading"}
    assert {row["rule"] for row in rows if row["claim"] == "table"} == RULES
    assert {(row["scale"], row["dataset"]) for row in rows} == {("smoke", "digits")}
    assert {row["data_digest"] for row in rows} == {published_digest("digits")}
    for row in rows:
        assert 0 <= row["test_error"] <= 1
        assert (row["gap_to_bp"] == 0) == (row["rule"] == "bp") or row["gap_to_bp"] is not None


@pytest.mark.slow
def test_figures_and_runs_are_there(done):
    assert list(done.glob("*.png"))
    assert list((done / "runs").iterdir())


@pytest.mark.slow
def test_a_second_call_measures_only_what_is_missing(done, capsys):
    """Which finished rows are measured again (those of a modified tree) is decided by the ledger, not here."""
    before = open_ledger(done / "results.csv").rows()
    words = [
        "reproduce",
        "--seeds",
        "1",
        "--epochs",
        "1",
        "--only",
        "table",
        "--nets",
        "2x32",
        "1x8",
        "--out",
        str(done),
    ]
    assert cli.main(words) == 0
    after = open_ledger(done / "results.csv").rows()
    assert {row["net"] for row in after if row["claim"] == "table"} == {"2x32", "1x8"}
    assert {row["run_id"] for row in before} < {row["run_id"] for row in after}


def test_readings_are_other_runs_than_the_table_and_set_beside_it(done):
    rows = open_ledger(done / "results.csv").rows()
    named = {row["claim"]: row for row in rows if row["claim"] != "table"}
    readings = [named[reading.claim] for reading in READINGS]
    losses = {
        (group.configs[0].rule, open_run(run_folder(group.configs, done / "runs")).records("epoch")[-1]["train_loss"])
        for group in wanted("smoke", seeds=[1], epochs=1)
        if group.part == "readings" or (group.claim == "table" and group.configs[0].rule != "bp")
    }  # fmt: skip
    assert len(losses) == len(READINGS) + 4  # no two are the same run
    for row, reading in zip(readings, READINGS, strict=True):
        assert row["gap_to_bp"] == row["test_error"] - rows_of(done, "table", "bp")["test_error"]
        assert {**row["config"], **reading.changes} == row["config"]
    text = readings_table(rows, "2x32")
    for row, reading in zip(readings, READINGS, strict=True):
        error = f"{100 * row['test_error']:.2f} (1×1 ep.)"
        assert f"| {reading.rule} | {reading.words} | {error} | – | – |" in text
    lines = (done / "readings-smoke.csv").read_text().splitlines()
    assert len(lines) == 1 + len(READINGS) + 4  # and the table's own four


def test_readings_are_run_only_when_named(tmp_path):
    found = tasks(wanted("paper"), open_ledger(tmp_path / "results.csv"))
    assert {task.part for task in chosen(found, ())} == {"study", "beyond", "table"}
    assert [task.claim for task in chosen(found, ["readings"])] == [reading.claim for reading in READINGS]


def rows_of(out: Path, claim: str, rule: str) -> dict:
    return next(
        row
        for row in open_ledger(out / "results.csv").rows()
        if (row["claim"], row["rule"], row["net"]) == (claim, rule, "2x32")
    )


def test_a_reading_is_judged_at_the_papers_scale_alone():
    def row(claim: str, rule: str, error: float, **changes: object) -> dict:
        row = {"scale": "paper", "net": "2x400", "epochs": 300, "seed": 1, "dataset": "mnist"} | changes
        return {"claim": claim, "rule": rule, "test_error": error, "config": {"epochs": row["epochs"]}, **row}

    rows = [
        row("table", "bdfa", 0.0271), row("reading-bdfa-onehot", "bdfa", 0.0328 + 0.005),
        row("reading-bdfa-code", "bdfa", 0.0328 + 0.0051), row("reading-fa-uniform", "fa", 0.04, scale="reduced"),
        row("table", "bdfa", 0.5, net="2x800"), row("table", "bp", 0.5), row("study", "bdfa", 0.5),
        row("table", "bdfa", 0.5, dataset="cifar10-jpeg"), row("table", "bdfa", 0.5, epochs=20),
    ]  # fmt: skip
    found = {line["reading"]: line for line in compared(rows, "2x400")}
    assert {words: line["within"] for words, line in found.items()} == {
        "target centred": False, "target the label": True, "target of the program": False, "random weights": None,
    }  # fmt: skip
    assert found["target centred"]["difference"] == pytest.approx(2.71 - 3.28)
    assert found["random weights"]["published"] is None
    text = readings_table(rows, "2x400")
    assert "bdfa: within 0.5 points: target the label" in text
    assert "fa: within" not in text.replace("bdfa: within", "")
    rows[1]["test_error"] = 0.09
    assert "bdfa: within 0.5 points: none of these" in readings_table(rows, "2x400")


def test_every_network_has_its_own_figure_of_readings(tmp_path):
    words = ["reproduce", "--only", "reading-dfa-uniform", "--nets", "2x32", "2x400", "--epochs", "1"]
    assert cli.main([*words, "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.glob("readings*.csv")} == {
        "readings-smoke.csv",
        "readings-2x400-smoke.csv",
    }


def test_readings_of_other_networks_are_runs_of_their_own():
    """``--nets`` chooses the networks of the readings; those of another network are not compared with this one's."""
    usual, others = (
        {
            (group.claim, group.configs[0].hidden)
            for group in wanted("paper", nets=nets)
            if group.part == "readings"
        }
        for nets in ((), ("1x400", "3x400"))
    )
    claims = {reading.claim for reading in READINGS}
    assert usual == {(claim, (400, 400)) for claim in claims}
    assert others == {(claim, depth * (400,)) for claim in claims for depth in (1, 3)}
    row = {"scale": "paper", "epochs": 300, "config": {"epochs": 300}, "dataset": "mnist", "rule": "dfa"}
    rows = [
        {**row, "claim": claim, "net": net, "test_error": error}
        for claim, net, error in (
            ("reading-dfa-uniform", "1x400", 0.04), ("reading-dfa-uniform", "2x400", 0.5), ("table", "1x400", 0.0428)
        )
    ]  # fmt: skip
    found = {line["run"]: line["difference"] for line in compared(rows, "1x400")}
    assert found == {"table": pytest.approx(0.53), "reading-dfa-uniform": pytest.approx(0.25)}


def test_a_run_that_ends_early_counts_with_those_of_the_same_plan():
    """Training ends once its error is zero, as in the original: such a run is no shorter experiment."""
    row = {"dataset": "mnist", "optimiser": "sgd", "lr": 1e-4, "net": "2x400", "rule": "bp"}
    rows = [
        {**row, "epochs": epochs, "config": {"epochs": 300}, "test_error": error}
        for epochs, error in ((300, 0.02), (278, 0.02))
    ]
    assert "| 2.00 ± 0.00 (2×300 ep.) |" in error_table(rows)


def test_own_data_are_called_own(tmp_path):
    drawn = np.random.default_rng(0)
    parts = {
        f"{part}_images": drawn.integers(0, 256, (60, 4, 4), dtype=np.uint8) for part in ("train", "test")
    }
    np.savez(
        tmp_path / "mnist.npz", **parts, **{f"{part}_labels": np.arange(60) % 3 for part in ("train", "test")}
    )
    words = [
        "reproduce",
        "--data",
        str(tmp_path / "mnist.npz"),
        "--only",
        "table",
        "--seeds",
        "1",
        "--epochs",
        "1",
    ]
    for scale in ("smoke", "reduced"):
        out = tmp_path / scale
        assert (
            cli.main(
                [
                    *words,
                    "--scale",
                    scale,
                    "--nets",
                    "1x8",
                    "--out",
                    str(out),
                    "--runs",
                    str(tmp_path / "runs"),
                ]
            )
            == 0
        )
        rows = open_ledger(out / "results.csv").rows()
        assert {(row["dataset"], row["scale"]) for row in rows} == {("mnist", "own")}
        assert {row["data_digest"] for row in rows} != {published_digest("mnist")}
    assert (tmp_path / "runs").is_dir()
