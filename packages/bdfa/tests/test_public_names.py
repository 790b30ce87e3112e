"""Names that users' code, the README and ledger rows use stay where they are."""

import pkgutil
import subprocess
import sys

import bdfa
import pytest

ROOT = (
    "RULES",
    "TARGETS",
    "AlignmentMonitor",
    "Criterion",
    "FAConv2d",
    "FALinear",
    "FastMLP",
    "FeedbackModel",
    "GenerativeFeedback",
    "LayerAlignment",
    "Network",
    "ResidentStep",
    "Rule",
    "Torch7Optimizer",
    "TrainConfig",
    "adversarial_backward",
    "conv",
    "convert",
    "feedback_matrix",
    "feedback_target",
    "get_rule",
    "initialise",
    "make_optimiser",
    "measure_alignment",
    "mlp",
    "renorm",
    "train",
)
DOTTED = (
    "bdfa.cli:main",
    "bdfa.rules.RULES",
    "bdfa.example_networks",
    "bdfa.example_networks:residual",
    "bdfa.example_networks:small_conv",
)


@pytest.mark.parametrize("name", ROOT)
def test_root_name(name: str) -> None:
    assert name in bdfa.__all__
    assert getattr(bdfa, name) is not None


@pytest.mark.parametrize("path", DOTTED)
def test_dotted_name(path: str) -> None:
    assert pkgutil.resolve_name(path) is not None


@pytest.mark.slow
def test_a_fresh_process_finds_all_root_names() -> None:
    """A fresh process: submodules that other tests have loaded would hide a name that the root does not load."""
    program = f"import bdfa; [getattr(bdfa, name) for name in {ROOT}]"
    subprocess.run([sys.executable, "-c", program], check=True)
