"""Every committed figure can be drawn again from committed tables, and has its numbers and a vector file beside it."""

import importlib.util
import shutil
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1]
MADE_ELSEWHERE = {"bdfa/generated"}  # images of a trained network


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("figures_script", FOLDER / "figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def committed(kind: str) -> set[str]:
    """Figures of a kind in the folders of studies; the comparison draws its own."""
    found = {file.relative_to(FOLDER).with_suffix("").as_posix() for file in FOLDER.glob(f"*/*.{kind}")}
    return {name for name in found if not name.startswith("compare/")} - MADE_ELSEWHERE


def test_every_figure_is_drawn_by_the_script(script):
    # drawn by the same function as sbs/spikes-mnist-v2-paper and nalsm/astrocyte_weight
    beside = {"sbs/spike-curves-mnist-v2-paper", "nalsm/astrocyte_weight-n-mnist"}
    assert committed("png") == set(script.FIGURES) | beside
    assert committed("svg") == committed("png") <= committed("csv")


def test_a_figure_is_drawn_from_its_table(script, tmp_path, monkeypatch):
    pytest.importorskip("bdfa", reason="bdfa is not installed here")
    (tmp_path / "bdfa").mkdir()
    for name in ("errors-study-2x800.csv", "results.csv"):
        shutil.copy(FOLDER / "bdfa" / name, tmp_path / "bdfa")
    shutil.copy(FOLDER / "claims.toml", tmp_path)
    monkeypatch.setattr(script, "ROOT", tmp_path)
    for name in ("errors-study-2x800", "errors-table"):
        files = script.FIGURES[f"bdfa/{name}"]()
        assert {file.suffix for file in files} == {".png", ".pdf", ".svg", ".csv"}
        assert files[-1].read_text() == (FOLDER / "bdfa" / f"{name}.csv").read_text()
