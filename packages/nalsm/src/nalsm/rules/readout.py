"""Training of linear readouts: the original's Adadelta on soft labels, and faster ones.

Original: softmax cross-entropy against softmax(+1 for the class, -1 else), plus l2 / 2 * ||W||^2, Adadelta(lr 0.1,
rho 0.95, eps 1e-8), batches in fixed order, weights of the epoch with the highest validation accuracy
(Ivanov & Michmizos 2021, and its code).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import torch
from reprokit import Checkpoint, Checkpoints, UserError, progress
from torch import Tensor

from nalsm.model.readout import (
    LinearReadout,
    SoftmaxLoss,
    check_training_data,
    largest_share,
    normalise,
    row_blocks,
    soft_labels,
)

CHECKPOINT_EPOCHS = 250
ACCUMULATORS = ("square_avg", "acc_delta")


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
    checkpoints: Checkpoints | None = None,
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
        checkpoints: where every 250th epoch is saved, and from where a killed training goes on.

    Raises:
        UserError: see `check_training_data`.
    """
    top = check_training_data(counts, labels, classes)
    maximum = largest_share(counts)
    batches = []
    for begin in range(0, len(counts), batch):
        part = slice(begin, begin + batch)
        x = torch.from_numpy(normalise(counts[part], None if batch_maximum else maximum))
        batches.append((x, torch.from_numpy(soft_labels(labels[part], top))))
    state = AdadeltaState.start(counts.shape[1], top)
    if checkpoints is not None:
        state.restore(checkpoints.load_latest())
    optimiser = state.optimiser(learning_rate, rho, epsilon)
    with progress(total=epochs, description="readout") as bar:
        bar.update(state.epoch)
        while state.epoch < epochs:
            for x, target in batches:
                error = (torch.softmax(x @ state.weight + state.bias, 1) - target) / len(x)
                state.weight.grad = torch.addmm(state.weight, x.T, error, beta=l2)
                state.bias.grad = error.sum(0)
                optimiser.step()
                if on_step:
                    on_step(state.weight, state.bias)
            state.epoch += 1
            if validation is not None and (state.epoch % evaluate_every == 0 or state.epoch == epochs):
                state.judge(maximum, validation)
            if checkpoints is not None and state.epoch % CHECKPOINT_EPOCHS == 0:
                checkpoints.save(state.epoch, *state.saved(optimiser))
            bar.update(1)
    return state.result(maximum)


@dataclass
class AdadeltaState:
    """What a training with Adadelta has reached between two epochs; saved and restored, a training goes on bit-equal.

    Attributes:
        weight: float32 (neuron, class).
        bias: float32 (class,).
        epoch: epochs done.
        best: weight and bias of the epoch with the highest validation accuracy, the first of equals.
        history: epoch and validation accuracy of each evaluation.
        accumulated: accumulators of a restored training, one dictionary for weight and one for bias.
    """

    weight: Tensor
    bias: Tensor
    epoch: int = 0
    best: tuple[np.ndarray, np.ndarray] | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    accumulated: list[dict[str, Tensor]] = field(default_factory=list)

    @classmethod
    def start(cls, neurons: int, classes: int) -> AdadeltaState:
        """Return the state before the first epoch: zeros."""
        return cls(torch.zeros(neurons, classes), torch.zeros(classes))

    def optimiser(self, learning_rate: float, rho: float, epsilon: float) -> torch.optim.Adadelta:
        """Return the optimiser of weight and bias, with its accumulators where they were restored."""
        both = [self.weight, self.bias]
        optimiser = torch.optim.Adadelta(both, lr=learning_rate, rho=rho, eps=epsilon)
        for parameter, accumulated in zip(both, self.accumulated, strict=False):
            optimiser.state[parameter] = dict(accumulated)
        return optimiser

    def judge(self, maximum: float, validation: tuple[np.ndarray, np.ndarray]) -> None:
        """Note the validation accuracy of this epoch and keep its weights where it is the highest so far."""
        weight, bias = self.weight.numpy().copy(), self.bias.numpy().copy()
        accuracy = LinearReadout(weight, bias, maximum).accuracy(*validation)
        if accuracy > max((entry["validation_accuracy"] for entry in self.history), default=-1.0):
            self.best = weight, bias
        self.history.append({"epoch": self.epoch - 1, "validation_accuracy": accuracy})

    def result(self, maximum: float) -> LinearReadout:
        """Return the best readout, or without validation the last."""
        last = self.weight.numpy().copy(), self.bias.numpy().copy()
        return LinearReadout(*(self.best or last), maximum, self.history)

    def saved(self, optimiser: torch.optim.Adadelta) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and plain values of a checkpoint."""
        arrays = {"weight": self.weight.numpy(), "bias": self.bias.numpy()}
        for name, parameter in (("weight", self.weight), ("bias", self.bias)):
            own = optimiser.state[parameter]
            arrays |= {f"{name}.{key}": own[key].numpy() for key in ACCUMULATORS}
            arrays[f"{name}.step"] = np.asarray(float(own["step"]), np.float32)
        if self.best is not None:
            arrays |= {"best_weight": self.best[0], "best_bias": self.best[1]}
        return arrays, {"history": self.history}

    def restore(self, checkpoint: Checkpoint | None) -> None:
        """Take over a checkpoint; None leaves the state as it is.

        Raises:
            UserError: where it is of another readout.
        """
        if checkpoint is None:
            return
        arrays = checkpoint.arrays
        if arrays.get("weight", self.bias).shape != self.weight.shape:
            raise UserError("the checkpoints are of another readout; delete the folder checkpoints/readout.")
        self.weight, self.bias = torch.from_numpy(arrays["weight"]), torch.from_numpy(arrays["bias"])
        self.epoch, self.history = checkpoint.step, list(checkpoint.state["history"])
        keys = (*ACCUMULATORS, "step")
        self.accumulated = [
            {key: torch.tensor(arrays[f"{name}.{key}"]) for key in keys} for name in ("weight", "bias")
        ]
        if "best_weight" in arrays:
            self.best = arrays["best_weight"], arrays["best_bias"]


def train_lbfgs(
    counts: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int | None = None,
    l2: float = 1e-6,
    soft: bool = False,
    iterations: int = 300,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    threads: int = 1,
) -> LinearReadout:
    """Train a softmax readout with L-BFGS (SciPy), mean cross-entropy + l2 / 2 * ||W||^2.

    Args:
        counts: (sample, neuron) spike counts; they are not copied to floats, see `SoftmaxLoss`.
        labels: int (sample,).
        classes: number of classes.
        l2: weight penalty.
        soft: use the original's soft labels.
        iterations: most iterations.
        validation: (counts, labels) that choose among the iterates, every tenth; None keeps the last.
        threads: groups of samples at once; results do not depend on it.

    Raises:
        UserError: see `check_training_data`.
    """
    from scipy.optimize import minimize

    top = check_training_data(counts, labels, classes)
    maximum = largest_share(counts)
    target = soft_labels(labels, top) if soft else np.eye(top, dtype=np.float32)[labels]
    loss_of = SoftmaxLoss(counts, target, maximum, threads=threads)
    shape = (counts.shape[1], top)
    size = shape[0] * top
    kept: dict[float, LinearReadout] = {}  # validation accuracy and the first readout that reached it
    steps = count(1)

    def unpack(vector: np.ndarray) -> tuple[Tensor, Tensor]:
        flat = torch.from_numpy(vector.astype(np.float32))
        return flat[:size].view(shape), flat[size:]

    def objective(vector: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = unpack(vector)
        loss, gradient, slope = loss_of(weight, bias)
        penalty = 0.5 * l2 * float((weight.double() ** 2).sum())
        return loss + penalty, torch.cat([(gradient + l2 * weight).flatten(), slope]).double().numpy()

    def readout_of(vector: np.ndarray) -> LinearReadout:
        weight, bias = unpack(vector)
        return LinearReadout(weight.numpy().copy(), bias.numpy().copy(), maximum)

    with progress(total=iterations, description="readout") as bar:

        def keep(vector: np.ndarray) -> None:
            step = next(steps)
            bar.update(1)
            if validation is not None and step % 10 == 0:
                readout = readout_of(vector)
                kept.setdefault(readout.accuracy(*validation), readout)

        options = {"maxiter": iterations, "maxfun": 2 * iterations, "ftol": 0.0, "gtol": 1e-7, "maxcor": 20}
        start = np.zeros(size + top)
        result = minimize(objective, start, jac=True, method="L-BFGS-B", callback=keep, options=options)
    last = readout_of(result.x)
    if validation is None or not kept or last.accuracy(*validation) > max(kept):
        return last
    return kept[max(kept)]


def train_ridge(
    counts: np.ndarray, labels: np.ndarray, *, classes: int | None = None, l2: float = 1.0
) -> LinearReadout:
    """Solve least squares on +-1 targets, W = (X^T X + l2 I)^-1 X^T (Y - mean), features centred.

    Raises:
        UserError: see `check_training_data`.
    """
    top = check_training_data(counts, labels, classes)
    maximum = largest_share(counts)
    y = np.where(np.arange(top)[None, :] == np.asarray(labels)[:, None], 1.0, -1.0)
    mean_y = y.mean(0)
    neurons, done = counts.shape[1], 0
    gram, cross, total = np.zeros((neurons, neurons)), np.zeros((neurons, top)), np.zeros(neurons)
    for part in row_blocks(counts, 1 << 24):  # products in double precision, a block of samples at a time
        x = normalise(part, maximum).astype(np.float64)
        gram += x.T @ x
        cross += x.T @ (y[done : done + len(x)] - mean_y)
        total += x.sum(0)
        done += len(x)
    mean_x = total / done
    gram -= done * np.outer(mean_x, mean_x)
    gram[np.diag_indices(neurons)] += l2
    weight = np.linalg.solve(gram, cross)
    bias = mean_y - mean_x @ weight
    return LinearReadout(weight.astype(np.float32), bias.astype(np.float32), maximum)
