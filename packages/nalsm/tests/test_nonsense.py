"""Invalid arguments are refused with one sentence before anything is computed; NumPy's numbers are accepted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nalsm import (
    Config,
    Events,
    NetworkSpec,
    NeuronParameters,
    PlasticityParameters,
    Rates,
    Run,
    Simulator,
    event_list,
    generate,
    kernel_available,
    rate_probabilities,
)
from nalsm.names import Engine
from nalsm_small import small_network, small_rates
from reprokit import UserError, run_id

ENGINES: tuple[Engine, ...] = ("events", "torch") if kernel_available() else ("torch",)
NETWORK = small_network()
WEIGHTS = NETWORK.start_weights(2.0)
NAN = float("nan")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tau_v": 0.5}, r"tau_v is 0\.5 ms; it must be 1 or more"),
        ({"tau_v": NAN}, "tau_v is nan; it must be a finite number"),
        ({"tau_v": "64"}, "tau_v is '64'; it must be a finite number"),
        ({"tau_v": True}, "tau_v is True"),
        ({"threshold": float("inf")}, "threshold is inf"),
        ({"threshold": 0.0}, "threshold is 0; it must be above 0"),
        ({"tau_u": 1e-300}, "tau_u is 1e-300 ms"),
        ({"refractory": 1.5}, r"refractory is 1\.5; it must be a whole number"),
        ({"refractory": -1}, "refractory is -1 ms; it must be 0 or more"),
        ({"input_current": None}, "input_current is None"),
    ],
)
def test_neurons(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        NeuronParameters(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate_decay": 1.5}, r"rate_decay is 1\.5; it must be 0 or more and at most 1"),
        ({"trace_decay": 1.01}, "trace_decay is 1.01"),
        ({"rate": -0.1}, "rate is -0.1"),
        ({"rate": NAN}, "rate is nan"),
        ({"astrocyte_tau": 0.1}, r"astrocyte_tau is 0\.1 ms; it must be 1 or more"),
        ({"calcium_tau": 0.0}, "calcium_tau is 0 ms"),
        ({"astrocyte_weight": NAN}, "astrocyte_weight is nan"),
        ({"astrocyte_bias_offset": float("inf")}, "astrocyte_bias_offset is inf"),
        ({"calcium_threshold": NAN}, "calcium_threshold is nan"),
        ({"weight_limit": 0.0}, "weight_limit is 0; it must be above 0"),
        ({"calcium_range": -1.0}, "calcium_range is -1 Hz"),
        ({"rule": "hebb"}, "rule is 'hebb'"),
    ],
)
def test_rules(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PlasticityParameters(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"duration": 10.7}, r"duration is 10\.7; it must be a whole number"),
        ({"duration": True}, "duration is True"),
        ({"batch": "250"}, "batch is '250'"),
        ({"record": -1}, "record is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"network_seed": 2**32}, "network_seed is 4294967296"),
        ({"dims": (4, 4)}, "three whole numbers"),
        ({"dims": 4}, "three whole numbers"),
        ({"dims": (4, 4, 4.5)}, "three whole numbers"),
        ({"readout": "svm"}, "readout is 'svm'; choose one of lbfgs"),
        ({"tau_v": 0.1}, "tau_v is 0.1 ms"),
        ({"rate_decay": 1.5}, "rate_decay is 1.5"),
        ({"astrocyte_tau": 0.1}, "astrocyte_tau is 0.1 ms"),
        ({"weight": NAN}, "weight is nan"),
        ({"refractory": 0.5}, "refractory is 0.5"),
    ],
)
def test_configurations(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Config(**settings)


def test_numbers_of_numpy_are_numbers() -> None:
    plain = Config(duration=100, dims=(4, 4, 4), weight=2.5, seed=3)
    same = Config(duration=np.int64(100), dims=np.array([4, 4, 4]), weight=np.float32(2.5), seed=np.uint8(3))  # type: ignore[arg-type]
    assert same == plain
    assert run_id(same.content()) == run_id(plain.content())
    assert generate(NetworkSpec(tuple(np.array([3, 3, 3])), np.int32(5), np.int64(1))).liquid == 27
    rates = Rates(small_rates(2).probability, np.arange(2), np.int64(11))  # type: ignore[arg-type]
    rule, duration = PlasticityParameters(rate=np.float32(0.1)), np.int16(30)  # type: ignore[arg-type]
    found = Simulator(NETWORK).present_independent(
        rates, WEIGHTS, rule, duration=duration, threads=np.int8(1)
    )  # type: ignore[arg-type]
    assert found.depression.shape == (2, 30)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dims": (3, 3, 3.5)}, "must be a whole number"),
        ({"dims": (3, 0, 3)}, "must be 1 or more"),
        ({"dims": 27}, "three whole numbers"),
        ({"inputs": 10.5}, r"inputs is 10\.5"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"input_density": NAN}, "input_density is nan"),
        ({"input_density": 1.1}, "input_density is 1.1"),
        ({"length": 0.0}, "length is 0; it must be above 0"),
        ({"length": float("inf")}, "length is inf"),
    ],
)
def test_networks(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        NetworkSpec(**settings)


P = np.full((2, 3), 0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rates(P, np.zeros(2)), r"sample is float64 \(2,\); give whole numbers"),
        (lambda: Rates(P, np.zeros((2, 1), int)), "sample has shape"),
        (lambda: Rates(P[0], np.arange(1)), "probability has shape"),
        (lambda: Rates(np.full((2, 3), "a"), np.arange(2)), "probability is"),
        (lambda: Rates([[0.1], [0.1, 0.2]], np.arange(2)), "probability is not an array"),
        (lambda: Rates(P, np.arange(2), 0.5), r"seed is 0\.5"),
        (lambda: Rates(P, np.arange(2), -1), "seed is -1"),
        (lambda: Rates(P, np.arange(2))[1], r"index is 1; choose samples by a slice .* \[k : k \+ 1\]"),
        (lambda: Rates(P, np.arange(2)).events(10.7), r"duration is 10\.7"),
        (lambda: Rates(P, np.arange(2)).events(0), "duration is 0 ms"),
        (lambda: small_rates(2).events(9)[0], "index is 0"),
        (lambda: small_rates(2).events(9).events(5.5), r"duration is 5\.5"),
        (lambda: Events(np.zeros((1, 3)), np.zeros(0, np.int32), 3), "first is float64"),
        (lambda: Events(np.zeros((1, 3), int), np.zeros((0, 2), np.int32), 3), "channels has shape"),
        (lambda: Events(np.zeros((1, 3), int), np.zeros(0, np.int32), 0), "inputs is 0"),
        (lambda: Events.from_raster(np.full((1, 2, 3), -1)), "whole numbers of 0 or more"),
        (lambda: Events.from_raster(np.full((1, 2, 3), 0.5)), "whole numbers of 0 or more"),
        (lambda: Events.from_raster(np.full((1, 2, 3), NAN)), "whole numbers of 0 or more"),
        (lambda: Events.from_raster(np.zeros((2, 3))), "raster has shape"),
        (lambda: Events.from_lists([(np.array([1.5]), np.array([0]))], 2, 5), "sample 0: times is float64"),
        (lambda: Events.from_lists([(np.array([1]), np.array([0, 1]))], 2, 5), "sample 0: 1 times"),
        (lambda: Events.from_lists([], 2, 5.5), r"duration is 5\.5"),
        (lambda: rate_probabilities(np.array([[1.0, NAN]])), "image 0 holds values that are not finite"),
        (lambda: rate_probabilities(np.array([[1.0, 2.0]]), 0.0), r"maximum is 0\.0"),
        (lambda: rate_probabilities(np.array([[1.0, 2.0]]), NAN), "maximum is nan"),
        (lambda: event_list(*np.zeros((4, 3), int)[:3], np.zeros(2, int), 10), "have 3, 3, 3 and 2 values"),
        (lambda: event_list(np.full(3, NAN), *np.zeros((3, 3), int), 10), "event times"),
        (lambda: event_list(*np.zeros((4, 3), int), 10.5), r"duration is 10\.5"),
    ],
)
def test_events(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duration": 10.7}, r"duration is 10\.7"),
        ({"duration": 0}, "duration is 0 ms"),
        ({"source": np.zeros((2, 40))}, "source is a ndarray; give Rates or Events"),
        ({"weights": np.full_like(WEIGHTS, NAN)}, "weights hold values that are not finite"),
        ({"weights": WEIGHTS.astype(str)}, "weights is <U"),
        ({"weights": WEIGHTS[None]}, "weights has shape"),
        ({"trace": "all"}, "carried state"),
        ({"trace": np.full((2, NETWORK.neurons), NAN)}, "carried state"),
    ],
)
@pytest.mark.parametrize("way", ["present_independent", "present_in_sequence"])
def test_presentations(engine: Engine, way: str, changes: dict[str, Any], message: str) -> None:
    given = {
        "source": small_rates(2),
        "weights": WEIGHTS,
        "plasticity": PlasticityParameters(),
        "duration": 20,
    }
    with pytest.raises(UserError, match=message):
        getattr(Simulator(NETWORK, engine=engine), way)(**(given | changes))


def test_numbers_of_threads() -> None:
    for threads in (0, 1.5, True, "2"):
        with pytest.raises(UserError, match="threads is"):
            Simulator(NETWORK).present_independent(
                small_rates(2), WEIGHTS, PlasticityParameters(), threads=threads  # type: ignore[arg-type]
            )  # fmt: skip


class TestDivergence:
    """NaN and dead liquids end in a sentence, in both engines."""

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("way", ["present_independent", "present_in_sequence"])
    def test_rates_that_are_not_finite(self, engine: Engine, way: str) -> None:
        rule = PlasticityParameters(rule="astrocyte", astrocyte_weight=3e38)
        with pytest.raises(
            UserError, match="not finite at presentation 0 of 3; lower rate or astrocyte_weight"
        ):
            getattr(Simulator(NETWORK, engine=engine), way)(small_rates(3), WEIGHTS, rule, duration=60)

    @pytest.mark.parametrize("engine", ENGINES)
    def test_an_initialisation_in_which_nothing_fires(self, tmp_path: Path, engine: Engine) -> None:
        config = Config(data="digits", dims=(3, 3, 3), initial_samples=5, initial_duration=2, weight=0.01)
        with (
            Run(tmp_path / "run", config, engine=engine) as run,
            pytest.raises(UserError, match="silent in presentations 1 to 5 of the initialisation"),
        ):
            run.train()

    @pytest.mark.parametrize("engine", ENGINES)
    def test_a_run_whose_rates_diverge(self, tmp_path: Path, engine: Engine) -> None:
        config = Config(data="digits", dims=(3, 3, 3), initial_samples=5, astrocyte_weight=3e38)
        with (
            Run(tmp_path / "run", config, engine=engine) as run,
            pytest.raises(UserError, match="not finite"),
        ):
            run.train()
