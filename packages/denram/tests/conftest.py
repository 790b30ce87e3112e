"""Option ``--golden DIR``: check another folder of golden files instead of the copied ones."""

import contextlib

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    with contextlib.suppress(ValueError):  # another package of the repository may have declared it
        parser.addoption("--golden", default=None, help="folder of golden files instead of the copied ones")
