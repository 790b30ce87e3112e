"""A liquid state machine as a scikit-learn classifier and transformer."""

from __future__ import annotations

import hashlib
from numbers import Integral
from typing import Any, Literal

import numpy as np
from reprokit import UserError
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from nalsm.config import Config, Model
from nalsm.data.encoding import image_shares
from nalsm.data.sources import Rates
from nalsm.model.network import NetworkSpec, generate
from nalsm.model.readout import LinearReadout
from nalsm.rules.readout import train_adadelta, train_lbfgs, train_ridge
from nalsm.training.liquid import Liquid, derive_seed

READOUTS = ("lbfgs", "ridge", "adadelta")


class LiquidStateMachine(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator):
    """Rate-code non-negative feature vectors into a liquid and classify its spike counts.

    Args:
        model: nalsm, lsm-stdp, lsm or lsm-apstdp.
        dims: grid points of the liquid in each direction.
        weight: start magnitude; None takes the model's.
        astrocyte_weight: w_a of nalsm.
        duration: milliseconds of a sample.
        initial_samples: presentations of the initialisation phase; None presents every training sample once.
        readout: lbfgs, ridge or adadelta (the original's).
        l2: penalty of the readout; None takes 1e-6 (lbfgs), 1 (ridge) or 5e-10 (adadelta).
        readout_epochs: epochs of adadelta.
        random_state: seed of wiring, events and presentation order; None draws one.
        threads: samples simulated at once; results do not depend on it.

    The events of a sample are keyed by its values, so its counts depend on nothing but itself and the fit.
    """

    def __init__(
        self,
        model: Model = "nalsm",
        dims: tuple[int, int, int] = (10, 10, 10),
        weight: float | None = None,
        astrocyte_weight: float = 0.015,
        duration: int = 250,
        initial_samples: int | None = None,
        readout: Literal["lbfgs", "ridge", "adadelta"] = "lbfgs",
        l2: float | None = None,
        readout_epochs: int = 5000,
        random_state: int | np.random.RandomState | None = 0,
        threads: int = 1,
    ) -> None:
        self.model: Model = model
        self.dims = dims
        self.weight = weight
        self.astrocyte_weight = astrocyte_weight
        self.duration = duration
        self.initial_samples = initial_samples
        self.readout = readout
        self.l2 = l2
        self.readout_epochs = readout_epochs
        self.random_state = random_state
        self.threads = threads

    def fit(self, X: Any, y: Any) -> LiquidStateMachine:
        """Initialise the liquid on X (sample, feature), values 0 or more, and train the readout on y.

        Raises:
            UserError: constant-zero samples, one class only, a silent liquid.
            ValueError: scikit-learn's checks of X and y.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(y)
        _check_sign(X)
        if self.readout not in READOUTS:
            raise UserError(f"readout is {self.readout!r}; choose one of {', '.join(READOUTS)}.")
        self.classes_ = unique_labels(y)
        given = self.random_state
        drawn = not isinstance(given, Integral)
        self.seed_ = int(check_random_state(given).randint(2**31 - 1)) if drawn else int(given)
        config = Config(
            model=self.model, dims=self.dims, weight=self.weight, astrocyte_weight=self.astrocyte_weight,
            duration=self.duration, initial_samples=self.initial_samples, seed=self.seed_,
        )  # fmt: skip
        network = generate(NetworkSpec(self.dims, X.shape[1], self.seed_))
        self.liquid_ = Liquid(network, config)
        self.maximum_ = float(image_shares(X).max())
        self.weights_ = self._initialise(X)
        self._n_features_out = network.liquid
        self.readout_ = self._readout(self.transform(X), np.searchsorted(self.classes_, y))
        return self

    def _initialise(self, X: np.ndarray) -> np.ndarray:
        """Return the weights after the initialisation phase, float32 (synapse,)."""
        state, config = self.liquid_.start(), self.liquid_.config
        count = self.liquid_.presentations(len(X))
        if not count:
            return state.weights
        index = np.resize(np.random.default_rng(self.seed_).permutation(len(X)), count)
        source = Rates(self._probability(X[index]), np.arange(count), derive_seed(self.seed_, "initialise"))
        run = self.liquid_.simulator.present_in_sequence(
            source, state.weights, config.plasticity("initialise"), duration=config.initial_duration, carry_trace=True
        )  # fmt: skip
        assert run.weights is not None
        return run.weights

    def _readout(self, counts: np.ndarray, labels: np.ndarray) -> LinearReadout:
        l2, classes = self.l2, len(self.classes_)
        if self.readout == "ridge":
            return train_ridge(counts, labels, classes=classes, l2=1.0 if l2 is None else l2)
        if self.readout == "adadelta":
            return train_adadelta(
                counts, labels, classes=classes, epochs=self.readout_epochs, l2=5e-10 if l2 is None else l2
            )
        return train_lbfgs(counts, labels, classes=classes, l2=1e-6 if l2 is None else l2)

    def transform(self, X: Any) -> np.ndarray:
        """Return spike counts, float32 (sample, liquid), of X (sample, feature)."""
        check_is_fitted(self, "weights_")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        _check_sign(X)
        keys = np.array(
            [int.from_bytes(hashlib.sha256(row.tobytes()).digest()[:7], "big") for row in X], np.int64
        )
        source = Rates(self._probability(X), keys, derive_seed(self.seed_, "features"))
        rule = self.liquid_.config.plasticity("sample")
        run = self.liquid_.simulator.present_independent(
            source, self.weights_, rule, duration=self.duration, threads=self.threads
        )
        return run.counts.astype(np.float32)

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each sample."""
        check_is_fitted(self, "readout_")
        return self.classes_[self.readout_.predict(self.transform(X))]

    def decision_function(self, X: Any) -> np.ndarray:
        """Return class scores: (sample, class), or of two classes (sample,), positive for the second."""
        check_is_fitted(self, "readout_")
        scores = self.readout_.scores(self.transform(X))
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that samples must not be negative."""
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags

    def _probability(self, X: np.ndarray) -> np.ndarray:
        return np.minimum(image_shares(X) / self.maximum_, 1.0)


def _check_sign(X: np.ndarray) -> None:
    bad = np.flatnonzero((X < 0).any(axis=1))
    if len(bad):
        raise UserError(
            f"Negative values in data passed to LiquidStateMachine: sample {bad[0]} reaches down to "
            f"{X[bad[0]].min():g}; firing rates are 0 or more; scale the features, for example by MinMaxScaler."
        )
