"""The one option that several packages' tests share: ``--golden DIR`` (declared once, for pytest takes it once)."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option; each package's ``tests/test_golden.py`` reads it."""
    parser.addoption(
        "--golden", type=Path, default=None, help="folder of golden files instead of the copied ones"
    )
