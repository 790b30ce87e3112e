"""Names that users' code, the README and ledger rows use stay where they are."""

import pkgutil
import subprocess
import sys

import nalsm
import pytest

ROOT = (
    "Config",
    "Events",
    "LinearReadout",
    "Liquid",
    "LiquidNetwork",
    "LiquidState",
    "NetworkSpec",
    "NeuronParameters",
    "PlasticityParameters",
    "Presentation",
    "Quirks",
    "Rates",
    "RecursiveLeastSquares",
    "ReferenceLiquid",
    "Run",
    "Simulator",
    "branching_factor",
    "branching_ratio",
    "divergence",
    "event_list",
    "generate",
    "kernel_available",
    "kernel_quality",
    "kernel_rank",
    "load_event_arrays",
    "rate_probabilities",
    "recordings_to_events",
    "save_event_arrays",
    "shuffled",
    "train_adadelta",
    "train_lbfgs",
    "train_ridge",
)
DOTTED = (
    "nalsm.LiquidStateMachine",
    "nalsm.LiquidStateRegressor",
    "nalsm.cli:main",
    "nalsm.estimator.LiquidStateMachine",
)


@pytest.mark.parametrize("name", ROOT)
def test_root_name(name: str) -> None:
    assert name in nalsm.__all__
    assert getattr(nalsm, name) is not None


@pytest.mark.parametrize("path", DOTTED)
def test_dotted_name(path: str) -> None:
    assert pkgutil.resolve_name(path) is not None


@pytest.mark.slow
def test_a_fresh_process_finds_all_root_names() -> None:
    """A fresh process: submodules that other tests have loaded would hide a name that the root does not load."""
    program = f"import nalsm; [getattr(nalsm, name) for name in {ROOT}]"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.slow
def test_all_names_at_once_do_not_load_scikit_learn() -> None:
    program = "from nalsm import *; import sys; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.skipif(not nalsm.kernel_available(), reason="the compiled core is not built here")
def test_compiled_core() -> None:
    assert pkgutil.resolve_name("nalsm._kernel").__name__ == "nalsm._kernel"
