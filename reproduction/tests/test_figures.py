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
    beside = {
        "sbs/spike-curves-mnist-v2-paper", "sbs/spikes-mnist-v2-20-paper", "nalsm/astrocyte_weight-n-mnist",
    }  # fmt: skip
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


@pytest.mark.slow
def test_all_figures_drawn_in_turn_have_the_committed_numbers(script, tmp_path, monkeypatch):
    for package in ("bdfa", "dalton", "denram", "nalsm", "sbs"):
        pytest.importorskip(package, reason=f"{package} is not installed here")
    tables = [file.relative_to(FOLDER) for file in FOLDER.glob("*/*.csv")]
    for file in (Path("claims.toml"), *tables):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(FOLDER / file, tmp_path / file)
    monkeypatch.setattr(script, "ROOT", tmp_path)
    for draw in script.FIGURES.values():
        draw()
    changed = [file for file in tables if (tmp_path / file).read_bytes() != (FOLDER / file).read_bytes()]
    assert changed == []
