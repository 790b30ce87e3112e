"""A liquid state machine as a scikit-learn classifier and transformer (extra `sklearn`)."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import numpy as np
from reprokit import UserError
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from nalsm.config import Config, Model
from nalsm.encoding import image_shares
from nalsm.liquid import Liquid, derive_seed
from nalsm.network import NetworkSpec, generate
from nalsm.readout import train_lbfgs, train_ridge
from nalsm.sources import Rates


class LiquidStateMachine(TransformerMixin, ClassifierMixin, BaseEstimator):
    """Rate-code non-negative feature vectors into a liquid and classify its spike counts.

    Args:
        model: nalsm, lsm-stdp, lsm or lsm-apstdp.
        dims: grid points of the liquid in each direction.
        weight: start magnitude; None takes the model's.
        astrocyte_weight: w_a of nalsm.
        duration: milliseconds of a sample.
        initial_samples: presentations of the initialisation phase; None presents every training sample once.
        readout: lbfgs or ridge.
        l2: penalty of the readout; None takes 1e-6 (lbfgs) or 1 (ridge).
        random_state: seed of wiring, events and presentation order.
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
        readout: Literal["lbfgs", "ridge"] = "lbfgs",
        l2: float | None = None,
        random_state: int = 0,
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
        self.random_state = random_state
        self.threads = threads

    def fit(self, X: Any, y: Any) -> LiquidStateMachine:
        """Initialise the liquid on X (sample, feature), values 0 or more, and train the readout on y.

        Raises:
            UserError: constant-zero samples, one class only, a silent liquid.
            ValueError: scikit-learn's checks of X and y.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        self.classes_ = unique_labels(y)
        config = Config(
            model=self.model, dims=self.dims, weight=self.weight, astrocyte_weight=self.astrocyte_weight,
            duration=self.duration, initial_samples=self.initial_samples, seed=self.random_state,
        )  # fmt: skip
        if self.readout not in ("lbfgs", "ridge"):
            raise UserError(f"readout is {self.readout!r}; choose lbfgs or ridge.")
        network = generate(NetworkSpec(self.dims, X.shape[1], self.random_state))
        self.liquid_ = Liquid(network, config)
        self.maximum_ = float(image_shares(X).max())
        state = self.liquid_.start()
        count = self.liquid_.presentations(len(X))
        if count:
            order = np.random.default_rng(self.random_state).permutation(len(X))
            index = np.resize(order, count)
            source = Rates(
                self._probability(X[index]), np.arange(count), derive_seed(self.random_state, "initialise")
            )
            run = self.liquid_.simulator.present_in_sequence(
                source,
                state.weights,
                config.plasticity("initialise"),
                duration=config.initial_duration,
                carry_trace=True,
            )
            assert run.weights is not None
            state.weights = run.weights
        self.weights_ = state.weights
        labels = np.searchsorted(self.classes_, y)
        counts = self.transform(X)
        classes = len(self.classes_)
        if self.readout == "lbfgs":
            self.readout_ = train_lbfgs(
                counts, labels, classes=classes, l2=1e-6 if self.l2 is None else self.l2
            )
        else:
            self.readout_ = train_ridge(
                counts, labels, classes=classes, l2=1.0 if self.l2 is None else self.l2
            )
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return spike counts, float32 (sample, liquid), of X (sample, feature)."""
        check_is_fitted(self, "weights_")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        keys = np.array(
            [int.from_bytes(hashlib.sha256(row.tobytes()).digest()[:7], "big") for row in X], np.int64
        )
        source = Rates(self._probability(X), keys, derive_seed(self.random_state, "features"))
        rule = self.liquid_.config.plasticity("sample")
        run = self.liquid_.simulator.present_independent(
            source, self.weights_, rule, duration=self.duration, threads=self.threads
        )
        return run.counts.astype(np.float32)

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each sample."""
        return self.classes_[self.readout_.predict(self.transform(X))]

    def decision_function(self, X: Any) -> np.ndarray:
        """Return class scores (sample, class)."""
        return self.readout_.scores(self.transform(X))

    def _probability(self, X: np.ndarray) -> np.ndarray:
        return np.minimum(image_shares(X) / self.maximum_, 1.0)
