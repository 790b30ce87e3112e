"""A stream continues from call to call, with the same bits as one presentation."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
from typing import Any

import numpy as np
import pytest
from nalsm import Events, PlasticityParameters, Simulator, Stream, kernel_available
from nalsm.names import Engine
from nalsm_small import small_network, small_rates
from reprokit import UserError

ENGINES: tuple[Engine, ...] = ("events", "torch") if kernel_available() else ("torch",)
RULES = ("none", "stdp", "astrocyte", "calcium")
NETWORK = small_network()
START = NETWORK.start_weights(2.0)
SHOWN = small_rates(1).events(120)


def rule(name: str) -> PlasticityParameters:
    return PlasticityParameters(rule=name, rate_decay=0.995, calcium_threshold=3.0, calcium_range=4.0)  # type: ignore[arg-type]


def raster() -> np.ndarray:
    return np.stack([SHOWN.at(t)[0] for t in range(120)]).astype(np.int64)


def started(engine: Engine, name: str) -> Stream:
    return Simulator(NETWORK, engine=engine).start(START, rule(name))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", RULES)
def test_two_calls_leave_the_bits_of_one(engine: Engine, name: str) -> None:
    whole, parted = started(engine, name), started(engine, name)
    expected = whole.run(raster(), record=True)
    found = [parted.run(raster()[a:b], record=True) for a, b in ((0, 1), (1, 37), (37, 37 + 70), (107, 120))]
    assert np.array_equal(sum(part.counts for part in found), expected.counts)
    assert np.array_equal(np.concatenate([part.raster for part in found]), expected.raster)
    assert np.array_equal(np.concatenate([part.depression for part in found]), expected.depression)
    first, second = whole.state(), parted.state()
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert parted.elapsed == 120
    assert expected.counts.sum() > 100
    if name != "none":
        assert not np.array_equal(whole.weights, Simulator(NETWORK).start(START, rule(name)).weights)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", RULES)
def test_a_stream_is_one_presentation(engine: Engine, name: str) -> None:
    found = started(engine, name).run(SHOWN, record=True)
    simulator = Simulator(NETWORK, engine=engine)
    expected = simulator.present_in_sequence(SHOWN, START, rule(name), duration=120, record=True)
    assert expected.raster is not None
    assert np.array_equal(found.raster, expected.raster[0])
    assert np.array_equal(found.counts, expected.counts[0])
    assert np.array_equal(found.depression, expected.depression[0])


def test_a_static_stream_is_a_sample_of_the_feature_phase() -> None:
    expected = Simulator(NETWORK).present_independent(SHOWN, START, rule("none"), duration=120)
    assert np.array_equal(started("auto", "none").run(SHOWN).counts, expected.counts[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_reset_goes_back_to_the_start(engine: Engine) -> None:
    stream = started(engine, "astrocyte")
    first = stream.run(SHOWN).counts
    assert not np.array_equal(stream.run(SHOWN).counts, first)
    stream.reset()
    assert np.array_equal(stream.run(SHOWN).counts, first)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))])
def test_copies_run_on_from_where_they_were_taken(engine: Engine, copied) -> None:
    stream = started(engine, "astrocyte")
    stream.run(raster()[:50])
    other = copied(stream)
    expected = stream.run(raster()[50:], record=True)
    found = other.run(raster()[50:], record=True)
    assert np.array_equal(found.raster, expected.raster)
    assert np.array_equal(other.weights, stream.weights)
    assert other.elapsed == stream.elapsed == 120


@pytest.mark.skipif(not kernel_available(), reason="the core is not built")
def test_an_interrupt_leaves_the_stream_as_it_was() -> None:
    stream, undisturbed = started("events", "astrocyte"), started("events", "astrocyte")
    for each in (stream, undisturbed):
        each.run(SHOWN)
    # three hours of silence take a second or more, far longer than the alarm
    long = Events(np.zeros((1, 12_000_001), np.int64), np.zeros(0, np.int32), NETWORK.inputs)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            stream.run(long)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert stream.elapsed == 120
    assert np.array_equal(stream.run(SHOWN, record=True).raster, undisturbed.run(SHOWN, record=True).raster)


@pytest.mark.parametrize("engine", ENGINES)
def test_time_is_counted_with_the_state(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt after the work, before `run` returns: the state has advanced, and so has the time."""
    stream, undisturbed = started(engine, "astrocyte"), started(engine, "astrocyte")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nalsm.engines.stream.Streamed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stream.run(SHOWN)
    undisturbed.run(SHOWN)
    assert stream.elapsed == undisturbed.elapsed == copy.deepcopy(stream).elapsed == 120
    for name, values in undisturbed.state().items():
        assert np.array_equal(stream.state()[name], values), name
    stream.reset()
    assert stream.elapsed == 0


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (np.zeros((5, 39)), "events have shape"),
        (np.zeros((0, 40)), "events have shape"),
        (np.zeros(40), "events have shape"),
        (np.full((5, 40), 0.5), "whole numbers"),
        (np.full((5, 40), -1), "whole numbers"),
        (np.full((5, 40), np.nan), "whole numbers"),
        (np.full((5, 40), np.inf), "whole numbers"),
        (small_rates(2).events(5), "2 samples of 40 inputs"),
        (small_rates(1, inputs=7).events(5), "1 samples of 7 inputs"),
    ],
)
def test_wrong_events_are_refused(events: np.ndarray | Events, message: str) -> None:
    stream = started("auto", "none")
    with pytest.raises(UserError, match=message):
        stream.run(events)
    assert stream.elapsed == 0


def test_wrong_starts_are_refused() -> None:
    simulator = Simulator(NETWORK)
    with pytest.raises(UserError, match="synapses"):
        simulator.start(START[:-1])
    with pytest.raises(UserError, match="carried state"):
        simulator.start(START, trace=np.zeros(3, np.float32))
