"""Softmax cross-entropy of a linear readout and its gradient, from spike counts as they are stored.

Counts stay integers: a block of samples at a time is converted, multiplied, and forgotten, so 50,000 samples of 8000
neurons take 400 MB rather than 1.6 GB. With s_n = 1 / (sum of counts of sample n * maximum),

    logits_n = s_n (c_n W) + b,    dL/dW = sum_n c_n^T s_n (softmax(logits_n) - target_n) / samples.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from nalsm.model.readout import row_blocks

GROUPS = 8  # partial sums; their number is fixed, so that the result does not depend on threads


class SoftmaxLoss:
    """Mean cross-entropy over samples.

    Args:
        counts: (sample, neuron) spike counts of any number type.
        target: float32 (sample, class), label distributions.
        maximum: constant that features are divided by.
        threads: groups of samples at once; results do not depend on it.
    """

    def __init__(self, counts: np.ndarray, target: np.ndarray, maximum: float, *, threads: int = 1) -> None:
        self.samples, self.neurons = counts.shape
        self.active = np.flatnonzero(counts.any(axis=0))  # a neuron that never fires has no gradient
        if len(self.active) < self.neurons:
            counts = counts[:, self.active]
        total = counts.sum(axis=1, dtype=np.float64)
        scale = 1.0 / (np.where(total > 0, total, 1.0) * (maximum if maximum > 0 else 1.0))
        self.threads, begin = threads, 0
        self.blocks: list[tuple[Tensor, Tensor, Tensor]] = []
        for part in row_blocks(np.ascontiguousarray(counts)):
            rows = slice(begin, begin + len(part))
            column = torch.from_numpy(scale[rows, None].astype(np.float32))
            self.blocks.append((torch.from_numpy(_signed(part)), column, torch.from_numpy(target[rows])))
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


def _sums(
    blocks: list[tuple[Tensor, Tensor, Tensor]], weight: Tensor, bias: Tensor
) -> tuple[float, Tensor, Tensor]:
    """Sums over the samples of some blocks: loss, gradient (class, neuron) and slope (class,)."""
    loss, gradient, slope = 0.0, torch.zeros(weight.shape[1], weight.shape[0]), torch.zeros_like(bias)
    if not blocks:
        return loss, gradient, slope
    room = torch.empty(max(len(block[0]) for block in blocks), weight.shape[0])
    for counts, scale, target in blocks:
        x = room[: len(counts)].copy_(counts)
        log_p = torch.log_softmax((x @ weight) * scale + bias, 1)
        loss -= float((target * log_p).sum(dtype=torch.float64))
        error = log_p.exp() - target
        gradient.addmm_((error * scale).T, x)
        slope += error.sum(0)
    return loss, gradient, slope


def _signed(part: np.ndarray) -> np.ndarray:
    """Return numbers in a type that PyTorch converts fast: unsigned ones of more than a byte become int32."""
    if part.dtype.kind == "u" and part.dtype.itemsize > 1:
        return part.astype(np.int32)
    return part if part.flags.writeable else part.copy()
