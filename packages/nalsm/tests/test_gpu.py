"""On a GPU: liquids of the published size against the compiled engine, differences counted."""

import numpy as np
import pytest
import torch
from nalsm import Events, NetworkSpec, PlasticityParameters, Rates, Simulator, generate, kernel_available
from nalsm.engines.agreement import agreement

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.skipif(
        not kernel_available(), reason="compares with the compiled engine, which was not built"
    ),
]
NETWORK = generate(NetworkSpec(inputs=784, seed=1))
LEARNS = {rule: PlasticityParameters(rule=rule, rate_decay=0.99) for rule in ("stdp", "astrocyte")}
RULES = {"none": PlasticityParameters(), **LEARNS}


def rates(samples: int) -> Rates:
    """Return probabilities as of images: 150 of 784 pixels, 20 events a millisecond."""
    stream = np.random.default_rng(0)
    probability = stream.random((samples, 784)) * (stream.random((samples, 784)) < 150 / 784) * 20 / 75
    return Rates(probability, np.arange(samples), 2**40 + 3)


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    """Return the weights after a short initialisation phase, of which a part lies between the bounds."""
    return (
        Simulator(NETWORK)
        .present_in_sequence(rates(200), NETWORK.start_weights(3.0), PlasticityParameters(rule="astrocyte"))
        .weights
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("listed", [False, True], ids=["drawn", "listed"])
def test_samples_side_by_side(weights: np.ndarray, rule: str, listed: bool) -> None:
    source = rates(40).events(250) if listed else rates(40)
    start = NETWORK.start_weights(0.9) if rule == "none" else weights
    ours = Simulator(NETWORK, device="cuda")
    assert ours.engine == "triton"
    found, wanted = (
        s.present_independent(source, start, RULES[rule], record=True, keep_weights=True)
        for s in (ours, Simulator(NETWORK))
    )
    counted = agreement(found, wanted, NETWORK, source, start, RULES[rule])
    print(f"{rule}: {counted}")
    assert counted.unexplained == 0
    assert counted.apart <= 2
    same = (found.raster == wanted.raster).all(axis=(1, 2))
    for name in ("counts", "raster", "depression", "weights", "trace", "calcium"):
        a, b = getattr(found, name), getattr(wanted, name)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert np.allclose(a[same], b[same], rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("rule", ["calcium", "astrocyte"])
def test_in_sequence(rule: str) -> None:
    learns, start = (
        PlasticityParameters(rule=rule, calcium_threshold=1.0, calcium_range=1.0),
        NETWORK.start_weights(1.0),
    )
    found, wanted = (
        Simulator(NETWORK, engine=engine, device=device).present_in_sequence(
            rates(20), start, learns, carry_trace=True, record=True
        )
        for engine, device in (("triton", "cuda"), ("events", "cpu"))
    )
    parted = (found.raster != wanted.raster).any(axis=(1, 2))
    first = int(parted.argmax()) if parted.any() else len(parted)
    print(f"{rule}: equal for {first} of {len(parted)} presentations")
    assert first >= 10


def test_other_sizes_and_several_events_a_millisecond() -> None:
    network = generate(NetworkSpec((11, 11, 11), 2312, 2, input_density=0.05))
    stream = np.random.default_rng(1)
    raster = stream.integers(1, 4, (5, 2312, 60)) * (stream.random((5, 2312, 60)) < 0.02)
    source, start = Events.from_raster(raster), network.start_weights(3.0)
    found, wanted = (
        Simulator(network, device=device).present_independent(
            source, start, LEARNS["astrocyte"], duration=60, record=True
        )
        for device in ("cuda", "cpu")
    )
    assert agreement(found, wanted, network, source, start, LEARNS["astrocyte"]).unexplained == 0


def test_a_large_liquid() -> None:
    network = generate(NetworkSpec((20, 20, 20), 784, 1))
    start, source = network.start_weights(3.0), rates(4)
    rule = PlasticityParameters(rule="astrocyte", rate_decay=0.99, astrocyte_weight=0.0075)
    found, wanted = (
        Simulator(network, device=device).present_independent(source, start, rule, duration=40, record=True)
        for device in ("cuda", "cpu")
    )
    assert agreement(found, wanted, network, source, start, rule).unexplained == 0


def test_no_sample_and_part_after_part(monkeypatch) -> None:
    ours, start = Simulator(NETWORK, device="cuda"), NETWORK.start_weights(0.9)
    nothing = ours.present_independent(rates(0), start, RULES["none"], duration=5, record=True)
    assert (nothing.counts.shape, nothing.raster.shape) == ((0, 1000), (0, 5, 1784))
    whole = ours.present_independent(rates(7), start, LEARNS["stdp"], duration=30)
    monkeypatch.setattr(ours._gpu, "_at_once", lambda duration, plastic, record, left: min(left, 3))
    parts = ours.present_independent(rates(7), start, LEARNS["stdp"], duration=30)
    assert np.array_equal(parts.counts, whole.counts)
    assert np.array_equal(parts.trace, whole.trace)
