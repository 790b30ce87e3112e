"""A liquid state machine as a scikit-learn classifier and transformer."""

from __future__ import annotations

import warnings
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import numpy as np
from reprokit import UserError
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from nalsm.checks import whole
from nalsm.data.encoding import InputScale
from nalsm.estimator.inputs import Encoding, InputCode, Scale, blank
from nalsm.estimator.settings import LiquidEstimator
from nalsm.model.readout import LinearReadout, largest_share, normalise
from nalsm.rules.readout import RidgeSums, train_adadelta, train_lbfgs, train_ridge

READOUTS = ("lbfgs", "ridge", "adadelta")
EXPECTED_FAILED_CHECKS = {
    "check_sample_weight_equivalence_on_dense_data": "weights count in the readout, but the initialisation "
    "phase shows every sample once, whatever its weight, and L-BFGS works in single precision; the check wants "
    "7 equal digits",
    "check_decision_proba_consistency": "the check passes negative values to estimators tagged positive_only",
}
"""Checks of scikit-learn that cannot hold, with the reasons: `check_estimator(..., expected_failed_checks=...)`."""
SILENT = 1.0  # Hz; below it, a liquid distinguishes samples by only a few spikes


def _is_ridge(estimator: Any) -> bool:
    """Say whether the readout can learn from more samples later."""
    return estimator.readout == "ridge"


def _has_softmax(estimator: Any) -> bool:
    """Say whether the readout was trained to give probabilities."""
    return estimator.readout != "ridge"


@dataclass(eq=False, repr=False)
class LiquidStateMachine(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, LiquidEstimator):
    """Turn vectors, time series or spike rasters into a liquid's spike counts and classify them.

    X is (sample, feature), each feature being the firing rate of an input neuron; or (sample, time, input) in
    steps of a millisecond, rates or the spikes themselves. Values are 0 or more; put `MinMaxScaler(clip=True)` before
    others.

    By default a sample is divided by its own sum, as in the paper: the pattern of its features counts, not
    their magnitude. `scale="global"` keeps magnitudes. The 99.9 % quantile of the training data counts as the
    brightest value, so that single odd samples do not darken all others. A blank sample has no events and no
    spikes; its class is the one with the largest bias.

    The events of a sample depend only on its values, so its counts depend only on the sample and the fit; the
    liquid starts every sample from the same state. Further parameters are those of `nalsm.Config`, and
    GridSearchCV can tune each of them.

    Args:
        model: nalsm, lsm-stdp, lsm or lsm-apstdp.
        dims: grid points of the liquid in each direction.
        weight: start magnitude; None: the model's.
        astrocyte_weight: w_a of nalsm.
        duration: milliseconds of a sample; None: 250 for vectors, all steps for (sample, time, input). If it is
            longer than X, the liquid keeps running without input.
        initial_samples: presentations of the initialisation phase; None: every training sample once.
        encoding: rate (events at random), current (regular events of the same rate), spikes (X contains numbers
            of events), or auto: spikes for (sample, time, input) of zeros and ones, otherwise rate.
        scale: sample (a sample is divided by its sum) or global (magnitudes are kept).
        input_scale: the value that gets the highest rate: quantile (the 99.9 % quantile of the training data's values
            above 0) or max (the largest, as in the original).
        input_rate: events per second at that value or above, at most 1000; None: 1000, one per millisecond.
        windows: number of equal parts of a sample whose spikes are counted separately, for that many times more
            features.
        readout: lbfgs, ridge or adadelta (the original's).
        l2: penalty of the readout; None: 1e-6 (lbfgs), 1 (ridge) or 5e-10 (adadelta).
        soft_labels: train on the original's soft labels (0.45 and 0.06 of ten classes); None: adadelta does,
            lbfgs does not. Probabilities are then soft as well.
        readout_epochs: epochs of adadelta, or the maximum number of iterations of lbfgs (300 suffice).
        batch: samples per step of adadelta.
        random_state: seed of wiring, events and presentation order; None: a random one.
        threads: samples simulated at once; results do not depend on it.
        verbose: 1 prints a line of progress every few seconds.

    Attributes:
        classes_: labels in order.
        liquid_: network and engine.
        weights_: float32 (synapse,), after the initialisation phase.
        readout_: the readout.
        code_: how X becomes events.
        rate_: spikes per second of a liquid neuron, mean over the training samples.
    """

    _: KW_ONLY
    encoding: Encoding = "auto"
    scale: Scale = "sample"
    input_scale: InputScale = "quantile"
    input_rate: float | None = None
    windows: int = 1
    readout: Literal["lbfgs", "ridge", "adadelta"] = "lbfgs"
    l2: float | None = None
    soft_labels: bool | None = None
    readout_epochs: int = 5000
    batch: int = 250

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LiquidStateMachine:
        """Initialise the liquid on X, without its labels, and train the readout on y.

        Args:
            X: (sample, feature) or (sample, time, input), values 0 or more.
            y: (sample,) labels of any kind.
            sample_weight: (sample,) factors on the samples' errors; a sample of weight 0 is left out.

        Raises:
            UserError: negative values, only one class, a silent liquid, settings out of range.
            ValueError: scikit-learn's checks of X and y.
        """
        X, y, sample_weight = self._training_data(X, y, sample_weight, reset=True)
        self.classes_ = unique_labels(y)
        self.__dict__.pop("sums_", None)
        self._begin(X)
        counts = self._first_counts(X)
        self.readout_ = self._readout(counts, np.searchsorted(self.classes_, y), sample_weight)
        return self

    @available_if(_is_ridge)
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> LiquidStateMachine:
        """Add samples to a ridge readout, which then equals one trained on all samples at once.

        The first call determines the liquid and its input scale from its X, as `fit` does; after `fit` it
        starts again. Only `readout="ridge"` has this method, because the others go through their samples many times.

        Args:
            X: (sample, feature) or (sample, time, input).
            y: (sample,) labels.
            classes: in the first call, all labels that will occur; None: those of its y.
            sample_weight: (sample,) factors on the samples' errors.

        Raises:
            UserError: if a later call names other classes, or y contains another label.
        """
        first = not hasattr(self, "sums_")
        X, y, sample_weight = self._training_data(X, y, sample_weight, reset=first)
        if first:
            self.classes_ = unique_labels(y if classes is None else classes)
            self._begin(X)
        elif classes is not None and not np.array_equal(unique_labels(classes), self.classes_):
            raise UserError(
                f"classes is {classes}, but the first call had {self.classes_.tolist()}; give the same."
            )
        if unknown := sorted(set(np.unique(y)) - set(self.classes_)):
            raise UserError(
                f"y contains {unknown[0]}, which is not among the classes {self.classes_.tolist()}; name all "
                "classes in the first call."
            )
        counts = self._first_counts(X) if first else self._counts(X)
        if first:
            size = counts.shape[1], len(self.classes_)
            self.sums_ = RidgeSums(*size, largest_share(counts), np.zeros(size[1]))
        self.sums_.add(counts, np.searchsorted(self.classes_, y), sample_weight)
        self.readout_ = self.sums_.solve(1.0 if self.l2 is None else self.l2)
        return self

    def _begin(self, X: np.ndarray) -> None:
        """Determine the input code, and make and initialise the liquid."""
        if self.readout not in READOUTS:
            raise UserError(f"readout is {self.readout!r}; choose one of {', '.join(READOUTS)}.")
        if (self.readout == "adadelta" and self.soft_labels is False) or (
            self.readout == "ridge" and self.soft_labels
        ):
            kind = "soft" if self.readout == "adadelta" else "hard"
            raise UserError(
                f"soft_labels is {self.soft_labels}, but {self.readout} has {kind} ones; leave it out."
            )
        whole("windows", self.windows, 1)
        self.code_ = InputCode.of(X, self.encoding, self.scale, self.input_scale, self.input_rate)
        self._build(X.shape[-1])
        if self.windows > self._milliseconds(X):
            raise UserError(
                f"windows is {self.windows}, but a sample has {self._milliseconds(X)} ms; choose fewer."
            )
        self.weights_ = self._initialise(self.code_, X)
        self._n_features_out = self.liquid_.network.liquid * int(self.windows)

    def _first_counts(self, X: np.ndarray) -> np.ndarray:
        """Return the counts of training samples, and warn if there are hardly any."""
        counts = self._counts(X)
        seconds = self._milliseconds(X) / 1000.0
        self.rate_ = float(counts.sum()) / (len(X) * self.liquid_.network.liquid * seconds)
        if 0.0 < self.rate_ < SILENT:
            warnings.warn(
                f"the liquid is nearly silent: {self.rate_:.2g} Hz on the training samples; raise weight, "
                "input_density or input_rate, or remove odd samples.",
                UserWarning,
                stacklevel=3,
            )
        return counts

    def _readout(self, counts: np.ndarray, labels: np.ndarray, weights: np.ndarray | None) -> LinearReadout:
        l2, common = self.l2, {"classes": len(self.classes_), "sample_weight": weights}
        if self.readout == "ridge":
            return train_ridge(counts, labels, l2=1.0 if l2 is None else l2, **common)
        if self.readout == "adadelta":
            return train_adadelta(
                counts,
                labels,
                epochs=self.readout_epochs,
                batch=self.batch,
                l2=5e-10 if l2 is None else l2,
                **common,
            )
        return train_lbfgs(
            counts, labels, l2=1e-6 if l2 is None else l2, soft=bool(self.soft_labels),
            iterations=min(self.readout_epochs, 300), threads=self.threads, **common,
        )  # fmt: skip

    def transform(self, X: Any) -> np.ndarray:
        """Return spike counts of X, float32 (sample, windows * liquid), windows one after another."""
        check_is_fitted(self, "weights_")
        X = self._checked(X, reset=False)
        if X.ndim != self.code_.dimensions:
            raise UserError(
                f"X has {X.ndim} dimensions, but the fit had {self.code_.dimensions}; give the same."
            )
        if len(empty := blank(X)):
            warnings.warn(
                f"{len(empty)} of {len(X)} samples are all zeros, the first at {empty[0]}: they have no "
                "events, and only the readout's bias determines their class.",
                UserWarning,
                stacklevel=2,
            )
        return self._counts(X)

    def _counts(self, X: np.ndarray) -> np.ndarray:
        duration, windows = self._milliseconds(X), int(self.windows)
        parts = []
        for run in self._presented(self.code_, X, self.weights_, record=windows > 1):
            if windows == 1:
                parts.append(run.counts.astype(np.float32))
                continue
            assert run.raster is not None
            liquid = run.raster[:, :, : self.liquid_.network.liquid]
            edges = np.arange(windows) * duration // windows
            counted = np.add.reduceat(liquid, edges, axis=1, dtype=np.float32)
            parts.append(counted.reshape(len(counted), -1))
        return np.concatenate(parts)

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each sample."""
        best = np.argmax(self._scores(X), axis=1)
        return self.classes_[best]

    def decision_function(self, X: Any) -> np.ndarray:
        """Return class scores: (sample, class), or for two classes (sample,), positive for the second."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    @available_if(_has_softmax)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities, float64 (sample, class): softmax of the scores; ridge has none."""
        scores = self._scores(X)
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def _scores(self, X: Any) -> np.ndarray:
        """Return class scores, float64 (sample, class); a sample's scores do not depend on the number of samples."""
        check_is_fitted(self, "readout_")
        x = normalise(self.transform(X), self.readout_.maximum).astype(np.float64)
        return x @ self.readout_.weight.astype(np.float64) + self.readout_.bias

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that X must not be negative, may have three axes, and becomes float32."""
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _training_data(self, X: Any, y: Any, sample_weight: Any, *, reset: bool) -> tuple[Any, Any, Any]:
        """Return X, y and sample weights after scikit-learn's checks, without samples of weight 0."""
        X, y = self._checked(X, y, reset=reset)
        check_classification_targets(y)
        if sample_weight is None:
            return X, y, None
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        kept = weights > 0
        if not kept.any():
            raise UserError("sample_weight is 0 for every sample; give one above 0.")
        return X[kept], y[kept], weights[kept]

    def _target(self, X: np.ndarray, y: Any) -> np.ndarray:
        """Return labels (sample,)."""
        if y is None:
            raise ValueError("LiquidStateMachine requires y to be passed, but the target y is None")
        y = column_or_1d(y, warn=True)
        check_consistent_length(X, y)
        return y
