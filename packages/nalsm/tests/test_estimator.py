"""The scikit-learn estimator."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from nalsm import Config, LiquidStateMachine, NetworkSpec, train_ridge
from nalsm.config import QUIRKS
from nalsm.estimator import EXPECTED_FAILED_CHECKS
from reprokit import UserError
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator

SMALL: dict[str, Any] = {"model": "lsm", "dims": (4, 4, 4), "duration": 60, "readout": "ridge", "weight": 1.5}


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels, which are words."""
    x, y = load_digits(return_X_y=True)
    return x[:count], np.array(["zero", *map(str, range(1, 10))])[y[:count]]


def test_estimator_clones_searches_and_scores() -> None:
    x, y = digits(240)
    model = LiquidStateMachine(**SMALL)
    assert clone(model).get_params() == model.get_params()
    search = GridSearchCV(model, {"weight": [0.9, 1.5]}, cv=2).fit(x[:200], y[:200])
    assert search.best_estimator_.score(x[200:], y[200:]) > 0.3
    fitted = search.best_estimator_
    counts = fitted.transform(x[:9])
    np.testing.assert_array_equal(counts[[4, 2]], fitted.transform(x[[4, 2]]))  # samples stand alone
    assert set(fitted.predict(x[:9])) <= set(y)


def test_fitted_estimators_can_be_pickled() -> None:
    """Needed for joblib: a grid search with n_jobs sends estimators to other processes."""
    x, y = digits(60)
    model = LiquidStateMachine(**SMALL).fit(x, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(x[:5]), model.transform(x[:5]))
    assert list(again.get_feature_names_out()[:1]) == ["liquidstatemachine0"]


@pytest.mark.parametrize("state", [None, np.random.RandomState(3), np.int64(4)])
def test_random_state_may_be_what_scikit_learn_takes(state: Any) -> None:
    x, y = digits(60)
    assert LiquidStateMachine(**SMALL, random_state=state).fit(x, y).score(x, y) > 0.3


@pytest.mark.parametrize("model", ["nalsm", "lsm-stdp", "lsm-apstdp"])
@pytest.mark.parametrize("readout", ["lbfgs", "adadelta"])
def test_every_model_and_readout_fits(model: str, readout: str) -> None:
    x, y = digits(60)
    options = SMALL | {"model": model, "weight": None, "readout": readout, "readout_epochs": 20}
    assert LiquidStateMachine(**options).fit(x, y).score(x, y) > 0.2


def test_two_classes_have_one_score() -> None:
    x, y = digits(200)
    chosen = np.isin(y, ["zero", "1"])
    model = LiquidStateMachine(**SMALL).fit(x[chosen], y[chosen])
    positive = model.decision_function(x[chosen]) > 0
    np.testing.assert_array_equal(model.classes_[positive.astype(int)], model.predict(x[chosen]))


def test_bad_input_is_named() -> None:
    x, y = digits(40)
    model = LiquidStateMachine(**SMALL)
    with pytest.raises(NotFittedError):
        model.predict(x)
    model.fit(x, y)
    for bad, message in (
        (-x[:3], r"Negative values.*sample 0 .* MinMaxScaler\(clip=True\)"),
        (np.full((2, 64), np.inf), "infinity"),
        (x[None, None], "X has 4 dimensions"),
        (x[:, None], "X has 3 dimensions, but the fit had 2"),
        (x[:, :5], "5 features"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(bad)
    with pytest.raises(UserError, match="at least two classes"):
        model.fit(x, np.repeat("one", 40))
    with pytest.raises(UserError, match="lbfgs, ridge, adadelta"):
        LiquidStateMachine(**SMALL | {"readout": "svm"}).fit(x, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "row"}, "scale is 'row'; choose sample or global"),
        ({"encoding": "latency"}, "encoding is 'latency'; choose auto"),
        ({"encoding": "spikes"}, "encoding is 'spikes' and X has 2 dimensions"),
        ({"input_scale": "mean"}, "input scale is 'mean'; choose quantile or max"),
        ({"input_rate": 1500.0}, "input_rate is 1500 Hz; it must be above 0 and at most 1000"),
        ({"input_rate": float("nan")}, "input_rate is nan"),
        ({"windows": 0}, "windows is 0"),
        ({"windows": 61}, "windows is 61, but a sample has 60 ms"),
        ({"duration": 10.7}, "duration is 10.7; it must be a whole number"),
        ({"threads": 0}, "threads is 0"),
        ({"windows": "all"}, "windows is 'all'; it must be a whole number"),
        ({"input_rate": "bright"}, "input_rate is 'bright'; it must be a finite number"),
        ({"random_state": -3}, "random_state is -3"),
        ({"network_seed": -1}, "network_seed is -1"),
        ({"connection": None}, "connection is None; give four probabilities"),
        ({"soft_labels": True}, "soft_labels is True, but ridge has hard ones"),
        ({"readout": "adadelta", "soft_labels": False}, "soft_labels is False, but adadelta has soft ones"),
        ({"readout": "lbfgs", "readout_epochs": 0}, "iterations is 0|readout_epochs is 0"),
        ({"l2": 0.0}, "l2 is 0"),
        ({"dims": (4, 4)}, "dims is"),
        ({"connection": (0.2, 0.1)}, "connection is"),
        ({"engine": "gpu"}, "engine is 'gpu'"),
        ({"weight": 0.02}, "the liquid is silent"),
    ],
)
def test_settings_out_of_range_are_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LiquidStateMachine(**SMALL | options).fit(*digits(30))


def odd(count: int = 800) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return digits of which the first training image is one bright pixel."""
    x, y = load_digits(return_X_y=True)
    first = x[:count].copy()
    first[0] = 0
    first[0, 20] = 16
    return first, y[:count], x[1200:], y[1200:]


def test_one_bright_pixel_darkens_no_other_image() -> None:
    """One odd training sample: 0.46 at 0.5 Hz while the largest value was the scale, without it 0.89 at 30 Hz."""
    x, y, x_test, y_test = odd()
    settings: dict[str, Any] = {"model": "lsm", "dims": (6, 6, 6), "weight": 1.5, "duration": 100}
    model = LiquidStateMachine(**settings).fit(x, y)
    assert model.score(x_test, y_test) >= 0.87
    assert model.rate_ > 20
    with (
        pytest.warns(UserWarning, match="times the largest value of a typical sample"),
        pytest.warns(UserWarning, match="nearly silent"),
    ):
        largest = LiquidStateMachine(**settings, input_scale="max").fit(x, y)
    assert largest.rate_ < 1


def test_input_rate() -> None:
    x, y = digits(100)
    rates = [
        LiquidStateMachine(**SMALL, input_rate=hz).fit(x, y).code_.probability(x) for hz in (1000.0, 500.0)
    ]
    np.testing.assert_allclose(rates[1], rates[0] / 2, atol=1e-7)
    whole = LiquidStateMachine(**SMALL).fit(x, y).code_
    np.testing.assert_array_equal(whole.probability(x), rates[0])
    assert (whole.probability(x) == 1).mean() < 0.002


def magnitudes() -> tuple[np.ndarray, np.ndarray]:
    """Return two classes that differ by a factor of 10 in all features."""
    stream = np.random.default_rng(0)
    y = np.arange(120) % 2
    return stream.uniform(0.5, 1.0, (120, 20)) * np.where(y, 10.0, 1.0)[:, None], y


def test_magnitude_counts_with_a_global_scale() -> None:
    x, y = magnitudes()
    accuracy = {
        scale: LiquidStateMachine(**SMALL | {"scale": scale}).fit(x[:80], y[:80]).score(x[80:], y[80:])
        for scale in ("sample", "global")
    }
    assert accuracy["global"] > 0.95
    assert accuracy["sample"] < 0.75


def test_blank_samples_have_no_spikes_and_the_class_of_the_bias() -> None:
    x, y = digits(120)
    x[5] = 0
    model = LiquidStateMachine(**SMALL).fit(x, y)
    shown = x[[7, 5, 8]]
    with pytest.warns(UserWarning, match="1 of 3 samples are all zeros, the first at 1"):
        counts = model.transform(shown)
    assert not counts[1].any()
    np.testing.assert_array_equal(counts[[0, 2]], model.transform(x[[7, 8]]))
    with pytest.warns(UserWarning, match="all zeros"):
        assert model.predict(shown)[1] == model.classes_[model.readout_.bias.argmax()]


def test_multiples_of_a_sample_have_the_same_counts() -> None:
    """Events are keyed by firing probabilities, so that units do not matter."""
    x, y = digits(80)
    model = LiquidStateMachine(**SMALL).fit(x, y)
    counts = model.transform(x)
    for factor in (1 / 16, 3.0, 1e-300, 1e300):
        np.testing.assert_array_equal(model.transform(x * factor), counts)


def test_pipeline_of_the_error_message_works() -> None:
    """Without clip=True test rows below the training minimum are negative; rows of minima are blank."""
    x, y = load_wine(return_X_y=True)
    model = make_pipeline(MinMaxScaler(clip=True), LiquidStateMachine(**SMALL | {"dims": (5, 5, 5)}))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "1 of .* samples are all zeros")
        assert cross_val_score(model, x, y, cv=3, error_score="raise").mean() > 0.6


def test_every_setting_of_the_liquid_can_be_searched() -> None:
    """AP-STDP is tuned by its threshold, its range and the start weight."""
    settings = {**Config.__dataclass_fields__, **NetworkSpec.__dataclass_fields__}
    run_only = {"data", "network", "network_seed", "seed", "profile", "record", "inputs", "output_density",
                "train_samples", "validation_samples", "test_samples", *QUIRKS, "revision", "start",
                "allow_loss", "rule", "rule_source", "recurrence"}  # fmt: skip  # connection (0, 0, 0, 0) has none
    assert set(settings) - run_only <= set(LiquidStateMachine().get_params())
    x, y = digits(120)
    model = LiquidStateMachine(**SMALL | {"model": "lsm-apstdp"}, initial_duration=30)
    grid = {"ap_theta": [10.0, 200.0], "ap_range": [23.0], "input_density": [0.3], "length": [2.0]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(x, y)
    weights = [clone(model).set_params(**point).fit(x, y).weights_ for point in search.cv_results_["params"]]
    assert not np.array_equal(weights[0], weights[1])


def test_each_setting_acts() -> None:
    """What `get_params` shows changes the liquid or its readout."""
    x, y = digits(60)
    base = LiquidStateMachine(**SMALL | {"model": "nalsm", "weight": 2.0}, initial_samples=30)
    before = base.fit(x, y).decision_function(x)
    changes: dict[str, Any] = {
        "model": "lsm-stdp", "dims": (4, 4, 3), "weight": 2.5, "astrocyte_weight": 0.2, "duration": 70,
        "initial_samples": 31, "initial_duration": 25, "astrocyte_bias_offset": 0.5, "astrocyte_tau": 30.0, "rate": 0.3,
        "rate_decay": 0.9, "max_weight": 2.0, "tau_v": 30.0, "threshold": 15.0, "refractory": 4, "tau_u": 2.0,
        "input_current": 10.0, "input_density": 0.3, "excitatory_fraction": 0.6, "connection": (0.4, 0.1, 0.3, 0.05),
        "length": 2.0, "network_seed": 5, "random_state": 1, "encoding": "current", "scale": "global",
        "input_scale": "max", "input_rate": 300.0, "windows": 2, "readout": "lbfgs", "l2": 3.0,
    }  # fmt: skip
    for name, value in changes.items():
        after = clone(base).set_params(**{name: value}).fit(x, y).decision_function(x)
        assert not np.array_equal(after, before), name
    apstdp = base.set_params(model="lsm-apstdp", initial_duration=60)
    before = apstdp.fit(x, y).weights_
    for change in ({"ap_theta": 5.0}, {"ap_range": 1.0}):
        assert not np.array_equal(clone(apstdp).set_params(**change).fit(x, y).weights_, before), change
    soft = LiquidStateMachine(**SMALL | {"readout": "lbfgs"})
    before = soft.fit(x, y).readout_.weight
    for change in ({"soft_labels": True}, {"readout_epochs": 3}):
        assert not np.array_equal(clone(soft).set_params(**change).fit(x, y).readout_.weight, before), change
    adadelta = LiquidStateMachine(**SMALL | {"readout": "adadelta", "readout_epochs": 5}).fit(x, y)
    small = clone(adadelta).set_params(batch=10).fit(x, y)
    assert not np.array_equal(small.readout_.weight, adadelta.readout_.weight)
    # these change how it is computed and not what
    same = clone(soft).set_params(threads=2, engine="torch", verbose=0, device="cpu").fit(x, y)
    np.testing.assert_allclose(same.readout_.weight, before, atol=0.05)


def test_probabilities() -> None:
    x, y = digits(150)
    for options in ({}, {"soft_labels": True}, {"readout": "adadelta", "readout_epochs": 30}):
        model = LiquidStateMachine(**SMALL | {"readout": "lbfgs"} | options).fit(x, y)
        p = model.predict_proba(x)
        np.testing.assert_allclose(p.sum(1), 1.0)
        np.testing.assert_array_equal(model.classes_[p.argmax(1)], model.predict(x))
        assert log_loss(y, p) < np.log(10)
    assert not hasattr(LiquidStateMachine(readout="ridge"), "predict_proba")


def test_sample_weights() -> None:
    x, y = digits(120)
    chosen = np.isin(y, ["zero", "1"])
    x, y = x[chosen], y[chosen]
    for readout in ("ridge", "lbfgs"):
        model = LiquidStateMachine(**SMALL | {"readout": readout})
        removed = clone(model).fit(x[4:], y[4:])
        weighted = clone(model).fit(x, y, sample_weight=np.r_[np.zeros(4), np.ones(len(x) - 4)])
        np.testing.assert_allclose(weighted.readout_.weight, removed.readout_.weight, rtol=1e-3, atol=1e-3)
        heavy = clone(model).fit(x, y, sample_weight=np.where(y == "1", 50.0, 1.0))
        assert heavy.decision_function(x).mean() != removed.decision_function(x).mean()
    with pytest.raises(ValueError, match=r"[Ss]ample.weight"):
        model.fit(x, y, sample_weight=np.zeros(len(x)))
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        model.fit(x, y, sample_weight=-np.ones(len(x)))


def test_partial_fit_ends_where_fit_ends() -> None:
    x, y = digits(200)
    model = LiquidStateMachine(**SMALL)
    model.partial_fit(x[:120], y[:120], classes=np.unique(y))
    model.partial_fit(x[120:150], y[120:150]).partial_fit(x[150:], y[150:])
    counts = model.transform(x)
    once = train_ridge(counts, np.searchsorted(model.classes_, y))
    ratio = (
        model.readout_.maximum / once.maximum
    )  # the constant of the first call scales features, hence l2, too
    once = train_ridge(counts, np.searchsorted(model.classes_, y), l2=ratio**2)
    np.testing.assert_allclose(model.readout_.scores(counts), once.scores(counts), atol=1e-4)
    np.testing.assert_array_equal(LiquidStateMachine(**SMALL).partial_fit(x, y).classes_, model.classes_)
    with pytest.raises(UserError, match="y contains ten, which is not among the classes"):
        model.partial_fit(x[:1], np.array(["ten"]))
    with pytest.raises(UserError, match="give the same"):
        model.partial_fit(x[:9], y[:9], classes=["1", "2"])
    assert not hasattr(LiquidStateMachine(), "partial_fit")


def test_progress_is_shown_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = digits(60)
    LiquidStateMachine(**SMALL).fit(x, y)
    assert capsys.readouterr().out == ""
    LiquidStateMachine(**SMALL | {"model": "nalsm"}, verbose=1).fit(x, y)
    shown = capsys.readouterr().out
    assert "LiquidStateMachine: initialisation 60 of 60" in shown
    assert "LiquidStateMachine: samples 60 of 60" in shown


def test_parts_of_the_work_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = digits(50)
    whole = LiquidStateMachine(**SMALL | {"model": "nalsm"}).fit(x, y)
    monkeypatch.setattr("nalsm.estimator.settings.CHUNK", 7)
    parts = LiquidStateMachine(**SMALL | {"model": "nalsm"}).fit(x, y)
    np.testing.assert_array_equal(parts.weights_, whole.weights_)
    np.testing.assert_array_equal(parts.readout_.weight, whole.readout_.weight)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options",
    [
        {"scale": "global", "readout_epochs": 40},
        {"model": "lsm", "weight": 2.0, "input_density": 0.5, "readout": "ridge", "scale": "global"},
    ],
)
def test_checks_of_scikit_learn(options: dict[str, Any]) -> None:
    """All but two, and those two fail for the reasons given."""
    assert len(EXPECTED_FAILED_CHECKS) <= 2
    found = check_estimator(
        LiquidStateMachine(dims=(5, 5, 5), duration=60, **options),
        expected_failed_checks=EXPECTED_FAILED_CHECKS,
        on_skip=None,
    )
    statuses = {check["check_name"]: check["status"] for check in found}
    assert "failed" not in statuses.values()
    assert len([status for status in statuses.values() if status == "passed"]) > 45
