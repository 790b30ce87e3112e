"""Learning-rate schedule and stopping rule of the original training loop.

A running mean of the training error starts at one and follows ``m ← 0.75 m + 0.25 error`` after each epoch.
With ``step="auto"``, an epoch whose error is not below the mean halves the rate, at most eight times; with an
integer ``k``, every k-th epoch halves it; with ``"none"``, it stays constant. Training ends early once the mean is ≤
1e-4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from reprokit import UserError

from bdfa.config import Step

HALVINGS_ALLOWED = 8
ZERO_ERROR = 1e-4
MEMORY = 0.75


@dataclass(frozen=True)
class ScheduleState:
    """State of the schedule after some epochs.

    Attributes:
        epoch: Epochs finished.
        rate: Learning rate of the next epoch.
        mean: Running mean of the training error, a fraction.
        halvings: Halvings made so far under ``step="auto"``.
        stopped: Whether training has ended.
    """

    epoch: int
    rate: float
    mean: float = 1.0
    halvings: int = 0
    stopped: bool = False


@dataclass(frozen=True)
class Schedule:
    """Rule that turns one epoch's training error into the next learning rate.

    Attributes:
        rate: Initial learning rate, > 0.
        epochs: Epochs to run at most, >= 0; -1: no limit; then only the stopping rule of ``step="auto"`` ends training.
        step: ``"none"``, ``"auto"`` or the number k of epochs between halvings.
        last_epoch_skipped: Profile ``faithful``: the original leaves its loop before epoch number
            ``epochs``, so 300 means 299 epochs. The default runs exactly ``epochs`` (DEV-23).

    Raises:
        UserError: For a rate, a number of epochs or a step outside its range.
    """

    rate: float
    epochs: int
    step: Step = "none"
    last_epoch_skipped: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise UserError(f"the learning rate must be a positive number, got {self.rate}.")
        if self.epochs < -1:
            raise UserError(f"epochs must be >= 0, or -1 for no limit, got {self.epochs}.")
        if self.step not in ("none", "auto") and not (isinstance(self.step, int) and self.step > 0):
            raise UserError(
                f"lr_step must be 'none', 'auto' or a positive number of epochs, got {self.step!r}."
            )

    @property
    def last_epoch(self) -> int | None:
        """Number of the last epoch that may run; None without a limit."""
        if self.epochs < 0:
            return None
        return max(self.epochs - 1, 0) if self.last_epoch_skipped else self.epochs

    def begin(self) -> ScheduleState:
        """State before the first epoch."""
        return ScheduleState(epoch=0, rate=self.rate, stopped=self.last_epoch == 0)

    def advance(self, state: ScheduleState, train_error: float) -> ScheduleState:
        """State after one more epoch.

        Args:
            state: State before that epoch.
            train_error: Fraction of training samples classified wrongly during the epoch, in [0, 1].

        Raises:
            UserError: When the error is not a fraction.
        """
        if not 0.0 <= train_error <= 1.0:
            raise UserError(f"train_error must be a fraction between 0 and 1, got {train_error}.")
        epoch = state.epoch + 1
        mean = MEMORY * state.mean + (1.0 - MEMORY) * train_error
        state = replace(state, epoch=epoch, mean=mean)
        if self.step == "auto":
            if state.halvings >= HALVINGS_ALLOWED:
                state = replace(state, stopped=True)
            elif mean > ZERO_ERROR and train_error >= mean:
                state = replace(state, rate=state.rate / 2, halvings=state.halvings + 1)
        elif self.step != "none" and epoch % self.step == 0:
            state = replace(state, rate=state.rate / 2)
        return replace(state, stopped=state.stopped or self._ends(epoch, mean))

    def _ends(self, epoch: int, mean: float) -> bool:
        # The original compares its integer options (none is -1, auto 0): the zero-error rule needs step <
        # epochs.
        number = -1 if self.step == "none" else 0 if self.step == "auto" else self.step
        zero_error_ends = self.step == "auto" or number < self.epochs
        return (zero_error_ends and mean <= ZERO_ERROR) or epoch == self.last_epoch
