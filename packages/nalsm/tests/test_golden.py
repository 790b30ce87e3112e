"""Every array of every golden file, recorded by running the original program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nalsm_golden import CHECKS

HERE = Path(__file__).parent


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = metafunc.config.getoption("--golden") or HERE / "golden"
    if "golden_file" in metafunc.fixturenames:
        files = sorted(folder.glob("*.np[zy]"))
        metafunc.parametrize("golden_file", files, ids=[f.stem for f in files])


def test_golden_folder_has_files(pytestconfig: pytest.Config) -> None:
    folder = pytestconfig.getoption("--golden") or HERE / "golden"
    assert list(folder.glob("*.npz")), f"{folder} holds no .npz file"


def test_golden(golden_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [name for name in CHECKS if name in golden_file.stem]
    assert names, f"{golden_file.name}: unknown golden file; known are {', '.join(CHECKS)}"
    with np.load(golden_file, allow_pickle=False) as data:
        arrays = {key: data[key] for key in data.files}
    checks, inputs = CHECKS[max(names, key=len)](arrays)
    covered = {key.split(" (")[0] for key in checks}
    assert not set(arrays) - covered - inputs, f"unknown keys: {sorted(set(arrays) - covered - inputs)}"
    assert not covered - set(arrays), f"missing keys: {sorted(covered - set(arrays))}"
    failures = []
    with capsys.disabled():
        for key, (ours, tolerance) in checks.items():
            theirs = np.asarray(arrays[key.split(" (")[0]], np.float64)
            mine = np.asarray(ours, np.float64)
            if mine.shape != theirs.shape:
                failures.append(f"{key}: shape {mine.shape}, expected {theirs.shape}")
                continue
            same = np.isnan(mine) & np.isnan(theirs)
            error = float(np.max(np.where(same, 0.0, np.abs(mine - theirs)), initial=0.0))
            print(f"{golden_file.stem:20s} {key:24s} largest error {error:.3g} (allowed {tolerance:g})")
            if not error <= tolerance:
                failures.append(f"{key}: largest error {error:.3g}, allowed {tolerance:g}")
    assert not failures, "; ".join(failures)
