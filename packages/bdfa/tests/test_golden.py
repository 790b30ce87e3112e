"""Every key of every golden file, float64; ``--golden DIR`` checks another folder of such files."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import golden_data
import golden_rules
import numpy as np
import pytest

TOLERANCE = 1e-9
HERE = Path(__file__).parent
SHARED = HERE.parents[2].parent / "shared" / "golden" / "bdfa"
BOOKKEEPING = ("origin", "case")
RULE_FILES = {
    "optim": (golden_rules.check_optimisers, ("x0", "grads")),
    "renorm": (golden_rules.check_renorm, ("linear_in", "conv_in")),
    "init_ranges": (golden_rules.check_ranges, ("*_names",)),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "path" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("--golden")
    folders = [Path(chosen)] if chosen else [HERE / "golden", SHARED]
    files = {path.name: path for folder in folders for path in sorted(folder.glob("*.npz"))}
    if chosen and not files:
        raise pytest.UsageError(f"--golden {chosen}: no .npz files there")
    metafunc.parametrize("path", files.values(), ids=files.keys())


def check(name: str, golden: dict[str, np.ndarray]) -> tuple[golden_rules.Pairs, tuple[str, ...]]:
    """Pairs of one file and the patterns of its inputs."""
    if name in golden_data.CHECKS:
        return golden_data.CHECKS[name](golden), golden_data.INPUTS[name]
    if name in RULE_FILES:
        function, inputs = RULE_FILES[name]
        return function(golden), inputs
    case = golden_rules.parse(name)
    assert case is not None, f"unknown golden file {name}.npz"
    lacking = golden_rules.missing(golden, case)
    assert not lacking, f"missing keys: {sorted(lacking)}"
    return golden_rules.check_training(golden, case), golden_rules.INPUTS


def errors(pairs: golden_rules.Pairs) -> dict[str, float]:
    """Largest absolute error per key; a NaN counts as infinite."""
    found = {}
    for key, (ours, wanted) in pairs.items():
        error = np.abs(ours - wanted).max() if np.size(wanted) else 0.0
        found[key] = float("inf") if np.isnan(error) else float(error)
    return found


def test_file(path: Path) -> None:
    with np.load(path) as file:
        golden = dict(file)
    pairs, inputs = check(path.stem, golden)
    unknown = [
        key for key in golden
        if key not in pairs and key not in BOOKKEEPING
        and not any(fnmatch.fnmatch(key, pattern) for pattern in inputs)
    ]  # fmt: skip
    assert not unknown, f"keys that nothing checks: {unknown}"
    found = errors(pairs)
    assert found, "the file holds nothing to check"
    worst: dict[str, float] = {}
    for key, error in found.items():
        array = key.split(".", 1)[-1] if key.startswith("step") else key
        worst[array] = max(worst.get(array, 0.0), error)
    print({array: f"{error:.1e}" for array, error in worst.items()})
    wrong = {key: error for key, error in found.items() if error > TOLERANCE}
    assert not wrong, f"errors above {TOLERANCE}: {wrong}"


def test_unknown_files_and_missing_keys_are_noticed() -> None:
    with np.load(HERE / "golden" / "dfa_bce_tanh.npz") as file:
        golden = dict(file)
    with pytest.raises(AssertionError, match="unknown golden file"):
        check("dfa_bce_gelu", golden)
    del golden["step1.dW2"]
    with pytest.raises(AssertionError, match=r"missing keys: \['step1.dW2'\]"):
        check("dfa_bce_tanh", golden)


def test_a_wrong_number_is_noticed() -> None:
    path = HERE / "golden" / "dfa_bce_tanh.npz"
    with np.load(path) as file:
        golden = dict(file)
    golden["step2.W1"] = golden["step2.W1"] + 1e-6
    pairs, _ = check(path.stem, golden)
    assert [key for key, error in errors(pairs).items() if error > TOLERANCE] == ["step2.W1"]
