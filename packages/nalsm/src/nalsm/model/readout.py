"""The linear readout and its features: x = counts / sum(counts), divided by one maximum.

The original takes that maximum over each batch (DEV-6), so a prediction depends on its batch mates; here it is a
constant of the training set. A silent sample gives x = 0 (DEV-2).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from reprokit import UserError


@dataclass
class LinearReadout:
    """Weights of a trained readout.

    Attributes:
        weight: float32 (neuron, class).
        bias: float32 (class,).
        maximum: constant that features are divided by.
        classes: number of classes.
        history: metrics of each evaluation, for `adadelta`.
    """

    weight: np.ndarray
    bias: np.ndarray
    maximum: float
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.bias)

    def scores(self, counts: np.ndarray) -> np.ndarray:
        """Return class scores, float32 (sample, class), of spike counts (sample, neuron)."""
        parts = [normalise(part, self.maximum) @ self.weight + self.bias for part in row_blocks(counts)]
        return np.concatenate(parts) if parts else np.zeros((0, self.classes), np.float32)

    def predict(self, counts: np.ndarray) -> np.ndarray:
        """Return the class of highest score, int64 (sample,)."""
        return np.argmax(self.scores(counts), axis=1)

    def accuracy(self, counts: np.ndarray, labels: np.ndarray) -> float:
        """Return the share of samples whose class is predicted."""
        return float(np.mean(self.predict(counts) == labels))


def row_blocks(counts: np.ndarray, values: int = 1 << 21) -> list[np.ndarray]:
    """Return views of consecutive samples, of about `values` numbers each, so that copies of them stay in a cache."""
    rows = max(values // max(counts.shape[1], 1), 1)
    return [counts[begin : begin + rows] for begin in range(0, len(counts), rows)]


def largest_share(counts: np.ndarray) -> float:
    """Return the largest of `shares(counts)`, the constant that features are divided by."""
    return max((float(shares(part).max(initial=0.0)) for part in row_blocks(counts)), default=0.0)


def shares(counts: np.ndarray) -> np.ndarray:
    """Return counts / sum(counts) per sample, float32; 0 for a silent sample (NaN in the original, DEV-2)."""
    counts = np.asarray(counts, np.float32)
    total = counts.sum(axis=1, keepdims=True)
    return counts / np.where(total > 0, total, 1.0)


def normalise(counts: np.ndarray, maximum: float | None = None) -> np.ndarray:
    """Return shares / maximum; None takes the maximum of these samples (the original's batch rule, DEV-6)."""
    x = shares(counts)
    top = float(x.max(initial=0.0)) if maximum is None else maximum
    return x / np.float32(top if top > 0 else 1.0)


def soft_labels(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return softmax of +1 for the class and -1 elsewhere: 0.4509 and 0.0610 for ten classes."""
    target = np.full((len(labels), classes), -1.0)
    target[np.arange(len(labels)), labels] = 1.0
    e = np.exp(target)
    return (e / e.sum(axis=1, keepdims=True)).astype(np.float32)


def check_training_data(counts: np.ndarray, labels: np.ndarray, classes: int | None) -> int:
    """Return the number of classes after checking shapes, labels and activity.

    Raises:
        UserError: on shapes that do not fit, labels outside the classes, one class only or a silent liquid.
    """
    labels = np.asarray(labels)
    if counts.ndim != 2 or labels.shape != (len(counts),):
        raise UserError(
            f"counts have shape {counts.shape} and labels {labels.shape}; give (sample, neuron) and (sample,)."
        )
    if not len(counts):
        raise UserError("no training samples; give at least two.")
    top = int(labels.max()) + 1 if classes is None else classes
    if labels.min() < 0 or labels.max() >= top:
        raise UserError(f"labels reach from {labels.min()} to {labels.max()}; allowed is 0 to {top - 1}.")
    if len(np.unique(labels)) < 2:
        raise UserError(
            f"all {len(labels)} training labels are {labels[0]}; a readout needs at least two classes."
        )
    if not np.any(counts):
        raise UserError(
            "the liquid is silent: no neuron fired in any sample; raise the weights or the input current."
        )
    return top
