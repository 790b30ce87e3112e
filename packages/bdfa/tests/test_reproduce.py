"""`bdfa reproduce --scale smoke`: its rows, its figures, what a second call does, and what own data are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bdfa import cli
from bdfa.reproduce.plan import wanted
from bdfa.reproduce.results import open_ledger
from reprokit.run.published import published_digest

RULES = {"bp", "fa", "dfa", "bfa", "bdfa"}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    assert (
        cli.main(["reproduce", "--scale", "smoke", "--seeds", "1", "--epochs", "1", "--out", str(out)]) == 0
    )
    return out


@pytest.mark.slow
def test_every_planned_run_has_a_row_that_judges_nothing(done):
    rows = open_ledger(done / "results.csv").rows()
    planned = [config for group in wanted("smoke", seeds=[1], epochs=1) for config in group.configs]
    assert len(rows) == len(planned)
    assert {row["claim"] for row in rows} == {"study", "beyond", "table"}
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
    """Which finished rows are measured again (those of a modified tree) is the ledger's to say, not this package's."""
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
