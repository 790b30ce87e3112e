"""The comparison of the methods: the same images for all, the command line of each program, rows, table, resuming."""

import csv
import importlib.util
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from reprokit import DataIdentity, Ledger, UserError, load_images, load_recordings, run_id

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_script", ROOT / "reproduction" / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["compare_script"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def plan(script: ModuleType, tmp_path: Path) -> Any:
    return script.Plan(
        "digits", 100, 20, (1, 2), 10, 10.0, tmp_path, tmp_path / "results.csv", script.run_here
    )


def test_all_methods_get_the_same_images_and_the_rate_sees_no_test_image(
    script: ModuleType, plan: Any, tmp_path: Path
) -> None:
    digits = load_images("digits")
    script.make_data(digits, plan)
    select = load_images(tmp_path / "data" / "select-100" / "images.npz")
    final = load_images(tmp_path / "data" / "final-100" / "images.npz")
    assert (len(select.train), len(select.test), len(final.train)) == (80, 20, 100)
    assert np.array_equal(
        np.concatenate([select.train.images, select.test.images]), digits.train.images[:100]
    )
    assert np.array_equal(final.test.images, digits.test.images)
    spikes = load_recordings(tmp_path / "data" / "select-100" / "spikes", channels=None)
    assert np.array_equal(spikes.train.labels, select.train.labels)
    assert len(spikes.train.times) == np.count_nonzero(select.train.images)


def test_brighter_pixels_fire_earlier_and_black_ones_never(script: ModuleType) -> None:
    images = np.array([[[[0, 255], [51, 255]]], [[[0, 0], [0, 102]]]], np.uint8)
    coded = script.latency_coded(images, np.array([3, 4]))
    assert coded.offsets.tolist() == [0, 3, 4]
    assert coded.units.tolist() == [1, 3, 2, 3]
    assert coded.times == pytest.approx([0.0, 0.0, 0.4, 0.3])


def faked(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, seconds: float = 100.0
) -> list[tuple[str, float, int]]:
    """Replace the programs: accuracy is best at the middle rate; the largest rate fails."""
    calls: list[tuple[str, float, int]] = []

    def call(
        name: str,
        _m: object,
        _p: object,
        folder: Path,
        data: Path,
        rate: float,
        seed: int,
        passes: int,
        _s: object,
    ) -> dict[str, Any]:
        calls.append((folder.name, rate, passes))
        if rate > 0.01:
            raise UserError("diverged")
        if data.name.startswith("select"):
            assert seed == 1
        accuracy = {3e-4: 0.5, 3e-3: 0.9}[rate] + seed / 1000
        inference = {
            "parameters": 10,
            "multiply_adds": 2_000_000,
            "synaptic_events": None if name == "bp" else 1234.5,
        }
        return {"accuracy": accuracy, "inference": inference, "cpu_seconds": seconds, "peak_memory_mb": 200.0}

    monkeypatch.setattr(script, "call", call)
    return calls


def test_a_method_measures_a_pass_chooses_its_rate_and_writes_a_row_a_seed(
    script: ModuleType, plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = faked(script, monkeypatch)
    data = DataIdentity.of(load_images("digits"))
    for name in ("bp", "nalsm"):
        script.run_method(name, script.METHODS[name], plan, data, threading.Event())
    assert calls[0] == ("one-pass-0.003", 3e-3, 1)
    assert {passes for folder, _, passes in calls[1:6] if not folder.startswith("one-pass")} == {
        6
    }  # 600 s of 100 s each
    assert calls[-1] == ("final-0.003-1-seed2", 3e-3, 1)  # nalsm makes one pass
    rows = Ledger.for_results(plan.ledger, script.METRICS).rows()
    assert [(row["method"], row["seed"], row["rate"]) for row in rows] == [
        ("bp", 1, 3e-3), ("bp", 2, 3e-3), ("nalsm", 1, 3e-3), ("nalsm", 2, 3e-3)
    ]  # fmt: skip
    assert rows[0]["rates"] == {"0.0003": 0.501, "0.003": 0.901, "0.03": None}
    assert rows[0]["passes_limit"] == "10 core-minutes"
    assert rows[0]["run_id"] == run_id(rows[0]["config"])
    lines = script.table(script.newest(rows))
    assert lines[2].startswith("| `bp` | 2x64 | 90.15 ± 0.07 % | 100 ± 0 | 200 MB | 10 | 2 M | – | yes |")
    assert "1.23 k" in lines[3]


def test_a_method_of_which_no_rate_works_fails_and_the_others_go_on(
    script: ModuleType, plan: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faked(script, monkeypatch)
    monkeypatch.setattr(script, "RATES", (3e-3, 0.02, 0.03))
    chosen = {"bp": script.METHODS["bp"]}
    data = DataIdentity.of(load_images("digits"))
    assert script.run_all(chosen, plan, data, 1)
    monkeypatch.setattr(script, "RATES", (0.02, 0.03, 0.03))
    assert not script.run_all({"nalsm": script.METHODS["nalsm"]} | chosen, plan, data, 1)
    assert "nalsm failed: none of the rates 0.02, 0.03, 0.03 worked" in capsys.readouterr().out


def test_the_table_stands_between_two_marks(script: ModuleType) -> None:
    page = f"before\n{script.BEGIN}old\n{script.END}after\n"
    assert script.with_table(page, []) == f"before\n{script.BEGIN}{script.END}after\n"
    assert "\n| new |\n" in script.with_table(page, ["| new |"])
    with pytest.raises(UserError, match="once, in this order"):
        script.with_table("nothing", [])


def test_the_pages_show_what_the_rows_say(script: ModuleType) -> None:
    ledger = ROOT / "reproduction" / "compare" / "results.csv"
    rows = script.newest(Ledger.for_results(ledger, script.METRICS).rows()) if ledger.exists() else []
    for page in ("README.md", "reproduction/compare/README.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert text.count(script.BEGIN) == text.count(script.END) == 1
        assert all(line in text for line in script.table(rows))


def test_what_cannot_be_asked_for_is_refused(script: ModuleType, plan: Any) -> None:
    with pytest.raises(UserError, match="does not name a method; choose from denram, sbs"):
        script.main(["--only", "sbd"])
    with pytest.raises(UserError, match="must be positive"):
        script.main(["--data", "digits", "--jobs", "0"])
    with pytest.raises(UserError, match="--images is 9; it must be from 50"):
        script.make_data(load_images("digits"), replace(plan, images=9, held_out=3))


@pytest.mark.slow
def test_digits_by_the_command_lines(script: ModuleType, tmp_path: Path) -> None:
    for package in ("bdfa", "denram"):
        pytest.importorskip(package, reason=f"{package} is not installed here")
    words = ["--data", "digits", "--images", "200", "--passes", "1", "--seeds", "1", "--out", str(tmp_path)]
    assert script.main([*words, "--only", "bp", "denram", "--jobs", "2"]) == 0
    before = (tmp_path / "results.csv").read_bytes()
    assert script.main([*words, "--only", "bp", "denram"]) == 0  # nothing is left to do
    assert (tmp_path / "results.csv").read_bytes() == before
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert rows["bp"]["synaptic_events"] == ""
    assert float(rows["denram"]["synaptic_events"]) > 100
    assert float(rows["bp"]["seconds"]) > 0.5
    assert (tmp_path / "accuracy-against-cost.svg").exists()


@pytest.mark.cluster
def test_programs_run_in_workers_of_a_cluster(script: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    pytest.importorskip("bdfa")
    words = ["--data", "digits", "--images", "100", "--passes", "1", "--seeds", "1", "--only", "bp"]
    here, there = tmp_path / "here", tmp_path / "there"
    assert script.main([*words, "--out", str(here)]) == 0
    called = [sys.executable, script.__file__, *words, "--out", str(there), "--scheduler", "dask"]
    subprocess.run(called, check=True, timeout=300)
    rows = []
    for folder in (here, there):
        with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
            rows.append(
                [
                    (row["run_id"], row["rate"], row["test_accuracy"], row["rates"])
                    for row in csv.DictReader(file)
                ]
            )
    assert rows[0] == rows[1]
    assert rows[0]
