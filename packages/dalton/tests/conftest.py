"""Options of the golden checks, one thread for every test, and the folder of the helpers on the path."""

import contextlib
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    with contextlib.suppress(ValueError):  # another package of the repository may have declared it
        parser.addoption("--golden", default=None, help="folder of golden files instead of the copied ones")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
