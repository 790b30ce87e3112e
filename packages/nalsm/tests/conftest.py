"""Every test runs with one thread, and helper modules can be imported."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for the modules that tests share


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
