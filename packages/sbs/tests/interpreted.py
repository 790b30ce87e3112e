"""Triton's kernels on the CPU, by Triton's interpreter, whoever has imported Triton before.

Triton decides when a kernel is defined whether it will be interpreted, and its own library is made of kernels. So
Triton and our kernels are imported anew while ``TRITON_INTERPRET`` is set, and what was there before is put back.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

OURS = ("sbs.engines.triton_kernels", "sbs.engines.gpu", "sbs.rules.triton_kernels", "sbs.rules.backward_gpu")


def _concerned(name: str) -> bool:
    """Triton's compiled part stays: it is loaded once per process, and knows nothing of the interpreter."""
    return name in OURS or (name.split(".")[0] == "triton" and "._C" not in name)


def _take() -> dict:
    taken = {name: sys.modules.pop(name) for name in list(sys.modules) if _concerned(name)}
    for name in taken:
        room, _, leaf = name.rpartition(".")
        if name in OURS and room in sys.modules:
            sys.modules[room].__dict__.pop(leaf, None)
    return taken


@contextmanager
def interpreter() -> Iterator[None]:
    """Interpret the kernels on CPU tensors; NumPy, which computes them, does not warn of lanes that are masked."""
    before, setting = _take(), os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        for name in OURS:
            importlib.import_module(name)
        with np.errstate(all="ignore"):
            yield
    finally:
        del os.environ["TRITON_INTERPRET"]
        if setting is not None:
            os.environ["TRITON_INTERPRET"] = setting
        # Kept under another name: Triton's compiled part counts what is alive at the end of the process.
        sys.modules.update({f"interpreted {name}": module for name, module in _take().items()})
        sys.modules.update(before)
        for name in OURS:
            if name in before:
                room, _, leaf = name.rpartition(".")
                setattr(sys.modules[room], leaf, before[name])


def needs_triton() -> None:
    """Skip where Triton is not installed."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is missing: pip install triton, or packages/sbs[gpu]")
