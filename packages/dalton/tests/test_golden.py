"""Every array of every golden file, by both engines; ``--golden DIR`` checks another folder of such files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from dalton import SpikingCNN, architecture, kernel_available
from golden_methods import NAME, Golden, Value, check_method
from golden_units import UNITS

HERE = Path(__file__).parent
ENGINES = ("torch", "native") if kernel_available() else ("torch",)
# The learning curve's files are inputs of the reproduction (reproduction/dalton), not arrays to compare.
CURVE_FILES = {"mnist_a1_init", "mnist_a1_curves", "mnist_subset"}
INPUTS = {
    "MNIST": (1, 28, 28), "FMNIST": (1, 28, 28), "CIFAR10": (3, 32, 32), "DVS_GESTURE": (2, 32, 32),
    "DVS_CIFAR10": (2, 32, 32), "DVS_MNIST": (2, 34, 34),
}  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "path" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("--golden")
    folder = Path(chosen) if chosen else HERE / "golden"
    files = sorted([*folder.glob("*.npz"), *folder.glob("*.json")])
    if not files:
        raise pytest.UsageError(f"--golden {folder}: no golden files there")
    cases = [
        (path, engine) for path in files if path.stem not in CURVE_FILES
        for engine in (ENGINES if path.suffix == ".npz" and path.stem != "unit_events" else ("torch",))
    ]  # fmt: skip
    metafunc.parametrize(("path", "engine"), cases, ids=[f"{path.stem}-{engine}" for path, engine in cases])


def check(name: str, golden: Golden, engine: str) -> tuple[dict[str, Value], set[str]]:
    """Return our values by key, and the keys that are inputs."""
    if name == "unit_events":
        events = pytest.importorskip("golden_events", reason="the check of the event pipeline is missing")
        values, inputs = events.check(golden)
        return {key: Value(*value) for key, value in values.items()}, set(inputs)
    if name in UNITS:
        return UNITS[name](golden, engine)
    assert NAME.fullmatch(name), f"unknown golden file {name}"
    return check_method(golden, engine)


def excess(ours: np.ndarray, wanted: np.ndarray, value: Value) -> tuple[float, float]:
    """Return the largest absolute error, and that divided by what is allowed (over 1: failed)."""
    if ours.shape != wanted.shape:
        return math.inf, math.inf
    error = np.abs(np.asarray(ours, np.float64) - np.asarray(wanted, np.float64))
    largest = float(error.max(initial=0.0))
    allowed = value.absolute + value.relative * float(np.abs(wanted).max(initial=0.0))
    if math.isnan(largest):
        return math.inf, math.inf
    return largest, 0.0 if largest == 0 else (largest / allowed if allowed else math.inf)


def failures(values: dict[str, Value], inputs: set[str], golden: Golden) -> dict[str, str]:
    """Print the largest error per array; return what is wrong, by key."""
    wrong = {key: "nothing checks this key" for key in golden if key not in values and key not in inputs}
    wrong |= {key: "the file lacks this key" for key in {*values, *inputs} - set(golden)}
    for key in sorted(set(values) & set(golden)):
        largest, share = excess(np.asarray(values[key].ours), golden[key], values[key])
        print(f"{key:28s} largest error {largest:.2e}, {share:.2g} of what is allowed")
        if share > 1:
            wrong[key] = f"largest error {largest:.3e} is {share:.3g} times what is allowed"
    return wrong


def test_file(path: Path, engine: str) -> None:
    if path.suffix == ".json":
        assert path.stem == "arch_shapes", f"unknown golden file {path.name}"
        return check_shapes(json.loads(path.read_text()))
    with np.load(path, allow_pickle=False) as file:
        golden = dict(file)
    values, inputs = check(path.stem, golden, engine)
    assert values, "the file holds nothing to check"
    wrong = failures(values, inputs, golden)
    assert not wrong, wrong
    return None


def check_shapes(rows: list) -> None:
    """Maps, flattened size, dense sizes, weights and neurons of the five architectures on all data sets."""
    assert rows
    for dataset, number, mode, maps, flattened, dense, weights, neurons in rows:
        for downsample in ("stride",) if mode == "strided" else ("avgpool", "maxpool"):
            arch = architecture(f"A{number}", downsample)
            net = SpikingCNN(arch, INPUTS[dataset], 11 if dataset == "DVS_GESTURE" else 10)
            conv = [x for x in net.layers if x.kind == "conv"]
            assert [list(x.output_shape) for x in conv] == maps
            assert conv[-1].units == flattened
            assert [x.units for x in net.layers if x.kind == "dense"] == dense
            assert sum(p.numel() for p in net.parameters()) == weights
            assert sum(x.units for x in net.layers) == neurons


def _load(name: str) -> Golden:
    with np.load(HERE / "golden" / f"{name}.npz") as file:
        return dict(file)


def test_unknown_files_and_missing_keys_are_noticed() -> None:
    golden = _load("surrgd_bptt__one_conv__f64")
    with pytest.raises(AssertionError, match="unknown golden file"):
        check("hebb_bptt__one_conv", golden, "torch")
    values, inputs = check("surrgd_bptt__one_conv__f64", golden, "torch")
    missing = {key: value for key, value in golden.items() if key != "v_dense1"}
    assert list(failures(values, inputs, missing)) == ["v_dense1"]
    assert list(failures(values, inputs, golden | {"extra": np.zeros(1)})) == ["extra"]


@pytest.mark.parametrize("key", ["grad_conv1", "w_dense2", "loss", "dv_dense1"])
def test_a_wrong_number_is_noticed(key: str) -> None:
    golden = _load("dalton_rtrl__one_conv__f64")
    values, inputs = check("dalton_rtrl__one_conv__f64", golden, "torch")
    golden[key] = golden[key] + 1e-6
    assert list(failures(values, inputs, golden)) == [key]
