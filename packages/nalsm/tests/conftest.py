"""One thread for every test, and the folder of the helpers on the path."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for the modules that tests share


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
