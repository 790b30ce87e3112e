"""The estimator on time series and spike rasters, (sample, time, input)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nalsm import Events, LiquidStateMachine, Simulator
from nalsm.data.sources import Rates
from nalsm.estimator.inputs import regular
from reprokit import UserError

SMALL: dict[str, Any] = {
    "model": "lsm",
    "dims": (4, 4, 4),
    "readout": "ridge",
    "weight": 1.5,
    "input_density": 0.3,
}


def bumps(
    samples: int = 90, steps: int = 80, inputs: int = 12, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return firing probabilities of three classes that differ only in when which half of the inputs is driven."""
    stream = np.random.default_rng(seed)
    y = stream.integers(0, 3, samples)
    x = np.full((samples, steps, inputs), 0.02)
    for k, label in enumerate(y):
        order = [slice(0, inputs // 2), slice(inputs // 2, inputs)][:: 1 if label else -1]
        x[k, : steps // 2, order[0]] += 0.4
        x[k, steps // 2 :, order[1] if label < 2 else order[0]] += 0.4
    return x, y


def rasters(seed: int = 0, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = bumps(seed=seed, **options)
    return np.random.default_rng(seed + 1).random(x.shape) < x, y


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32, list])
def test_spike_rasters_of_any_type(kind: Any) -> None:
    x, y = rasters()
    given = x.astype(int).tolist() if kind is list else x.astype(kind)
    model = LiquidStateMachine(**SMALL, windows=2).fit(given, y)
    assert model.code_.encoding == "spikes"
    test = rasters(seed=7)
    assert model.score(*test) > 0.8
    reference = LiquidStateMachine(**SMALL, windows=2).fit(x, y)
    np.testing.assert_array_equal(model.transform(given), reference.transform(x))


def test_spikes_are_shown_as_they_are() -> None:
    x, y = rasters(samples=20)
    model = LiquidStateMachine(**SMALL).fit(x, y)
    events = Events.from_raster(x.transpose(0, 2, 1).astype(np.uint8))
    rule = model.liquid_.config.plasticity("sample")
    run = Simulator(model.liquid_.network).present_independent(events, model.weights_, rule, duration=80)
    np.testing.assert_array_equal(model.transform(x), run.counts)


def test_several_spikes_in_a_millisecond() -> None:
    x, y = rasters(samples=20)
    many = x.astype(np.uint8) * 3
    model = LiquidStateMachine(**SMALL, encoding="spikes").fit(many, y)
    source = model.code_.source(many, 80, 0)
    assert isinstance(source, Events)
    assert len(source.channels) == many.sum()
    np.testing.assert_array_equal(source.at(5), many[:, 5])


@pytest.mark.parametrize("encoding", ["auto", "current"])
@pytest.mark.parametrize("model", ["lsm", "nalsm", "lsm-apstdp"])
def test_rates_over_time(encoding: Any, model: Any) -> None:
    x, y = bumps()
    machine = LiquidStateMachine(**SMALL | {"model": model, "weight": None}, encoding=encoding, windows=4,
                                 input_rate=400.0).fit(x, y)  # fmt: skip
    assert machine.code_.encoding == ("rate" if encoding == "auto" else "current")
    assert machine.score(*bumps(seed=3)) > 0.8
    counts = machine.transform(x[:9])
    assert counts.shape == (9, 4 * 64)
    np.testing.assert_array_equal(counts[[4, 2]], machine.transform(x[[4, 2]]))
    assert len(machine.get_feature_names_out()) == 256


def test_windows_add_up_to_the_whole() -> None:
    x, y = rasters(samples=30)
    one, three = (LiquidStateMachine(**SMALL, windows=w).fit(x, y).transform(x) for w in (1, 3))
    np.testing.assert_array_equal(three.reshape(30, 3, 64).sum(1), one)


def test_a_longer_duration_lets_the_liquid_run_on() -> None:
    x, y = rasters(samples=30)
    same, longer = (
        LiquidStateMachine(**SMALL, duration=d, windows=w).fit(x, y).transform(x)
        for d, w in ((None, 1), (160, 2))
    )
    np.testing.assert_array_equal(longer[:, :64], same)
    with pytest.raises(UserError, match="duration is 50 ms and a sample of X has 80 steps"):
        LiquidStateMachine(**SMALL, duration=50).fit(x, y)


def test_constant_rates_of_an_array_are_those_of_a_vector() -> None:
    """Regular events are equal; random ones are of the same rate."""
    stream = np.random.default_rng(0)
    flat, y = stream.random((40, 12)), np.arange(40) % 2
    steps = np.repeat(flat[:, None], 100, axis=1)
    for encoding in ("current", "rate"):
        options = {"encoding": encoding, "input_scale": "max"}
        vectors = LiquidStateMachine(**SMALL, **options, duration=100).fit(flat, y)
        series = LiquidStateMachine(**SMALL, **options).fit(steps, y)
        one, two = vectors.code_.source(flat, 100, 0), series.code_.source(steps, 100, 0)
        if encoding == "current":
            np.testing.assert_array_equal(vectors.transform(flat), series.transform(steps))
        else:
            assert isinstance(one, Rates)
            expected = one.probability.sum() * 100
            assert abs(len(two.channels) - expected) < 5 * np.sqrt(expected)  # pyright: ignore


def test_regular_events_have_the_rate_they_stand_for() -> None:
    p = np.broadcast_to([0.0, 0.1, 0.25, 1.0], (200, 4))
    events, charge = regular(p)
    np.testing.assert_allclose(events.sum(0), [0, 20, 50, 200], atol=1)
    gaps = np.diff(np.flatnonzero(events[:, 2]))
    assert set(gaps) == {4}
    first, kept = regular(p[:77])
    second, last = regular(p[77:], kept)
    np.testing.assert_array_equal(np.concatenate([first, second]), events)
    np.testing.assert_allclose(last, charge)


def test_what_does_not_fit_is_one_sentence() -> None:
    x, y = rasters(samples=20)
    model = LiquidStateMachine(**SMALL).fit(x, y)
    for bad, message in (
        (x[:, :, :5], "X has 5 features, but LiquidStateMachine is expecting 12"),
        (x[:, 0], "X has 2 dimensions, but the fit had 3"),
        (x * 0.3, "sample 0 of X has values that are not whole numbers of spikes"),
        (x * -1, "Negative values"),
        (np.where(x, np.nan, 0.0), "NaN"),
        (x[:, :0], "at least one step and one input"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(bad)
    with pytest.raises(UserError, match="X has samples of different lengths"):
        model.fit([[[1, 0], [0, 1]], [[1, 0]]], [0, 1])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(x, y[:-1])
    with pytest.warns(UserWarning, match="2 of 2 samples are all zeros"):
        assert not model.transform(np.zeros((2, 80, 12))).any()
