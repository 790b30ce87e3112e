"""Settings of torch and NumPy that users often change: the bits of the default settings, in every engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from nalsm import (
    LiquidStateMachine,
    PlasticityParameters,
    ReferenceLiquid,
    Simulator,
    kernel_available,
    train_adadelta,
    train_lbfgs,
    train_ridge,
)
from nalsm.engines.reference import independent
from nalsm.names import Engine
from nalsm_small import small_network, small_rates

ENGINES: tuple[Engine, ...] = ("events", "torch") if kernel_available() else ("torch",)
NETWORK = small_network()
WEIGHTS = NETWORK.start_weights(2.0)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded() -> Iterator[None]:
    torch.manual_seed(7)
    np.random.seed(7)
    yield


@contextmanager
def device() -> Iterator[None]:
    with torch.device("cpu"):
        yield


@contextmanager
def print_and_errors() -> Iterator[None]:
    with np.errstate(all="raise"):
        yield


SETTINGS = {
    "float64": partial(default_dtype, torch.float64),
    "float16": partial(default_dtype, torch.float16),
    "seeds": seeded,
    "deterministic": deterministic,
    "two threads": partial(threads, 2),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": partial(torch.autocast, "cpu", dtype=torch.bfloat16),
    "device": device,
    "errors of NumPy": print_and_errors,
}


def liquid(engine: Engine, rule: str) -> bytes:
    plasticity = PlasticityParameters(rule=rule, rate_decay=0.99, weight_limit=2.7)  # type: ignore[arg-type]
    simulator = Simulator(NETWORK, engine=engine)
    side = simulator.present_independent(
        small_rates(4), WEIGHTS, plasticity, duration=50, record=True, keep_weights=True
    )
    row = simulator.present_in_sequence(small_rates(3), WEIGHTS, plasticity, duration=30, carry_trace=True)
    stream = simulator.start(WEIGHTS, plasticity)
    ran = stream.run(small_rates(1).events(40), record=True)
    parts = [
        side.counts,
        side.raster,
        side.depression,
        side.weights,
        row.counts,
        row.weights,
        row.trace,
        ran.raster,
    ]
    return b"".join(part.tobytes() for part in [*parts, stream.weights] if part is not None)


@pytest.fixture(scope="module")
def plain() -> dict[tuple[Engine, str], bytes]:
    return {(engine, rule): liquid(engine, rule) for engine in ENGINES for rule in ("none", "astrocyte")}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("engine", ENGINES)
def test_liquids(engine: Engine, setting: str, plain: dict[tuple[Engine, str], bytes]) -> None:
    for rule in ("none", "astrocyte"):
        with SETTINGS[setting]():
            assert liquid(engine, rule) == plain[engine, rule]


COUNTS = np.random.default_rng(0).poisson(4.0, (60, 20)).astype(np.uint8)
LABELS = np.arange(60) % 3
READOUTS = {
    "lbfgs": partial(train_lbfgs, iterations=30),
    "adadelta": partial(train_adadelta, epochs=4),
    "ridge": train_ridge,
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("readout", READOUTS)
def test_readouts(readout: str, setting: str) -> None:
    expected = READOUTS[readout](COUNTS, LABELS, classes=3)
    with SETTINGS[setting]():
        found = READOUTS[readout](COUNTS, LABELS, classes=3)
    np.testing.assert_array_equal(found.weight, expected.weight)
    np.testing.assert_array_equal(found.bias, expected.bias)


@pytest.mark.parametrize("setting", ["float64", "two threads", "inference_mode", "autocast"])
def test_estimators(setting: str) -> None:
    x = small_rates(30).probability
    made = LiquidStateMachine(
        dims=(3, 3, 3), duration=60, initial_samples=5, readout="adadelta", readout_epochs=3
    )
    expected = made.fit(x, LABELS[:30]).decision_function(x)
    with SETTINGS[setting]():
        found = made.fit(x, LABELS[:30]).decision_function(x)
    np.testing.assert_array_equal(found, expected)


def test_no_global_random_number_is_drawn() -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    LiquidStateMachine(dims=(3, 3, 3), duration=60, initial_samples=5).fit(
        small_rates(30).probability, LABELS[:30]
    )
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]


def test_a_random_state_of_none_is_random() -> None:
    x, seeds = small_rates(6).probability, set()
    for _ in range(3):
        made = LiquidStateMachine(
            model="lsm", dims=(2, 2, 2), duration=60, readout="ridge", weight=9.0, random_state=None
        )
        seeds.add(made.fit(x, LABELS[:6]).seed_)
    assert len(seeds) == 3


def test_static_liquids_as_matrix_products() -> None:
    """As on accelerators; under autocast the product would have half precision."""
    source, trace = small_rates(3), np.zeros((3, NETWORK.neurons), np.float32)
    made = ReferenceLiquid(NETWORK, product=True)
    expected = independent(made, source, WEIGHTS, 40, trace, record=True, keep=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = independent(made, source, WEIGHTS, 40, trace, record=True, keep=False)
    np.testing.assert_array_equal(found.raster, expected.raster)


def test_the_reference_keeps_the_type_it_is_given() -> None:
    with default_dtype(torch.float16):
        for dtype in (torch.float32, torch.float64):
            reference = ReferenceLiquid(
                NETWORK, plasticity=PlasticityParameters(rule="stdp", weight_limit=0.1), dtype=dtype
            )
            state = reference.start(torch.as_tensor(WEIGHTS), 2)
            reference.step(state, torch.ones(2, NETWORK.inputs))
            assert {
                state.potential.dtype,
                state.weights.dtype,
                state.trace.dtype,
                state.depression.dtype,
            } == {dtype}
            # a bound of 0.1 is that of the type, not of half precision
            assert float(reference.high.max()) == float(torch.tensor(0.1, dtype=dtype))
