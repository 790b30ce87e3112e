"""Which epoch's weights are kept, and when training stops.

`faithful` (DEV-16): a new best must beat the last one by 1 % of it, and every other epoch counts against the
patience, a small improvement included. `fixed`: any improvement of the validation accuracy is a new best.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

FIRST_BEST = 1e-5  # where the original starts
LEAST_GAIN = 0.01


@dataclass
class Selection:
    """Best epoch so far.

    Args:
        faithful: Which rule.
        patience: Epochs without a new best after which training stops.
        best: Validation accuracy of the best epoch.
        epoch: The best epoch, -1 before there is one.
        train_acc: Training accuracy of the best epoch.
        waited: Epochs since the best one.
    """

    faithful: bool
    patience: int
    best: float = -1.0
    epoch: int = -1
    train_acc: float = 0.0
    waited: int = 0

    def __post_init__(self) -> None:
        """Start the faithful rule at the original's first value."""
        if self.faithful and self.epoch < 0:
            self.best = FIRST_BEST

    def offer(self, epoch: int, validation_accuracy: float, train_accuracy: float) -> bool:
        """Tell whether this epoch is a new best, and remember it if so."""
        gain = validation_accuracy - self.best
        if gain > 0 and (not self.faithful or gain / self.best >= LEAST_GAIN):
            self.best, self.epoch, self.train_acc, self.waited = validation_accuracy, epoch, train_accuracy, 0
            return True
        self.waited += 1
        return False

    @property
    def exhausted(self) -> bool:
        """Whether the patience is used up."""
        return self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        """All fields, JSON-able."""
        return asdict(self)
