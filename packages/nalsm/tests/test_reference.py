"""Static liquids as one matrix product per millisecond, as on accelerators: the spikes are the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nalsm import PlasticityParameters, ReferenceLiquid
from nalsm.engines.reference import independent
from nalsm_small import small_network, small_rates

STATIC = PlasticityParameters(rule="none")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_product_gives_the_same_spikes(dtype: torch.dtype) -> None:
    network, source = small_network(), small_rates(9)
    weights, trace = network.start_weights(2.0), np.zeros((9, network.neurons), np.float32)
    runs = [
        independent(
            ReferenceLiquid(network, None, STATIC, dtype=dtype, product=product),
            source, weights, 60, trace, record=True, keep=False,
        )
        for product in (False, True)
    ]  # fmt: skip
    assert runs[0].counts.sum() > 50
    np.testing.assert_array_equal(runs[0].raster, runs[1].raster)
    np.testing.assert_array_equal(runs[0].counts, runs[1].counts)


def test_product_is_for_static_shared_weights_alone() -> None:
    network = small_network()
    weights = torch.as_tensor(network.start_weights(1.0))
    static = ReferenceLiquid(network, None, STATIC, product=True)
    matrix = static.start(weights, 3).matrix
    assert matrix is not None
    assert matrix.shape == (network.neurons, network.liquid)
    assert float(matrix.abs().sum()) == pytest.approx(float(weights.abs().sum()), rel=1e-5)
    assert static.start(weights.expand(3, -1), 3).matrix is None
    plastic = ReferenceLiquid(network, None, PlasticityParameters(rule="stdp"), product=True)
    assert plastic.start(weights, 3).matrix is None
    assert (
        ReferenceLiquid(network, None, STATIC).start(weights, 3).matrix is None
    )  # on a CPU, synapse by synapse
