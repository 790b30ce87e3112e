"""Run ids never change: those of committed results, and those of everything that the packages would run.

Ids may be added to ``run_ids.json``, but never edited, because results are found by them.
"""

import csv
import json
from pathlib import Path

import pytest
from planned_runs import PLANNED
from reprokit import run_id

HERE = Path(__file__).parent
LEDGERS = sorted(HERE.parent.glob("*/results.csv"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_package_has_committed_results() -> None:
    assert {row["package"] for path in LEDGERS for row in rows(path)} >= set(PLANNED)
    assert sum(len(rows(path)) for path in LEDGERS) >= 141


@pytest.mark.parametrize("path", LEDGERS, ids=lambda path: path.parent.name)
def test_a_row_is_named_by_its_configuration(path: Path) -> None:
    wrong = {
        row["run_id"]: row["claim"]
        for row in rows(path)
        if run_id(json.loads(row["config"])) != row["run_id"]
    }
    assert not wrong


@pytest.mark.parametrize("package", PLANNED)
def test_planned_runs_keep_their_ids(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed here")
    monkeypatch.chdir(tmp_path)  # names of data sets are not folders there
    golden = json.loads((HERE / "run_ids.json").read_text(encoding="utf-8"))[package]
    planned = PLANNED[package](tmp_path)
    assert {label: planned.get(label) for label in golden} == golden
    assert not set(planned) - set(golden), "add the new ids to run_ids.json"
