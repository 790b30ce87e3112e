"""The compiled engine against the PyTorch reference, and what must not change results."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nalsm import Events, PlasticityParameters, Rates, ReferenceLiquid, Simulator, kernel_available
from nalsm.engines.compiled import _kernel
from nalsm.engines.simulator import _warn_once
from nalsm_small import small_network, small_rates
from reprokit import UserError

pytestmark = pytest.mark.skipif(not kernel_available(), reason="the compiled engine was not built")
RULES = ["none", "stdp", "astrocyte"]


@pytest.mark.parametrize("rule", RULES)
def test_compiled_engine_equals_reference(rule: str) -> None:
    network, source = small_network(), small_rates(3)
    plasticity = PlasticityParameters(rule=rule, rate_decay=0.99)
    weights = network.start_weights(2.0)
    runs = [
        Simulator(network, engine=engine).present_independent(
            source, weights, plasticity, duration=60, record=True, keep_weights=True
        )
        for engine in ("events", "torch")
    ]
    assert runs[0].counts.sum() > 50
    np.testing.assert_array_equal(runs[0].raster, runs[1].raster)
    np.testing.assert_array_equal(runs[0].counts, runs[1].counts)
    np.testing.assert_allclose(runs[0].weights, runs[1].weights, atol=5e-6)
    np.testing.assert_allclose(runs[0].depression, runs[1].depression, atol=5e-6)


@pytest.mark.parametrize("rule", ["none", "stdp", "astrocyte", "calcium"])
def test_sequences_equal_reference(rule: str) -> None:
    network, source = small_network(), small_rates(6)
    plasticity = PlasticityParameters(rule=rule, calcium_threshold=3.0, calcium_range=2.5)
    runs = [
        Simulator(network, engine=engine).present_in_sequence(
            source, network.start_weights(2.0), plasticity, duration=20, carry_trace=True
        )
        for engine in ("events", "torch")
    ]
    np.testing.assert_array_equal(runs[0].counts, runs[1].counts)
    np.testing.assert_allclose(runs[0].weights, runs[1].weights, atol=5e-6)
    np.testing.assert_allclose(runs[0].calcium, runs[1].calcium, atol=5e-5)
    assert runs[0].counts.sum() > 50
    assert (np.abs(runs[0].weights - network.start_weights(2.0)).max() > 0.01) == (rule != "none")


@pytest.mark.parametrize("rule", RULES)
def test_every_instruction_set_gives_the_same_bits(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, source = small_network(), small_rates(3)
    plasticity = PlasticityParameters(rule=rule, rate_decay=0.99)
    found = {}
    for isa in _kernel.all_isa():
        monkeypatch.setenv("REPROKIT_ISA", isa)
        result = Simulator(network, engine="events").present_independent(
            source, network.start_weights(2.0), plasticity, duration=60, record=True, keep_weights=True
        )
        found[isa] = (result.raster, result.weights, result.depression)
    for parts in found.values():
        for part, other in zip(parts, found[_kernel.isa()], strict=True):
            np.testing.assert_array_equal(part, other)


def test_instructions_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPROKIT_ISA", "sse9")
    with pytest.raises(UserError, match=r"REPROKIT_ISA is 'sse9'; .* have .*: choose one of them"):
        Simulator(small_network())


@pytest.mark.parametrize("rule", RULES)
def test_features_do_not_depend_on_batch_size_threads_or_order(rule: str) -> None:
    network, source = small_network(), small_rates(250)
    plasticity = PlasticityParameters(rule=rule, rate_decay=0.99)
    simulator, weights = Simulator(network), network.start_weights(2.0)
    whole = simulator.present_independent(source, weights, plasticity, duration=40).counts
    for threads in (1, 2, 4):
        for batch in (1, 7, 250):
            parts = [
                simulator.present_independent(
                    source[k : k + batch], weights, plasticity, duration=40, threads=threads
                ).counts
                for k in range(0, 250 if batch > 1 else 20, batch)
            ]
            joined = np.concatenate(parts)
            np.testing.assert_array_equal(joined, whole[: len(joined)])
    order = np.random.default_rng(0).permutation(250)
    shuffled = simulator.present_independent(
        source[order], weights, plasticity, duration=40, threads=2
    ).counts
    np.testing.assert_array_equal(shuffled, whole[order])


def test_start_weights_are_not_changed() -> None:
    network, weights = small_network(), small_network().start_weights(3.0)
    before = weights.copy()
    Simulator(network).present_independent(
        small_rates(4), weights, PlasticityParameters(rule="stdp"), duration=30
    )
    np.testing.assert_array_equal(weights, before)


def test_learned_weights_stay_in_their_bounds() -> None:
    network = small_network()
    run = Simulator(network).present_in_sequence(
        small_rates(40), network.start_weights(3.0), PlasticityParameters(rule="stdp"), duration=20
    )
    pre = network.pre[network.active]
    excitatory, inhibitory = pre < network.excitatory, (pre >= network.excitatory) & (pre < network.liquid)
    assert run.weights[excitatory].min() >= 0
    assert run.weights[excitatory].max() <= 3
    assert run.weights[inhibitory].min() >= -3
    assert run.weights[inhibitory].max() <= 0


def test_missing_core_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nalsm.engines.compiled._kernel", None)
    _warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="compiled liquid engine is missing"):
        assert Simulator(small_network()).engine == "torch"
    Simulator(small_network())  # a second warning would be an error
    with pytest.raises(UserError, match="was not built"):
        Simulator(small_network(), engine="events")
    _warn_once.cache_clear()


def test_wrong_sizes_are_named() -> None:
    network = small_network()
    simulator = Simulator(network)
    rule = PlasticityParameters()
    with pytest.raises(UserError, match="40 input neurons and the data 7 channels"):
        simulator.present_independent(small_rates(2, inputs=7), network.start_weights(1.0), rule)
    with pytest.raises(UserError, match="synapses"):
        simulator.present_independent(small_rates(2), network.start_weights(1.0)[:-1], rule)
    with pytest.raises(UserError, match="threads is 0"):
        simulator.present_independent(small_rates(2), network.start_weights(1.0), rule, threads=0)
    with pytest.raises(UserError, match="duration is 0"):
        simulator.present_independent(small_rates(2), network.start_weights(1.0), rule, duration=0)


def test_no_samples_give_empty_counts() -> None:
    network = small_network()
    empty = Rates(np.zeros((0, 40)), np.zeros(0, np.int64))
    run = Simulator(network).present_independent(empty, network.start_weights(1.0), PlasticityParameters())
    assert run.counts.shape == (0, network.liquid)


def test_start_weights_beyond_the_bounds_are_clipped_by_both_engines() -> None:
    network, source = small_network(), small_rates(3)
    rule = PlasticityParameters(rule="stdp", weight_limit=1.5)
    runs = [
        Simulator(network, engine=engine).present_independent(
            source, network.start_weights(4.0), rule, duration=40, keep_weights=True
        )
        for engine in ("events", "torch")
    ]
    assert np.abs(runs[0].weights).max() == 1.5
    np.testing.assert_array_equal(runs[0].counts, runs[1].counts)
    np.testing.assert_allclose(runs[0].weights, runs[1].weights, atol=5e-6)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rule=st.sampled_from(["none", "stdp", "astrocyte"]),
    weight=st.floats(0.1, 3.0),
    share=st.floats(0.0, 1.0),
)
def test_engines_agree_on_any_events(seed: int, rule: str, weight: float, share: float) -> None:
    """Silent channels, carried traces and repeated events included; weights of unused channels stay."""
    network, stream = small_network(seed=seed % 7), np.random.default_rng(seed)
    raster = stream.poisson(0.15, (2, 40, 30)).astype(np.uint8)
    raster[:, stream.random(40) < share] = 0
    trace = (stream.random((2, network.neurons)) * (stream.random((2, network.neurons)) < 0.3)).astype(
        np.float32
    )
    runs = [
        Simulator(network, engine=engine).present_independent(
            Events.from_raster(raster), network.start_weights(weight), PlasticityParameters(rule=rule), duration=30,
            trace=trace, record=True, keep_weights=True,
        )
        for engine in ("events", "torch")
    ]  # fmt: skip
    differ = (runs[0].raster != runs[1].raster).any(axis=(1, 2))
    # sums in another order may flip a neuron within 1e-5 of its threshold, and what follows; that is rare
    for k in np.nonzero(~differ)[0]:
        np.testing.assert_allclose(runs[0].weights[k], runs[1].weights[k], atol=5e-6)
    assert differ.sum() <= 1


@pytest.mark.parametrize("rule", RULES)
def test_the_torch_engine_simulates_a_batch_at_a_time(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sample has its own weights there: all at once took 700 MB for 600 digits, whatever the batch."""
    network, source = small_network(), small_rates(23)
    trace = np.random.default_rng(0).random((23, network.neurons)).astype(np.float32)
    sizes: list[int] = []
    start = ReferenceLiquid.start

    def watched(self: ReferenceLiquid, weights: torch.Tensor, samples: int, *args: torch.Tensor) -> object:
        sizes.append(samples)
        return start(self, weights, samples, *args)

    monkeypatch.setattr(ReferenceLiquid, "start", watched)
    simulator, found = Simulator(network, engine="torch"), []
    for batch, expected in ((250, [23]), (10, [10, 10, 3]), (1, [1] * 23)):
        sizes.clear()
        found.append(
            simulator.present_independent(
                source, network.start_weights(2.0), PlasticityParameters(rule=rule), duration=30, trace=trace,
                record=True, keep_weights=True, batch=batch,
            )
        )  # fmt: skip
        assert sizes == expected
    for other in found[1:]:
        for name in ("counts", "raster", "depression", "weights", "trace", "calcium"):
            np.testing.assert_array_equal(getattr(found[0], name), getattr(other, name))
    with pytest.raises(UserError, match="batch is 0"):
        simulator.present_independent(source, network.start_weights(2.0), PlasticityParameters(), batch=0)
