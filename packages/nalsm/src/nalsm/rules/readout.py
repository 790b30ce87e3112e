"""Training of linear readouts: the original's Adadelta on soft labels, and faster ones.

Original: softmax cross-entropy against softmax(+1 for the class, -1 elsewhere), plus l2 / 2 * ||W||^2, Adadelta(lr 0.1,
rho 0.95, eps 1e-8), batches in fixed order, weights of the epoch with the highest validation accuracy
(Ivanov & Michmizos 2021, and its code).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import torch
from reprokit import Checkpoint, Checkpoints, UserError, progress
from torch import Tensor

from nalsm.checks import real, whole
from nalsm.model.readout import (
    LinearReadout,
    SoftmaxLoss,
    check_training_data,
    check_validation,
    check_weights,
    largest_share,
    normalise,
    row_blocks,
    soft_labels,
)

CHECKPOINT_EPOCHS = 250
ACCUMULATORS = ("square_avg", "acc_delta")


class OneTorchThread(ContextDecorator):
    """Inside, PyTorch computes with one thread, so that sums have one order; afterwards, with as many as before.

    The caller's autocast is off inside, because half-precision products would give a different readout.

    PyTorch's number of threads belongs to the process, so trainings started by several threads run in turn.
    """

    _turn = threading.RLock()

    def __enter__(self) -> None:
        """Wait for other trainings of this process, then take one thread."""
        self._held = self._turn
        self._held.acquire()
        self._before = torch.get_num_threads()
        torch.set_num_threads(1)
        self._full = torch.autocast("cpu", enabled=False)
        self._full.__enter__()

    def __exit__(self, *_: object) -> None:
        """Restore PyTorch's threads and autocast."""
        self._full.__exit__(None, None, None)
        torch.set_num_threads(self._before)
        self._held.release()

    def _recreate_cm(self) -> OneTorchThread:
        """Return a separate context for each decorated call."""
        return OneTorchThread()

    @classmethod
    def renew(cls) -> None:
        """Forget a training that was running in another thread when this process was forked."""
        cls._turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=OneTorchThread.renew)


@OneTorchThread()
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
    sample_weight: np.ndarray | None = None,
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
        batch: samples per step; the last, partial batch is used.
        learning_rate: learning rate of Adadelta.
        rho: rho of Adadelta.
        epsilon: epsilon of Adadelta.
        l2: weight penalty, l2 / 2 * ||W||^2.
        batch_maximum: divide features by each batch's maximum, as the original does (DEV-6).
        sample_weight: (sample,) factors on the samples' losses, scaled to a mean of 1; None: equal weights.
        validation: (counts, labels) for choosing the epoch; None keeps the last.
        evaluate_every: epochs between evaluations.
        on_step: called with (weight, bias) after each step.
        checkpoints: where every 250th epoch is saved; a killed training continues from there.

    Results do not depend on PyTorch's number of threads.

    Raises:
        UserError: see `check_training_data`; numbers out of range; weights that are no longer finite.
    """
    for name, value in (("epochs", epochs), ("batch", batch), ("evaluate_every", evaluate_every)):
        whole(name, value, 1)
    real("l2", l2, least=0.0)
    for name, value in (("learning_rate", learning_rate), ("epsilon", epsilon)):
        real(name, value, above=0.0)
    if not 0.0 <= real("rho", rho) < 1.0:
        raise UserError(f"rho is {rho}; it must lie in [0, 1).")
    epochs, batch, evaluate_every = int(epochs), int(batch), int(evaluate_every)
    counts, labels = np.asarray(counts), np.asarray(labels)
    top = check_training_data(counts, labels, classes)
    check_validation(validation, counts.shape[1], top)
    weights = check_weights(sample_weight, len(counts))
    maximum = largest_share(counts)
    batches = []
    for begin in range(0, len(counts), batch):
        part = slice(begin, begin + batch)
        x = torch.from_numpy(normalise(counts[part], None if batch_maximum else maximum))
        share = None if weights is None else torch.from_numpy(weights[part, None])
        batches.append((x, torch.from_numpy(soft_labels(labels[part], top)), share))
    state = AdadeltaState.start(counts.shape[1], top)
    if checkpoints is not None:
        state.restore(checkpoints.load_latest())
    optimiser = state.optimiser(learning_rate, rho, epsilon)
    with progress(total=epochs, description="readout") as bar:
        bar.update(state.epoch)
        while state.epoch < epochs:
            for x, target, share in batches:
                error = (torch.softmax(x @ state.weight + state.bias, 1) - target) / len(x)
                if share is not None:
                    error *= share
                state.weight.grad = torch.addmm(state.weight, x.T, error, beta=l2)
                state.bias.grad = error.sum(0)
                optimiser.step()
                if on_step:
                    on_step(state.weight, state.bias)
            state.epoch += 1
            if not bool(torch.isfinite(state.weight).all() and torch.isfinite(state.bias).all()):
                raise UserError(
                    f"the readout's weights are not finite after epoch {state.epoch}; lower learning_rate "
                    f"({learning_rate:g}) or l2 ({l2:g})."
                )
            if validation is not None and (state.epoch % evaluate_every == 0 or state.epoch == epochs):
                state.judge(maximum, validation)
            if checkpoints is not None and state.epoch % CHECKPOINT_EPOCHS == 0:
                checkpoints.save(state.epoch, *state.saved(optimiser))
            bar.update(1)
    return state.result(maximum)


@dataclass
class AdadeltaState:
    """The state of a training with Adadelta between two epochs; restored from it, a training continues bit-equal.

    Attributes:
        weight: float32 (neuron, class).
        bias: float32 (class,).
        epoch: finished epochs.
        best: weight and bias of the first epoch with the highest validation accuracy.
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
        kind = torch.float32  # whatever PyTorch's default dtype is
        return cls(torch.zeros(neurons, classes, dtype=kind), torch.zeros(classes, dtype=kind))

    def optimiser(self, learning_rate: float, rho: float, epsilon: float) -> torch.optim.Adadelta:
        """Return the optimiser of weight and bias, with its accumulators if they were restored."""
        both = [self.weight, self.bias]
        optimiser = torch.optim.Adadelta(both, lr=learning_rate, rho=rho, eps=epsilon)
        for parameter, accumulated in zip(both, self.accumulated, strict=False):
            optimiser.state[parameter] = dict(accumulated)
        return optimiser

    def judge(self, maximum: float, validation: tuple[np.ndarray, np.ndarray]) -> None:
        """Record the validation accuracy of this epoch and keep its weights if it is the highest so far."""
        weight, bias = self.weight.numpy().copy(), self.bias.numpy().copy()
        accuracy = LinearReadout(weight, bias, maximum).accuracy(*validation)
        if accuracy > max((entry["validation_accuracy"] for entry in self.history), default=-1.0):
            self.best = weight, bias
        self.history.append({"epoch": self.epoch - 1, "validation_accuracy": accuracy})

    def result(self, maximum: float) -> LinearReadout:
        """Return the best readout, or the last one without validation."""
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
            UserError: if it belongs to another readout.
        """
        if checkpoint is None:
            return
        arrays = checkpoint.arrays
        if arrays.get("weight", self.bias).shape != self.weight.shape:
            raise UserError(
                "the checkpoints belong to another readout; delete the folder checkpoints/readout."
            )
        self.weight, self.bias = torch.from_numpy(arrays["weight"]), torch.from_numpy(arrays["bias"])
        self.epoch, self.history = checkpoint.step, list(checkpoint.state["history"])
        keys = (*ACCUMULATORS, "step")
        self.accumulated = [
            {key: torch.tensor(arrays[f"{name}.{key}"]) for key in keys} for name in ("weight", "bias")
        ]
        if "best_weight" in arrays:
            self.best = arrays["best_weight"], arrays["best_bias"]


@OneTorchThread()
def train_lbfgs(
    counts: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int | None = None,
    l2: float = 1e-6,
    soft: bool = False,
    iterations: int = 300,
    sample_weight: np.ndarray | None = None,
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
        iterations: maximum number of iterations.
        sample_weight: (sample,) factors on the samples' losses, scaled to a mean of 1; None: equal weights.
        validation: (counts, labels) for choosing among every tenth iterate; None keeps the last.
        threads: number of groups of samples at once; results depend neither on it nor on PyTorch's number of threads.

    Raises:
        UserError: see `check_training_data`; numbers out of range; weights that are not finite.
    """
    from scipy.optimize import minimize

    iterations, threads = whole("iterations", iterations, 1), whole("threads", threads, 1)
    real("l2", l2, least=0.0)
    counts, labels = np.asarray(counts), np.asarray(labels)
    top = check_training_data(counts, labels, classes)
    check_validation(validation, counts.shape[1], top)
    weights = check_weights(sample_weight, len(counts))
    maximum = largest_share(counts)
    target = soft_labels(labels, top) if soft else np.eye(top, dtype=np.float32)[labels]
    loss_of = SoftmaxLoss(counts, target, maximum, threads=threads, sample_weight=weights)
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
    counts: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int | None = None,
    l2: float = 1.0,
    sample_weight: np.ndarray | None = None,
) -> LinearReadout:
    """Solve least squares on +-1 targets, W = (X^T S X + l2 I)^-1 X^T S (Y - mean), features centred.

    S has the samples' weights on its diagonal (1 if none are given).

    Args:
        counts: (sample, neuron) spike counts.
        labels: int (sample,).
        classes: number of classes; None takes the largest label + 1.
        l2: penalty on the squared weights; the bias is free.
        sample_weight: (sample,), 0 or more; None: equal weights. A weight of 2 equals a sample given twice.

    Raises:
        UserError: see `check_training_data`; also for a bad l2, or l2 = 0 with linearly dependent features.
    """
    real("l2", l2, least=0.0)
    counts, labels = np.asarray(counts), np.asarray(labels)
    top = check_training_data(counts, labels, classes)
    weights = check_weights(sample_weight, len(counts), scaled=False)
    shift = _targets(labels, top).mean(0)
    sums = RidgeSums(counts.shape[1], top, largest_share(counts), shift)
    sums.add(counts, labels, weights)
    return sums.solve(l2)


class RidgeSums:
    """The sums from which a ridge readout is computed; samples can be added at any time.

    With x = shares of counts / maximum and y = +-1 targets, they are sum x^T x, sum x^T y, sum x, sum y and the number
    of samples, all weighted, in double precision; (neuron, neuron) is the largest.

    Args:
        neurons: number of features.
        classes: number of classes.
        maximum: divisor of the shares.
        shift: float64 (class,), roughly the mean of y; x^T (y - shift) is summed, which loses fewer digits.
    """

    def __init__(self, neurons: int, classes: int, maximum: float, shift: np.ndarray) -> None:
        self.classes, self.maximum, self.shift, self.samples = classes, maximum, shift, 0.0
        self.gram, self.cross = np.zeros((neurons, neurons)), np.zeros((neurons, classes))
        self.total, self.target = np.zeros(neurons), np.zeros(classes)

    def add(self, counts: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Add samples: counts (sample, neuron), labels (sample,) and their weights (sample,)."""
        done = 0
        for part in row_blocks(counts, 1 << 24):  # products in double precision, a block of samples at a time
            rows = slice(done, done + len(part))
            x = normalise(part, self.maximum).astype(np.float64)
            y = _targets(labels[rows], self.classes)
            own = 1.0 if weights is None else weights[rows, None]
            self.gram += x.T @ (x if weights is None else x * own)
            self.cross += x.T @ ((y - self.shift) * own)
            self.total += (x * own).sum(0)
            self.target += (y * own).sum(0)
            self.samples += float(len(x) if weights is None else weights[rows].sum())
            done += len(x)

    def solve(self, l2: float) -> LinearReadout:
        """Return the readout that minimises the squared error of all samples so far + l2 ||W||^2.

        Raises:
            UserError: if l2 is 0 and the features are linearly dependent.
        """
        mean_x, mean_y = self.total / self.samples, self.target / self.samples
        gram = self.gram - self.samples * np.outer(mean_x, mean_x)
        if l2 == 0 and np.linalg.matrix_rank(gram, hermitian=True) < len(gram):
            raise UserError(
                f"l2 is 0 and the {len(gram)} features are linearly dependent, as shares that add up to 1 "
                "are; give l2 above 0."
            )
        gram[np.diag_indices(len(gram))] += l2
        weight = np.linalg.solve(gram, self.cross - np.outer(self.total, mean_y - self.shift))
        bias = mean_y - mean_x @ weight
        return LinearReadout(weight.astype(np.float32), bias.astype(np.float32), self.maximum)


def _targets(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return +1 for the class and -1 elsewhere, float64 (sample, class)."""
    return np.where(np.arange(classes)[None, :] == labels[:, None], 1.0, -1.0)
