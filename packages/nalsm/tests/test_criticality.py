"""The branching ratio on processes whose ratio is known, and the original's branching factor of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from nalsm import NetworkSpec, branching_factor, branching_ratio, generate, shuffled
from nalsm.reproduce import figures
from reprokit import UserError


def branching_process(m: float, trials: int, steps: int, rate: float = 100.0) -> np.ndarray:
    """Return A(t + 1) ~ Poisson(m A(t) + h), whose mean is `rate`, as (trial, step)."""
    stream = np.random.default_rng(1)
    now, kept = np.full(trials, rate), []
    for _ in range(steps + 300):
        now = stream.poisson(m * now + rate * (1 - m))
        kept.append(now)
    return np.stack(kept[300:], axis=1)


def part_of(activity: np.ndarray, share: float = 0.1) -> np.ndarray:
    """Return the activity of a random share of the neurons."""
    return np.random.default_rng(2).binomial(activity, share)


@pytest.mark.parametrize("m", [0.5, 0.8, 0.9, 0.95])
def test_ratio_of_a_branching_process_and_of_a_tenth_of_it(m: float) -> None:
    activity = branching_process(m, trials=20, steps=10_000)
    whole, tenth = branching_ratio(activity), branching_ratio(part_of(activity))
    assert whole.ratio == pytest.approx(m, abs=0.02)
    assert whole.amplitude == pytest.approx(1.0, abs=0.1)
    assert tenth.ratio == pytest.approx(m, abs=0.05)
    assert tenth.amplitude < 0.75  # one lag alone would give m b, a liquid far from critical
    assert whole.slopes[:3] == pytest.approx(m ** np.arange(1, 4), abs=0.05)


def test_a_course_that_all_trials_share_is_no_memory() -> None:
    """Rates that fall during a trial, and stimuli of different strength, look like m = 1."""
    activity = branching_process(0.8, trials=100, steps=300)
    changed = activity + np.linspace(200, 0, 300, dtype=int) + np.arange(100)[:, None]
    assert branching_ratio(changed).ratio > 0.97
    assert branching_ratio(changed, mean="all").ratio > 0.97
    assert branching_ratio(changed, mean="course").ratio == pytest.approx(0.8, abs=0.05)
    assert branching_ratio(activity, mean="course").ratio == pytest.approx(0.8, abs=0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ratio_agrees_with_mrestimator() -> None:
    mre = pytest.importorskip("mrestimator")
    for m, mean, method in ((0.5, "all", "sm"), (0.95, "all", "sm"), (0.9, "trial", "ts")):
        activity = branching_process(m, trials=20, steps=500)
        for data in (activity, part_of(activity)):
            ours = branching_ratio(data, mean=mean)  # pyright: ignore[reportArgumentType]
            steps = (1, len(ours.slopes))
            slopes = mre.coefficients(
                data.astype(float), steps=steps, dt=1, dtunit="step", method=method, numboot=0
            )
            if method == "sm":
                np.testing.assert_allclose(ours.slopes, slopes.coefficients, atol=1e-3)
            theirs = float(mre.fit(slopes, fitfunc="exponential").mre)
            # with each trial's own mean theirs averages slopes of trials, ours is one slope over all
            assert ours.ratio == pytest.approx(theirs, abs=0.002 if method == "sm" else 0.01)


def test_neurons_that_do_not_act_on_one_another_have_no_ratio_but_a_branching_factor() -> None:
    """The factor of the original measures the rate: it is the same for shuffled spikes."""
    network = generate(NetworkSpec((8, 8, 8), 10, seed=1))
    stream = np.random.default_rng(0)
    raster = (stream.random((8, 250, network.liquid)) < 0.04).astype(np.uint8)
    assert np.isnan(branching_ratio(raster.sum(2)).ratio)
    factor = branching_factor(raster, network).value
    assert factor > 0.8
    surrogate = shuffled(raster, seed=3)
    np.testing.assert_array_equal(surrogate.sum(1), raster.sum(1))
    assert not np.array_equal(surrogate, raster)
    np.testing.assert_array_equal(surrogate, shuffled(raster, seed=3))
    assert branching_factor(surrogate, network).value == pytest.approx(factor, rel=0.03)


@pytest.mark.parametrize(
    ("activity", "options", "message"),
    [
        (np.full((2, 50), np.nan), {}, "activity must be finite"),
        (-np.ones((2, 50)), {}, "activity must be finite"),
        (np.ones((2, 3, 50)), {}, "activity must be finite numbers of 0 or more"),
        (np.ones((2, 50)), {}, "does not vary"),
        (np.eye(8), {}, "lags is 5 and a trial has 8 steps"),
        (np.eye(50), {"lags": 30}, "lags is 30 and a trial has 50 steps; give twice as many"),
        (np.eye(50), {"lags": 1}, "lags is 1"),
        (np.eye(50), {"lags": 2.5}, r"lags is 2\.5"),
        (np.eye(50), {"mean": "median"}, "choose trial, all or course"),
        (np.eye(2, 50), {"mean": "course"}, "there are 2 trials; give at least three"),
    ],
)
def test_bad_activity_is_named(activity: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        branching_ratio(activity, **options)


def test_the_figure_of_w_a_shows_one_data_set_with_the_spread_over_networks(tmp_path: Path) -> None:
    def row(dataset: str, w_a: float, branching: float, accuracy: float, seed: int = 1) -> dict[str, object]:
        return {"model": "nalsm", "neurons": 1000, "experiment": "astrocyte-weight", "scale": "paper",
                "seed": seed, "dataset": dataset, "astrocyte_weight": w_a, "branching_test": branching,
                "test_accuracy": accuracy, "test_samples": 100}  # fmt: skip

    rows = [row("mnist", w_a, 1.0, 0.9) for w_a in (0.01, 0.1)] + [
        row("mnist", 0.015, b, 0.95, seed)
        for seed, b in ((1, 9.0), (1, 1.1), (2, 1.3))  # seed 1 was measured again
    ]
    rows += [row("nmnist-small", w_a, 2.0, 0.5) for w_a in (0.015, 0.02)]
    files = figures.draw(rows, tmp_path)
    assert {file.suffix for file in files} == {".png", ".pdf", ".svg", ".csv"}
    with (tmp_path / "astrocyte_weight.csv").open(newline="") as file:
        found = {float(line["astrocyte_weight"]): line for line in csv.DictReader(file)}
    assert sorted(found) == [0.01, 0.015, 0.1]
    middle = found[0.015]
    assert float(middle["branching factor"]) == pytest.approx(1.2)
    assert float(middle["SD of branching factor"]) == pytest.approx(np.std([1.1, 1.3], ddof=1))
    assert middle["networks"] == "2"
    assert figures.draw(rows[:1], tmp_path) == []
    events = [row("n-mnist", w_a, 1.2, 0.9) | {"experiment": "n-mnist-astrocyte-weight"} for w_a in (1, 2, 3)]
    assert {file.stem for file in figures.draw(events, tmp_path)} == {"astrocyte_weight-n-mnist"}
    assert len(figures.draw(rows + events, tmp_path)) == 8
