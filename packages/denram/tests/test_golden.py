"""Every key of every golden file recorded from the original program; ``--golden DIR`` checks another folder.

Whole runs (``case*_e2e``) are repeated in test_end_to_end.py, which takes the same option.
"""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from denram.engines import native

HERE = Path(__file__).parent
_loading = importlib.util.spec_from_file_location("denram_golden_checks", HERE / "golden_checks.py")
assert _loading
assert _loading.loader
golden_checks = importlib.util.module_from_spec(_loading)
sys.modules["denram_golden_checks"] = golden_checks
_loading.loader.exec_module(golden_checks)


def folder_of(config: pytest.Config) -> Path:
    return Path(config.getoption("--golden", default=None) or HERE / "golden")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden_file" in metafunc.fixturenames:
        files = sorted(folder_of(metafunc.config).glob("*.npz"))
        metafunc.parametrize("golden_file", files, ids=[file.stem for file in files])


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def compare(golden: dict[str, np.ndarray], name: str, engine: str) -> tuple[dict[str, float], list[str]]:
    """Error of every key, and complaints: keys nothing checks, keys that are missing, errors too large."""
    found = [entry for pattern, entry in golden_checks.CHECKS.items() if re.fullmatch(pattern, name)]
    if not found:
        return {}, [f"{name}: no golden file of this name is known"]
    check, inputs = found[0]
    try:
        checks = check(golden, name, engine)
    except KeyError as missing:
        return {}, [f"{name}: key {missing} is missing"]
    complaints = [
        f"{key}: nothing checks this key" for key in golden if key not in checks and key not in inputs
    ]
    errors = {}
    for key, (ours, recorded, allowed) in checks.items():
        ours, recorded = np.asarray(ours, np.float64), np.asarray(recorded, np.float64)
        if ours.shape != recorded.shape:
            complaints.append(f"{key}: shape {ours.shape} instead of {recorded.shape}")
            continue
        scale = max(1e-30, float(np.max(np.abs(recorded), initial=0)))
        errors[key] = float(np.max(np.abs(ours - recorded), initial=0)) / scale
        if not errors[key] <= allowed:
            complaints.append(f"{key}: error {errors[key]:.2e}, allowed {allowed:.0e}")
    return errors, complaints


@pytest.mark.parametrize("engine", ["fft", "events"])
def test_every_key(golden_file: Path, engine: str) -> None:
    if engine == "events" and not native.available():
        pytest.skip("the compiled event engine is not built here")
    errors, complaints = compare(load(golden_file), golden_file.stem, engine)
    for key, error in errors.items():
        print(f"{golden_file.stem} {engine} {key}: largest error {error:.1e}")
    assert not complaints


def test_the_folder_holds_known_files_only(pytestconfig: pytest.Config) -> None:
    names = [path.name for path in folder_of(pytestconfig).iterdir() if path.name != "README.md"]
    patterns = [rf"{pattern}\.npz" for pattern in golden_checks.CHECKS] + [r"case\w*_e2e"]
    assert names
    assert not [name for name in names if not any(re.fullmatch(pattern, name) for pattern in patterns)]


def test_wrong_missing_and_unknown_keys_are_noticed() -> None:
    golden = load(HERE / "golden" / "case0_model.npz")
    wrong = {**golden, "noisy_grad": golden["noisy_grad"] * np.float32(1.0001)}
    assert [line.split(":")[0] for line in compare(wrong, "case0_model", "fft")[1]] == ["noisy_grad"]
    assert compare({**golden, "extra": np.zeros(1)}, "case0_model", "fft")[1] == [
        "extra: nothing checks this key"
    ]
    missing = {key: value for key, value in golden.items() if key != "clean_I"}
    assert compare(missing, "case0_model", "fft")[1] == ["case0_model: key 'clean_I' is missing"]
    assert compare(golden, "case0_other", "fft")[1] == ["case0_other: no golden file of this name is known"]
