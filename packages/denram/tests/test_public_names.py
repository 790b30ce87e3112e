"""Names that users' code, the README and ledger rows use stay where they are."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import denram
import numpy as np
import pytest
from reprokit import UserError

ROOT = (
    "PRESETS",
    "AdamState",
    "DelayNetwork",
    "EventBatch",
    "LossAndGradient",
    "NetworkSpec",
    "Parameters",
    "TorchGenerator",
    "Traces",
    "TrainConfig",
    "evaluate",
    "initial_state",
    "initialise",
    "learning_rate",
    "load_data",
    "loss_and_accuracy",
    "loss_and_gradient",
    "next_normals",
    "noisy_weights",
    "open_run",
    "scores",
    "train",
    "train_together",
    "update",
)
DOTTED = (
    "denram.cli:main",
    "denram.training.train",
    "denram.config.TrainConfig",
    "denram.runs.open_run",
    "denram.evaluation.evaluate",
)


@pytest.mark.parametrize("name", ROOT)
def test_root_name(name: str) -> None:
    assert name in denram.__all__
    assert getattr(denram, name) is not None


@pytest.mark.parametrize("path", DOTTED)
def test_dotted_name(path: str) -> None:
    assert pkgutil.resolve_name(path) is not None


@pytest.mark.slow
def test_a_fresh_process_finds_all_root_names() -> None:
    """A fresh process: submodules that other tests have loaded would hide a name that the root does not load."""
    program = f"import denram; [getattr(denram, name) for name in {ROOT}]"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_compiled_core() -> None:
    spec = denram.NetworkSpec(n_in=4, n_delays=2, n_out=2)
    try:
        denram.DelayNetwork(np.zeros((2, spec.n_synapses), np.float32), spec, engine="events")
    except UserError:
        pytest.skip("the compiled event engine is not built here")
    assert Path(denram.__file__).with_name("native.so").is_file()
