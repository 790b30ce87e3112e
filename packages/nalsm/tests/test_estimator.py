"""The scikit-learn estimator."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from nalsm import LiquidStateMachine
from reprokit import UserError
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

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
        (np.vstack([x[:2], np.zeros((1, 64))]), "2 is constant zero"),
        (-x[:3], "Negative values.*sample 0"),
        (x[:, :5], "5 features"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(bad)
    with pytest.raises(UserError, match="at least two classes"):
        model.fit(x, np.repeat("one", 40))
    with pytest.raises(UserError, match="lbfgs, ridge, adadelta"):
        LiquidStateMachine(**SMALL | {"readout": "svm"}).fit(x, y)
