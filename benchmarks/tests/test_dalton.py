"""The proofs of dalton's cases on a deep network with dropout, at a size for tests."""

import numpy as np
import pytest

from benchmarks import dalton as cases
from benchmarks.cases import Unequal


@pytest.mark.slow
def test_all_engines_have_the_same_gradients_in_float64_without_dropout():
    from benchmarks.programs.dalton import Steps

    random = np.random.default_rng(0)
    data = ("random", random.random((2, 1, 28, 28), np.float32), random.integers(0, 10, 2))
    steps = Steps("A3", steps=8, batch=2, data=data)
    ours, torch_engine, autograd = (
        steps.gradients("surrgd", "bptt", name) for name in ("auto", "torch", "autograd")
    )
    for theirs in (torch_engine, autograd):
        assert cases.compared(ours, theirs).startswith("gradients in float64 equal to ")
    assert {str(gradient.dtype) for gradient in ours.values()} == {"torch.float64"}
    largest = max(ours.values(), key=lambda gradient: float(gradient.norm()))
    assert float(largest.norm()) > 0
    largest *= 1 + 1e-6
    with pytest.raises(Unequal):
        cases.compared(ours, autograd)
