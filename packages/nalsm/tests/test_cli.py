"""The command line as a whole: it does not load what it does not need."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import nalsm
import numpy as np
import pytest
from nalsm_commands import command, run

PROGRAM = """
import sys
from nalsm.cli import main
for words in ("--help", "train --help", "reproduce --help"):
    sys.argv = ["nalsm", *words.split()]
    try:
        code = main()
    except SystemExit as ended:
        code = ended.code
    heavy = [name for name in ("torch", "jax", "scipy", "sklearn", "matplotlib") if name in sys.modules]
    assert code in (0, None) and not heavy, (words, code, heavy)
"""


def test_help_loads_neither_torch_nor_anything_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: nalsm") == 3


def test_measures_of_other_data_by_another_engine(tmp_path: Path) -> None:
    """Accuracy of stored counts, of counts simulated again (they agree), and of another data set, as one table."""
    out, table = tmp_path / "run", tmp_path / "measures.csv"
    assert run(command(out, model="lsm", weight="2", readout="ridge", record="0")).returncode == 0
    evaluate = [*[""] * 3, "evaluate", str(out)]
    stored = run([*evaluate, "--split", "test"])
    assert "test accuracy" in stored.stdout
    assert "train accuracy" not in stored.stdout
    assert run([*evaluate, "--split", "test", "--engine", "torch"]).stdout == stored.stdout
    images = np.random.default_rng(0).integers(1, 16, (30, 8, 8)).astype(np.uint8)
    labels = np.arange(30) % 10
    file = tmp_path / "own.npz"
    np.savez(file, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    done = run([*evaluate, str(out), "--data", str(file), "--measure", "accuracy", "divergence", "--split", "test",
                "--samples", "2", "--out", str(table)])  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = table.read_text().splitlines()
    assert rows[0] == "run,measure,name,value"
    assert len(rows) == 1 + 2 * 4
    assert run([*evaluate, "--which", "last"]).returncode == 2


def test_a_run_is_exported_and_named_by_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = command(tmp_path / "unused", readout="ridge", record="0", weight="2")[3:-2]
    assert run([*[""] * 3, "train", "lsm", *words[1:]]).returncode == 0
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"lsm-[0-9a-f]{16}", folder.name)
    assert json.loads((folder / "options.json").read_text())["package"] == "nalsm"
    again = run([*[""] * 3, "train", str(folder / "config.json")])  # finished, found by its name
    assert f"run directory       {folder}" in again.stdout
    assert run([*[""] * 3, "export", str(folder), "--out", "liquid.npz"]).returncode == 0
    with np.load("liquid.npz") as data:
        assert data["weight"].shape == data["post"].shape == data["pre"].shape
        assert data["readout_weight"].shape == (64, 10)


def test_version_is_that_of_the_distribution() -> None:
    assert nalsm.__version__ == metadata.version("brainrules-nalsm")
    assert f"nalsm {nalsm.__version__}" in run([*[""] * 3, "--version"]).stdout


def test_overview_names_engines_presets_and_data() -> None:
    said = run([*[""] * 3, "info"]).stdout
    for word in ("nalsm 0.", "core: ", "engines: events", "lsm-apstdp", "digits-events"):
        assert word in said
