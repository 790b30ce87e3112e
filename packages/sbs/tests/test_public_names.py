"""Names that users' code, the README and ledger rows use stay where they are."""

import pkgutil
import subprocess
import sys

import pytest
import sbs

ROOT = (
    "Augmentation",
    "DataConfig",
    "Dataset",
    "Evaluation",
    "LayerConfig",
    "LearningConfig",
    "Model",
    "MultiplicativeAdam",
    "NetworkConfig",
    "Presentation",
    "SbS",
    "SbSLRScheduler",
    "SbSLayer",
    "TimeCourse",
    "TrainConfig",
    "accuracy_against_spikes",
    "adam",
    "augment",
    "build_network",
    "constrained",
    "cross_entropy",
    "evaluate",
    "from_original",
    "kernel_available",
    "kernel_instructions",
    "load_dataset",
    "load_model",
    "load_npz",
    "load_overload",
    "load_step",
    "mixed",
    "normalise",
    "on_off_split",
    "plateau",
    "pooling_weights",
    "preset",
    "read_original",
    "read_toml",
    "reference",
    "save_original",
    "sbs_pooling",
    "train",
)
DOTTED = (
    "sbs.cli:main",
    "sbs.kernel",
    "sbs.reference",
)


@pytest.mark.parametrize("name", ROOT)
def test_root_name(name: str) -> None:
    assert name in sbs.__all__
    assert getattr(sbs, name) is not None


@pytest.mark.parametrize("path", DOTTED)
def test_dotted_name(path: str) -> None:
    assert pkgutil.resolve_name(path) is not None


@pytest.mark.slow
def test_a_fresh_process_finds_all_root_names() -> None:
    """A fresh process: submodules that other tests have loaded would hide a name that the root does not load."""
    program = f"import sbs; [getattr(sbs, name) for name in {ROOT}]"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.skipif(not sbs.kernel_available(), reason="the compiled core is not built here")
def test_compiled_core() -> None:
    assert pkgutil.resolve_name("sbs._kernel").__name__ == "sbs._kernel"
