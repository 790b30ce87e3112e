"""The linear readout, its features and its loss: x = counts / sum(counts), divided by one maximum.

The original takes that maximum over each batch (DEV-6), so a prediction depends on the rest of its batch; here
it is a constant of the training set. A silent sample gives x = 0 (DEV-2).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from reprokit import UserError
from torch import Tensor

GROUPS = 8  # number of partial sums of the loss; fixed, so that the result does not depend on threads
Block = tuple[Tensor, Tensor, Tensor, Tensor | None]  # counts, scale, target and weight of some samples


@dataclass
class LinearReadout:
    """Weights of a trained readout.

    Attributes:
        weight: float32 (neuron, class).
        bias: float32 (class,).
        maximum: divisor of the features.
        classes: number of classes.
        history: metrics of each evaluation, for `adadelta`.

    Raises:
        UserError: if shapes do not fit, or numbers are not finite.
    """

    weight: np.ndarray
    bias: np.ndarray
    maximum: float
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check shapes and numbers."""
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[1:]:
            raise UserError(
                f"weight has shape {self.weight.shape} and bias {self.bias.shape}; give (neuron, class) and (class,)."
            )
        if not (
            np.isfinite(self.weight).all() and np.isfinite(self.bias).all() and math.isfinite(self.maximum)
        ):
            raise UserError("the readout's weights are not finite; train it again, with l2 above 0.")

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.bias)

    def scores(self, counts: np.ndarray) -> np.ndarray:
        """Return class scores, float32 (sample, class), of spike counts (sample, neuron).

        Those of a sample do not depend on how many others there are.

        Raises:
            UserError: if counts are of another liquid, negative or not finite.
        """
        if counts.ndim != 2 or counts.shape[1] != len(self.weight):
            raise UserError(
                f"counts have shape {counts.shape}; this readout takes (sample, {len(self.weight)})."
            )
        check_counts(counts)
        # not a matrix product, whose rounding may depend on the number and the places of its rows
        classes = np.ascontiguousarray(self.weight.T)
        parts = [
            np.einsum("ij,kj->ik", normalise(part, self.maximum), classes) + self.bias
            for part in row_blocks(counts)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.classes), np.float32)

    def predict(self, counts: np.ndarray) -> np.ndarray:
        """Return the class with the highest score, int64 (sample,)."""
        return np.argmax(self.scores(counts), axis=1)

    def accuracy(self, counts: np.ndarray, labels: np.ndarray) -> float:
        """Return the share of correctly predicted samples."""
        return float(np.mean(self.predict(counts) == labels))


def row_blocks(counts: np.ndarray, values: int = 1 << 21) -> list[np.ndarray]:
    """Return views of consecutive samples with about `values` numbers each, so that copies of them fit into a cache."""
    rows = max(values // max(counts.shape[1], 1), 1)
    return [counts[begin : begin + rows] for begin in range(0, len(counts), rows)]


def largest_share(counts: np.ndarray) -> float:
    """Return the largest of `shares(counts)`, the divisor of the features."""
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


def check_counts(counts: np.ndarray) -> None:
    """Refuse anything that cannot be a number of spikes.

    Raises:
        UserError: if counts are not numbers, negative or not finite; the message names the sample.
    """
    if counts.dtype.kind not in "biuf":
        raise UserError(f"counts have dtype {counts.dtype}; give whole or floating-point numbers.")
    if counts.dtype.kind in "bu" or not counts.size:
        return
    low, high = counts.min(), counts.max()  # both are NaN if a count is
    if not (low >= 0 and math.isfinite(high)):
        with np.errstate(invalid="ignore"):
            bad = int(np.argmin(((counts >= 0) & (counts < np.inf)).all(axis=1)))
        raise UserError(
            f"counts of sample {bad} are negative or not finite; give numbers of spikes, 0 or more."
        )


def check_training_data(counts: np.ndarray, labels: np.ndarray, classes: int | None) -> int:
    """Return the number of classes after checking shapes, counts, labels and activity.

    Raises:
        UserError: for shapes that do not fit, counts that are negative or not finite, labels that are not whole
            numbers or outside the classes, only one class or a silent liquid.
    """
    labels = np.asarray(labels)
    if counts.ndim != 2 or labels.shape != (len(counts),):
        raise UserError(
            f"counts have shape {counts.shape} and labels {labels.shape}; give (sample, neuron) and (sample,)."
        )
    if not len(counts):
        raise UserError("no training samples; give at least two.")
    if labels.dtype.kind not in "iu":
        raise UserError(f"labels have dtype {labels.dtype}; give whole numbers from 0, such as int64.")
    top = int(labels.max()) + 1 if classes is None else classes
    if labels.min() < 0 or labels.max() >= top:
        raise UserError(f"labels range from {labels.min()} to {labels.max()}; allowed is 0 to {top - 1}.")
    if len(np.unique(labels)) < 2:
        raise UserError(
            f"all {len(labels)} training labels are {labels[0]}; a readout needs at least two classes."
        )
    check_counts(counts)
    if not np.any(counts):
        raise UserError(
            "the liquid is silent: no neuron fired in any sample; raise the weights or the input current."
        )
    return top


def check_validation(validation: tuple[np.ndarray, np.ndarray] | None, neurons: int, classes: int) -> None:
    """Refuse validation data that do not fit the training data.

    Raises:
        UserError: if shapes differ or labels are outside the classes.
    """
    if validation is None:
        return
    counts, labels = validation[0], np.asarray(validation[1])
    if counts.ndim != 2 or counts.shape[1] != neurons or labels.shape != (len(counts),) or not len(counts):
        raise UserError(
            f"validation counts have shape {counts.shape} and labels {labels.shape}; give (sample, {neurons}) "
            "and (sample,), at least one sample."
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"validation labels must be whole numbers from 0 to {classes - 1}.")


def check_weights(weights: np.ndarray | None, samples: int, *, scaled: bool = True) -> np.ndarray | None:
    """Return the samples' weights, as float32 scaled to a mean of 1, or unscaled as float64; None stays None.

    Raises:
        UserError: if their shape is not (sample,), one is negative or not finite, or all are 0.
    """
    if weights is None:
        return None
    weights = np.asarray(weights, np.float64)
    if weights.shape != (samples,):
        raise UserError(f"sample_weight has shape {weights.shape}; give ({samples},).")
    if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.max() > 0):
        raise UserError("sample_weight must hold finite numbers of 0 or more, one of them above 0.")
    return (weights / weights.mean()).astype(np.float32) if scaled else weights


class SoftmaxLoss:
    """Mean softmax cross-entropy over samples and its gradient, computed from the stored spike counts.

    Counts stay integers: samples are converted, multiplied and discarded block by block, so 50,000 samples of
    8000 neurons take 400 MB rather than 1.6 GB. With s_n = 1 / (sum of counts of sample n * maximum),

        logits_n = s_n (c_n W) + b,    dL/dW = sum_n c_n^T s_n (softmax(logits_n) - target_n) / samples.

    Args:
        counts: (sample, neuron) spike counts of any number type.
        target: float32 (sample, class), label distributions.
        maximum: divisor of the features.
        threads: number of groups of samples at once; results do not depend on it.
        sample_weight: float32 (sample,) factors v_n on the samples' losses, of mean 1; None means ones.
    """

    def __init__(
        self,
        counts: np.ndarray,
        target: np.ndarray,
        maximum: float,
        *,
        threads: int = 1,
        sample_weight: np.ndarray | None = None,
    ) -> None:
        self.samples, self.neurons = counts.shape
        self.active = np.flatnonzero(counts.any(axis=0))  # a neuron that never fires has no gradient
        if len(self.active) < self.neurons:
            counts = counts[:, self.active]
        total = counts.sum(axis=1, dtype=np.float64)
        scale = 1.0 / (np.where(total > 0, total, 1.0) * (maximum if maximum > 0 else 1.0))
        self.threads, begin = threads, 0
        self.blocks: list[Block] = []
        for part in row_blocks(np.ascontiguousarray(counts)):
            rows = slice(begin, begin + len(part))
            column = torch.from_numpy(scale[rows, None].astype(np.float32))
            share = None if sample_weight is None else torch.from_numpy(sample_weight[rows, None])
            self.blocks.append(
                (torch.from_numpy(_signed(part)), column, torch.from_numpy(target[rows]), share)
            )
            begin += len(part)

    def __call__(self, weight: Tensor, bias: Tensor) -> tuple[float, Tensor, Tensor]:
        """Return the loss and its gradients with respect to weight (neuron, class) and bias (class,), float32."""
        chosen = torch.from_numpy(self.active)
        inner = weight[chosen] if len(self.active) < self.neurons else weight
        groups = [self.blocks[k::GROUPS] for k in range(GROUPS)]
        if self.threads == 1:
            parts = [_sums(group, inner, bias) for group in groups]
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                parts = list(pool.map(lambda group: _sums(group, inner, bias), groups))
        loss = sum(part[0] for part in parts) / self.samples
        gradient = torch.stack([part[1] for part in parts]).sum(0).T / self.samples
        slope = torch.stack([part[2] for part in parts]).sum(0) / self.samples
        if len(self.active) < self.neurons:
            gradient = torch.zeros_like(weight).index_copy_(0, chosen, gradient)
        return loss, gradient, slope


def _sums(blocks: list[Block], weight: Tensor, bias: Tensor) -> tuple[float, Tensor, Tensor]:
    """Sums over the samples of some blocks: loss, gradient (class, neuron) and slope (class,)."""
    kind = weight.dtype
    loss, slope = 0.0, torch.zeros_like(bias)
    gradient = torch.zeros(weight.shape[1], weight.shape[0], dtype=kind)
    if not blocks:
        return loss, gradient, slope
    room = torch.empty(max(len(block[0]) for block in blocks), weight.shape[0], dtype=kind)
    for counts, scale, target, share in blocks:
        x = room[: len(counts)].copy_(counts)
        log_p = torch.log_softmax((x @ weight) * scale + bias, 1)
        error = log_p.exp() - target
        if share is not None:
            error, target = error * share, target * share
        loss -= float((target * log_p).sum(dtype=torch.float64))
        gradient.addmm_((error * scale).T, x)
        slope += error.sum(0)
    return loss, gradient, slope


def _signed(part: np.ndarray) -> np.ndarray:
    """Return numbers in a type that PyTorch converts quickly: unsigned types of more than a byte become int32."""
    if part.dtype.kind == "u" and part.dtype.itemsize > 1:
        return part.astype(np.int32)
    return part if part.flags.writeable else part.copy()
