"""A liquid that predicts time series, as a scikit-learn regressor and as a stream."""

from __future__ import annotations

import warnings
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np
from reprokit import UserError
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted

from nalsm.checks import real, whole
from nalsm.config import Model
from nalsm.estimator.classifier import SILENT
from nalsm.estimator.inputs import InputCode, as_array, regular
from nalsm.estimator.running import RunningLiquid, TunedChannels
from nalsm.estimator.settings import LiquidEstimator
from nalsm.rules.least_squares import RecursiveLeastSquares

EXPECTED_FAILED_CHECKS = {
    "check_methods_sample_order_invariance": "rows of X are moments of a time series: their order is learnt",
    "check_methods_subset_invariance": "a row's prediction depends on the rows before it",
}
"""Checks of scikit-learn that cannot hold, with the reasons: `check_estimator(..., expected_failed_checks=...)`."""


@dataclass(eq=False, repr=False)
class LiquidStateRegressor(RegressorMixin, LiquidEstimator):
    """Predict a time series from another (or from itself, some steps ahead) by a linear readout of a running liquid.

    X is one series (time, feature), or (series, time, feature), with any values; y is (time,), (time, output), (series,
    time) or (series, time, output): a target for each moment. Each feature drives `channels` input neurons
    tuned to different values, with regular events. The state at a moment is the liquid's spikes, low-passed by
    exponential filters of several time constants. The readout is ridge regression on states,

        W = argmin sum_t |y(t) - W x(t) - b|^2 + l2 |W|^2.

    `fit` and `predict` begin each series from rest. A stream continues instead: `run` predicts and
    `partial_fit` learns from the next moments, starting where the last call of `fit`, `run` or `partial_fit`
    ended, so calls on parts equal one call on the whole; `rest` starts again. There are no sample weights: moments
    cannot be left out of a series.

    Args:
        model: lsm (fixed weights) or a plastic liquid, whose weights are initialised on windows of X.
        dims: grid points of the liquid in each direction.
        input_density: share of all (liquid, input) pairs that are connected.
        step: duration of a row of X in milliseconds.
        channels: input neurons of each feature.
        channel_width: width of their tuning, in units of the distance between neighbours.
        input_rate: events per second of a channel at its preferred value.
        filters: time constants of the states, ms.
        readout_inputs: add the filtered spikes of the input neurons to the states.
        washout: number of first moments of each series that `fit` does not learn from.
        l2: penalty of the readout.
        forgetting: f of `partial_fit`: a moment counts f^m after m further ones; 1 forgets nothing.

    Attributes:
        coef_: float64 (state, output).
        intercept_: float64 (output,).
        liquid_: network and engine.
        weights_: float32 (synapse,) of the liquid.
        code_: how rows become events.
        rate_: spikes per second of a liquid neuron while X of `fit` was shown.
    """

    model: Model = "lsm"
    _: KW_ONLY
    input_density: float = 0.3
    step: int = 10
    channels: int = 32
    channel_width: float = 4.0
    input_rate: float = 400.0
    filters: tuple[float, ...] = (10.0, 20.0, 40.0, 80.0, 160.0)
    readout_inputs: bool = False
    washout: int = 0
    l2: float = 1e-3
    forgetting: float = 1.0

    _least: ClassVar = {2: 2, 3: 1}

    def fit(self, X: Any, y: Any) -> LiquidStateRegressor:
        """Determine channels and liquid from X and solve for the readout.

        Args:
            X: (time, feature) or (series, time, feature).
            y: targets, with the leading axes of X and optionally an axis of outputs.

        Raises:
            UserError: shapes that do not fit, a silent liquid, settings out of range.
            ValueError: scikit-learn's checks of X and y.
        """
        X, y = self._checked(X, y, reset=True)
        series = X[None] if X.ndim == 2 else X
        if whole("washout", self.washout, 0) >= series.shape[1]:
            raise UserError(
                f"washout is {self.washout}, but a series has {series.shape[1]} moments; choose fewer."
            )
        self._begin(series)
        y = y.reshape(*series.shape[:2], -1)
        states, targets = [], []
        spikes = 0
        for one, target in zip(series, y, strict=True):
            self.running_.rest()
            states.append(self.running_.run(one)[int(self.washout) :])
            targets.append(target[int(self.washout) :])
            spikes += self.running_.spikes
        seconds = series.shape[0] * series.shape[1] * self.step / 1000.0
        self._note_rate(spikes / (self.liquid_.network.liquid * seconds))
        self._solve(np.concatenate(states), np.concatenate(targets))
        return self

    def _solve(self, states: np.ndarray, targets: np.ndarray) -> None:
        """Ridge regression with an unpenalised bias, in the smaller of the two forms of its equations."""
        mean_x, mean_y = states.mean(0), targets.mean(0)
        x, y = states - mean_x, targets - mean_y
        if len(x) < x.shape[1]:  # W = X^T (X X^T + l2 I)^-1 Y
            gram = x @ x.T
            gram[np.diag_indices(len(gram))] += self.l2
            self.coef_ = x.T @ np.linalg.solve(gram, y)
        else:
            gram = x.T @ x
            gram[np.diag_indices(len(gram))] += self.l2
            self.coef_ = np.linalg.solve(gram, x.T @ y)
        self.intercept_ = mean_y - mean_x @ self.coef_

    def predict(self, X: Any) -> np.ndarray:
        """Return a prediction for each moment, from rest: (time,) or (series, time), plus outputs if y had them."""
        check_is_fitted(self, "coef_")
        X = self._checked(X, reset=False)
        alone = self._new_stream()
        predicted = []
        for one in X[None] if X.ndim == 2 else X:
            alone.rest()
            predicted.append(self._read(alone.run(one)))
        return self._shaped(predicted[0] if X.ndim == 2 else np.stack(predicted))

    def states(self, X: Any) -> np.ndarray:
        """Return the states behind `predict`, float64 (..., filters * neurons), for your own readout."""
        check_is_fitted(self, "weights_")
        X = self._checked(X, reset=False)
        alone = self._new_stream()
        found = []
        for one in X[None] if X.ndim == 2 else X:
            alone.rest()
            found.append(alone.run(one))
        return found[0] if X.ndim == 2 else np.stack(found)

    def run(self, X: Any) -> np.ndarray:
        """Return predictions for the next moments (time, feature) of the stream, which continues after them."""
        check_is_fitted(self, "coef_")
        X = self._one_series(self._checked(X, reset=False))
        return self._shaped(self._read(self.running_.run(X)))

    def partial_fit(self, X: Any, y: Any) -> LiquidStateRegressor:
        """Learn from the next moments of the stream by recursive least squares.

        The first call, also after `fit`, determines the channels from its X and starts again: make it long
        enough to show the range of values. With `forgetting=1` the readout equals that of `fit` with the same range.

        Args:
            X: (time, feature).
            y: (time,) or (time, output).

        Raises:
            UserError: see `fit`.
        """
        first = not hasattr(self, "online_")
        X, y = self._checked(X, y, reset=first)
        X = self._one_series(X)
        y = y.reshape(len(X), -1)
        if first:
            self._begin(X[None])
            network = self.liquid_.network
            size = len(self.filters) * (network.neurons if self.readout_inputs else network.liquid)
            online = RecursiveLeastSquares(size, y.shape[1], l2=self.l2, forgetting=self.forgetting)
        else:
            online = self.online_
        states = self.running_.run(X)
        if first:
            seconds = len(X) * int(self.step) / 1000.0
            self._note_rate(self.running_.spikes / (self.liquid_.network.liquid * seconds))
        online.update(states, y)
        self.online_ = online
        self.coef_, self.intercept_ = online.weight[:-1], online.weight[-1]
        return self

    def rest(self) -> LiquidStateRegressor:
        """Put the liquid of the stream to rest; the readout is kept."""
        check_is_fitted(self, "weights_")
        self.running_.rest()
        return self

    def _begin(self, series: np.ndarray) -> None:
        """Determine the channels, make and initialise the liquid, and put the stream to rest."""
        self.__dict__.pop("online_", None)
        whole("step", self.step, 1)
        real("l2", self.l2, above=0.0)
        if not isinstance(self.filters, tuple | list | np.ndarray) or not len(self.filters):
            raise UserError(f"filters is {self.filters!r}; give at least one time constant, in ms.")
        for tau in self.filters:
            real("a time constant of filters", tau, above=0.0, unit=" ms")
        if self.duration is not None:
            raise UserError(f"duration is {self.duration}, but series last step * rows; leave it out.")
        rows = series.reshape(-1, series.shape[2])
        self.code_ = TunedChannels.of(rows, self.channels, self.channel_width, self.input_rate)
        self._build(series.shape[2] * self.code_.channels)
        self.weights_ = self.liquid_.start().weights
        if self.liquid_.presentations(len(rows)):
            p = [np.repeat(self.code_.probability(one), int(self.step), axis=0) for one in series]
            shown = np.stack([regular(one)[0] for one in p])
            spikes = InputCode("spikes", "global", 1.0, 1.0, 3)
            self.weights_ = self._initialise(spikes, shown, self.liquid_.presentations(len(rows)))
        self.running_ = self._new_stream()

    def _new_stream(self) -> RunningLiquid:
        liquid = self.liquid_
        stream = liquid.simulator.start(self.weights_, liquid.config.plasticity("sample"))
        return RunningLiquid(
            stream,
            self.code_,
            int(self.step),
            tuple(self.filters),
            self.readout_inputs,
            liquid.network.liquid,
        )

    def _note_rate(self, rate: float) -> None:
        self.rate_ = rate
        if rate == 0.0:
            raise UserError(
                "the liquid is silent: no neuron fired; raise weight, input_density or input_rate."
            )
        if rate < SILENT:
            warnings.warn(
                f"the liquid is nearly silent: {rate:.2g} Hz; raise weight, input_density or input_rate.",
                UserWarning,
                stacklevel=3,
            )

    def _read(self, states: np.ndarray) -> np.ndarray:
        """Return outputs (row, output), row by row: rounding in a product of many rows would depend on their number."""
        return np.stack([state @ self.coef_ for state in states]) + self.intercept_

    def _shaped(self, predicted: np.ndarray) -> np.ndarray:
        """Drop the axis of outputs if y had none."""
        return predicted if self.outputs_axis_ else predicted[..., 0]

    def _one_series(self, X: np.ndarray) -> np.ndarray:
        if X.ndim == 3 and len(X) != 1:
            raise UserError(f"X has {len(X)} series; a stream takes one, (time, feature).")
        return X[0] if X.ndim == 3 else X

    def _checked(self, X: Any, y: Any = "no_validation", *, reset: bool) -> Any:
        """Return X and y after scikit-learn's checks; y may have an axis of outputs."""
        if isinstance(y, str) or as_array(X) is not None:
            found = super()._checked(X, y, reset=reset)
            if isinstance(y, str):
                return found
            X, y = found
        else:
            X = super()._checked(X, reset=reset)
            y = self._target(X, y)
        self.outputs_axis_ = y.ndim == X.ndim
        return X, y

    def _target(self, X: np.ndarray, y: Any) -> np.ndarray:
        """Return targets, float64, whose leading axes are those of X."""
        if y is None:
            raise ValueError("LiquidStateRegressor requires y to be passed, but the target y is None")
        kind: Any = np.float64
        if np.asarray(y).dtype.kind in "US":
            raise UserError("y contains words; give numbers, or use LiquidStateMachine for classes.")
        y = np.asarray(check_array(y, dtype=kind, ensure_2d=False, allow_nd=True, input_name="y"))
        check_consistent_length(X, y)
        lead = X.shape[:-1]
        if y.shape[: len(lead)] != lead or y.ndim > X.ndim:
            raise UserError(
                f"y has shape {y.shape}; give a target for each moment of X: {lead} or {(*lead, 'outputs')}."
            )
        return y

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that X may have three axes and y several outputs."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.multi_output = True
        return tags
