"""Linear readouts on spike counts: the original's Adadelta with soft labels, and fast ones.

Features x = counts / sum(counts), divided by one maximum. The original takes that maximum over each batch (DEV-6), so
a prediction depends on its batch mates; here it is a constant of the training set. A silent sample gives x = 0.

Original: softmax cross-entropy against softmax(+1 for the class, -1 else), plus l2 / 2 * ||W||^2, Adadelta(lr 0.1,
rho 0.95, eps 1e-8), batches in fixed order, weights of the epoch with the highest validation accuracy
(Ivanov & Michmizos 2021; specification section 3.6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from reprokit import UserError
from torch import Tensor

ReadoutKind = Literal["adadelta", "lbfgs", "ridge"]


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
        return normalise(counts, self.maximum) @ self.weight + self.bias

    def predict(self, counts: np.ndarray) -> np.ndarray:
        """Return the class of highest score, int64 (sample,)."""
        return np.argmax(self.scores(counts), axis=1)

    def accuracy(self, counts: np.ndarray, labels: np.ndarray) -> float:
        """Return the share of samples whose class is predicted."""
        return float(np.mean(self.predict(counts) == labels))


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


def train_adadelta(
    counts: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int | None = None,
    epochs: int = 5000,
    batch: int = 250,
    learning_rate: float = 0.1,
    rho: float = 0.95,
    epsilon: float = 1e-8,
    l2: float = 5e-10,
    batch_maximum: bool = False,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    evaluate_every: int = 1,
    on_step: Callable[[Tensor, Tensor], None] | None = None,
) -> LinearReadout:
    """Train the original's readout.

    Args:
        counts: (sample, neuron) spike counts.
        labels: int (sample,).
        classes: number of classes; None takes the largest label + 1.
        epochs: passes over the data, in fixed order.
        batch: samples a step; the last, partial batch is used.
        learning_rate: of Adadelta.
        rho: of Adadelta.
        epsilon: of Adadelta.
        l2: weight penalty, l2 / 2 * ||W||^2.
        batch_maximum: divide features by each batch's maximum, as the original does (DEV-6).
        validation: (counts, labels) that choose the epoch; None keeps the last.
        evaluate_every: epochs between evaluations.
        on_step: called with (weight, bias) after each step.

    Raises:
        UserError: see `check_training_data`.
    """
    top = check_training_data(counts, labels, classes)
    maximum = float(shares(counts).max())
    batches = []
    for begin in range(0, len(counts), batch):
        part = slice(begin, begin + batch)
        x = torch.from_numpy(normalise(counts[part], None if batch_maximum else maximum))
        batches.append((x, torch.from_numpy(soft_labels(labels[part], top))))
    weight = torch.zeros(counts.shape[1], top)
    bias = torch.zeros(top)
    optimiser = torch.optim.Adadelta([weight, bias], lr=learning_rate, rho=rho, eps=epsilon)
    best, best_accuracy, history = None, -1.0, []
    for epoch in range(epochs):
        for x, target in batches:
            error = (torch.softmax(x @ weight + bias, 1) - target) / len(x)
            weight.grad = torch.addmm(weight, x.T, error, beta=l2)
            bias.grad = error.sum(0)
            optimiser.step()
            if on_step:
                on_step(weight, bias)
        if validation is not None and ((epoch + 1) % evaluate_every == 0 or epoch + 1 == epochs):
            readout = LinearReadout(weight.numpy().copy(), bias.numpy().copy(), maximum)
            accuracy = readout.accuracy(*validation)
            history.append({"epoch": epoch, "validation_accuracy": accuracy})
            if accuracy > best_accuracy:
                best, best_accuracy = readout, accuracy
    if best is None:
        best = LinearReadout(weight.numpy().copy(), bias.numpy().copy(), maximum)
    best.history = history
    return best


def train_lbfgs(
    counts: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int | None = None,
    l2: float = 1e-6,
    soft: bool = False,
    iterations: int = 300,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
) -> LinearReadout:
    """Train a softmax readout with L-BFGS (SciPy), mean cross-entropy + l2 / 2 * ||W||^2.

    Args:
        counts: (sample, neuron) spike counts.
        labels: int (sample,).
        classes: number of classes.
        l2: weight penalty.
        soft: use the original's soft labels.
        iterations: most iterations.
        validation: (counts, labels) that choose among the iterates, every tenth; None keeps the last.

    Raises:
        UserError: see `check_training_data`.
    """
    from scipy.optimize import minimize

    top = check_training_data(counts, labels, classes)
    maximum = float(shares(counts).max())
    x = torch.from_numpy(normalise(counts, maximum))
    target = torch.from_numpy(soft_labels(labels, top) if soft else np.eye(top, dtype=np.float32)[labels])
    size = x.shape[1] * top
    best: list[LinearReadout] = []
    state = {"accuracy": -1.0, "iteration": 0}

    def unpack(vector: np.ndarray) -> tuple[Tensor, Tensor]:
        flat = torch.from_numpy(vector.astype(np.float32))
        return flat[:size].view(x.shape[1], top), flat[size:]

    def objective(vector: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = unpack(vector)
        logits = x @ weight + bias
        log_p = torch.log_softmax(logits, 1)
        loss = -(target * log_p).sum().double() / len(x) + 0.5 * l2 * (weight.double() ** 2).sum()
        error = (log_p.exp() - target) / len(x)
        gradient = torch.cat([(x.T @ error + l2 * weight).flatten(), error.sum(0)])
        return float(loss), gradient.double().numpy()

    def keep(vector: np.ndarray) -> None:
        state["iteration"] += 1
        if validation is None or state["iteration"] % 10:
            return
        weight, bias = unpack(vector)
        readout = LinearReadout(weight.numpy().copy(), bias.numpy().copy(), maximum)
        accuracy = readout.accuracy(*validation)
        if accuracy > state["accuracy"]:
            state["accuracy"] = accuracy
            best[:] = [readout]

    start = np.zeros(size + top)
    options = {"maxiter": iterations, "maxfun": 2 * iterations, "ftol": 0.0, "gtol": 1e-7, "maxcor": 20}
    result = minimize(objective, start, jac=True, method="L-BFGS-B", callback=keep, options=options)
    weight, bias = unpack(result.x)
    last = LinearReadout(weight.numpy().copy(), bias.numpy().copy(), maximum)
    if validation is None or not best or last.accuracy(*validation) > state["accuracy"]:
        return last
    return best[0]


def train_ridge(
    counts: np.ndarray, labels: np.ndarray, *, classes: int | None = None, l2: float = 1.0
) -> LinearReadout:
    """Solve least squares on +-1 targets, W = (X^T X + l2 I)^-1 X^T (Y - mean), features centred.

    Raises:
        UserError: see `check_training_data`.
    """
    top = check_training_data(counts, labels, classes)
    maximum = float(shares(counts).max())
    x = normalise(counts, maximum).astype(np.float64)
    y = np.where(np.arange(top)[None, :] == np.asarray(labels)[:, None], 1.0, -1.0)
    mean_x, mean_y = x.mean(0), y.mean(0)
    gram = (x.T @ x) - len(x) * np.outer(mean_x, mean_x) + l2 * np.eye(x.shape[1])
    weight = np.linalg.solve(gram, x.T @ (y - mean_y))
    bias = mean_y - mean_x @ weight
    return LinearReadout(weight.astype(np.float32), bias.astype(np.float32), maximum)
