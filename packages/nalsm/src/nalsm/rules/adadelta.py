"""What a training with Adadelta has reached: weights, accumulators of the optimiser, the best epoch so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from reprokit import Checkpoint
from torch import Tensor

from nalsm.model.readout import LinearReadout

ACCUMULATORS = ("square_avg", "acc_delta")


@dataclass
class AdadeltaState:
    """State between two epochs; saved and restored, a training goes on bit-equal.

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
        """Take over a checkpoint; None leaves the state as it is."""
        if checkpoint is None:
            return
        arrays = checkpoint.arrays
        self.weight, self.bias = torch.from_numpy(arrays["weight"]), torch.from_numpy(arrays["bias"])
        self.epoch, self.history = checkpoint.step, list(checkpoint.state["history"])
        keys = (*ACCUMULATORS, "step")
        self.accumulated = [
            {key: torch.tensor(arrays[f"{name}.{key}"]) for key in keys} for name in ("weight", "bias")
        ]
        if "best_weight" in arrays:
            self.best = arrays["best_weight"], arrays["best_bias"]
