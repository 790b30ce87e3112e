"""Names that users' code, the README and ledger rows use stay where they are."""

import pkgutil
import subprocess
import sys

import dalton
import pytest

ROOT = (
    "ALIASES",
    "ARCHITECTURES",
    "LOSSES",
    "METHODS",
    "SETTINGS",
    "Architecture",
    "ConvSpec",
    "EncoderParameters",
    "IntegrateAndFire",
    "LayerSpec",
    "NetworkState",
    "NeuronParameters",
    "NeuronState",
    "OriginalCheckpoint",
    "SpikingCNN",
    "StepResult",
    "TrainConfig",
    "TrainResult",
    "architecture",
    "bytes_per_sample",
    "choose_engine",
    "classes",
    "clip_at_zero",
    "current_gradient",
    "data",
    "draw_weight",
    "encode",
    "evaluate",
    "evaluate_run",
    "kernel_available",
    "load_run",
    "observe",
    "predict",
    "read_dump",
    "read_original",
    "run",
    "spike",
    "stream",
    "surrogate_derivative",
    "to_nir",
    "train",
    "train_step",
    "trainable",
    "write_dump",
    "write_nir",
    "write_original",
)
DOTTED = (
    "dalton.cli:main",
    "dalton.data.load",
)


@pytest.mark.parametrize("name", ROOT)
def test_root_name(name: str) -> None:
    assert name in dalton.__all__
    assert getattr(dalton, name) is not None


@pytest.mark.parametrize("path", DOTTED)
def test_dotted_name(path: str) -> None:
    assert pkgutil.resolve_name(path) is not None


@pytest.mark.slow
def test_a_fresh_process_finds_all_root_names() -> None:
    """A fresh process: submodules that other tests have loaded would hide a name that the root does not load."""
    program = f"import dalton; [getattr(dalton, name) for name in {ROOT}]"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.skipif(not dalton.kernel_available(), reason="the compiled core is not built here")
def test_compiled_core() -> None:
    assert pkgutil.resolve_name("dalton._kernel").__name__ == "dalton._kernel"
