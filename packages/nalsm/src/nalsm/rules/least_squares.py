"""Recursive least squares: a linear readout that learns row by row."""

from __future__ import annotations

import numpy as np
from reprokit import UserError

from nalsm.checks import real, whole

FREE = 1e6  # variance of the bias before the first row: practically no penalty


class RecursiveLeastSquares:
    """A linear map from states to outputs that minimises the squared error of all rows so far.

    With x = (state, 1), target y, forgetting factor f and P = I / l2 at the start, each row does

        k = P x / (f + x^T P x),    W <- W + k (y - x^T W)^T,    P <- (P - k x^T P) / f

    (Haykin, Adaptive Filter Theory, chapter on recursive least squares). With f = 1, the weights after n rows
    are those of ridge regression with penalty l2 on these rows; with f < 1, a row counts f^m after m more rows. A row
    costs about 3 (state + 1)^2 multiplications.

    Args:
        states: length of a state.
        outputs: length of a target.
        l2: penalty on the squared weights, above 0; the bias is practically free.
        forgetting: f, above 0 and at most 1.

    Attributes:
        weight: float64 (states + 1, outputs); the last row is the bias.
        inverse: P, float64 (states + 1, states + 1).
        rows: number of rows so far.

    Raises:
        UserError: if a number is out of range.
    """

    def __init__(self, states: int, outputs: int, *, l2: float = 1.0, forgetting: float = 1.0) -> None:
        states, outputs = whole("states", states, 1), whole("outputs", outputs, 1)
        l2 = real("l2", l2, above=0.0)
        self.forgetting, self.rows = real("forgetting", forgetting, above=0.0, most=1.0), 0
        self.weight = np.zeros((states + 1, outputs))
        self.inverse = np.diag(np.append(np.full(states, 1.0 / l2), FREE))

    def predict(self, states: np.ndarray) -> np.ndarray:
        """Return outputs, float64 (row, output), of states (row, state)."""
        return states @ self.weight[:-1] + self.weight[-1]

    def update(self, states: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Learn rows in order and return the prediction for each just before learning it, float64 (row, output).

        Args:
            states: float (row, state).
            targets: float (row, output).

        Raises:
            UserError: if shapes do not fit, numbers are not finite, or the weights stop being finite.
        """
        size, outputs = self.weight.shape
        if states.shape != (len(states), size - 1) or targets.shape != (len(states), outputs):
            raise UserError(
                f"states have shape {states.shape} and targets {targets.shape}; give (row, {size - 1}) and "
                f"(row, {outputs})."
            )
        if not (np.isfinite(states).all() and np.isfinite(targets).all()):
            raise UserError("states or targets have values that are not finite; nothing was learnt.")
        predicted = np.zeros(targets.shape)
        x = np.ones(size)
        for k, (state, target) in enumerate(zip(states, targets, strict=True)):
            x[:-1] = state
            predicted[k] = x @ self.weight
            direction = self.inverse @ x
            gain = direction / (self.forgetting + x @ direction)
            self.weight += np.outer(gain, target - predicted[k])
            self.inverse -= np.outer(gain, direction)
            if self.forgetting < 1.0:
                self.inverse /= self.forgetting
            self.rows += 1
        if not np.isfinite(self.weight).all():
            raise UserError(
                f"the readout's weights are not finite after {self.rows} rows; raise l2 or forgetting "
                f"({self.forgetting:g})."
            )
        return predicted
