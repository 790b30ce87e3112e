"""The Triton kernels in Triton's interpreter, on the CPU: in a process that has imported neither before."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs Triton: pip install triton (the extra gpu)"
)


def test_kernels_compute_the_plain_formulas():
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("gpu_checks.py")],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
