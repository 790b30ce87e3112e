"""Time courses epsilon_t of the update step, one factor per spike."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from reprokit import UserError
from torch import Tensor

from sbs.checks import choice, real, whole

Kind = Literal["constant", "cooldown", "power"]


@dataclass(frozen=True)
class TimeCourse:
    """A rule that gives epsilon_t for any number of spikes.

    * ``constant``: 1
    * ``cooldown``: 1, divided by ``reduction`` from spike ``after`` on; a negative ``after`` never damps
    * ``power``: (t + 1)^-exponent, then the cooldown if ``after`` is 0 or more

    The original's default ``after`` = 0 damps every spike (DEV-1); here cooling down is off by default.

    Attributes:
        kind: Name of the rule.
        after: Index of the first damped spike.
        reduction: Divisor of damped spikes, greater than 0.
        exponent: Exponent of ``power``.
    """

    kind: Kind = "constant"
    after: int = -1
    reduction: float = 25.0
    exponent: float = 0.5

    def __post_init__(self) -> None:
        choice("epsilon_t", self.kind, ("constant", "cooldown", "power"))
        whole("epsilon_t: after", self.after, -(2**62))
        real("epsilon_t: reduction", self.reduction, above=0)
        real("epsilon_t: exponent", self.exponent)

    def values(self, number_of_spikes: int) -> Tensor:
        """Return epsilon_t, float32 ``(spike,)``."""
        course = torch.ones(whole("number_of_spikes", number_of_spikes, 1), dtype=torch.float32)
        if self.kind == "power":
            time = torch.arange(1, number_of_spikes + 1, dtype=torch.float64)
            course = (time**-self.exponent).to(torch.float32)
        if self.kind != "constant" and 0 <= self.after < number_of_spikes:
            course[self.after :] /= self.reduction
        return course


def as_time_course(value: Any) -> TimeCourse | Tensor:
    """Return a rule, or the float32 ``(spike,)`` values of a given array.

    Args:
        value: A `TimeCourse`, the name of one, or one number per spike, all greater than 0.

    Raises:
        UserError: A wrong type or shape, or a value that is not finite and greater than 0.
    """
    if isinstance(value, TimeCourse):
        return value
    if isinstance(value, str):
        choice("epsilon_t", value, ("constant", "cooldown", "power"))
        return TimeCourse(value)  # type: ignore[arg-type]
    try:
        tensor = torch.as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"epsilon_t must be a time course or an array of numbers ({error})") from error
    if tensor.dim() != 1 or not len(tensor) or tensor.is_complex():
        raise UserError(f"epsilon_t has shape {tuple(tensor.shape)}; it must be (spikes,), at least one")
    tensor = tensor.to(torch.float32)
    if not bool((tensor.isfinite() & (tensor > 0)).all()):
        raise UserError("epsilon_t holds a value that is not finite and greater than 0")
    return tensor.clone()
