r"""The rules of the table as `LearningRule` objects, the same form as your own rules.

`builtin_rule(name)` computes what ``FeedbackModel(rule=name)`` does, bit for bit and somewhat slower. Equations and
sources: `bdfa.rules.table`.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from reprokit import UserError
from torch import Tensor, nn

from bdfa.model.criteria import one_hot
from bdfa.rules.bdfa import check_target, feedback_gradient, masked_target
from bdfa.rules.initialisation import feedback_matrix
from bdfa.rules.protocol import LearningRule, Place, Seen
from bdfa.rules.table import RULES

NAMES = tuple(name for name in RULES if name != "bfa")


class LayerRule:
    """bp, fa, kolen-pollack, usf, frsf, brsf: F is W, random, learnt like W, or W's signs with other magnitudes."""

    family: Literal["layer", "direct"] = "layer"
    needs_labels = False

    def __init__(self, name: str) -> None:
        self.name = name

    def draw(self, place: Place, random: torch.Generator) -> Tensor | None:
        """Draw U(±1/√fan_in) if F has its own values."""
        if self.name not in ("fa", "frsf", "kolen-pollack"):
            return None
        bound = self._bound(place)
        drawn = torch.empty(place.shape, dtype=torch.float64).uniform_(-bound, bound, generator=random)
        return nn.Parameter(drawn) if self.name == "kolen-pollack" else drawn

    def matrix(self, place: Place, feedback: Tensor | None, weight: Tensor | None) -> Tensor:
        """Return F."""
        assert weight is not None
        if self.name == "bp":
            return weight
        if self.name in ("fa", "kolen-pollack"):
            assert feedback is not None
            return feedback
        sign = weight.sign()
        if self.name == "usf":
            return sign * (self._bound(place) / math.sqrt(3))
        if self.name == "frsf":
            assert feedback is not None
            return feedback.abs() * sign
        return torch.rand_like(sign) * self._bound(place) * sign

    def broadcast(self, error: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return the error; not called, as nothing is broadcast."""
        return error

    def learn(self, place: Place, feedback: Tensor | None, weight: Tensor | None, seen: Seen) -> None:
        """Learn nothing; the optimiser moves the parameter of kolen-pollack."""

    def _bound(self, place: Place) -> float:
        return 1 / math.sqrt(math.prod(place.shape[1:]))


class DirectRule:
    """dfa, sign-dfa, drtp, bdfa: the error, its sign or the target through B, which bdfa fits to the activity."""

    family: Literal["layer", "direct"] = "direct"

    def __init__(
        self,
        name: str,
        *,
        lr: float = 5e-5,
        target: str = "center",
        loss: str = "logistic",
        alpha: float = 0.25,
        criterion: str = "bce",
    ) -> None:
        check_target(target, loss)
        self.name, self.needs_labels = name, name in ("bdfa", "drtp")
        self.lr, self.target, self.loss, self.alpha, self.criterion = lr, target, loss, alpha, criterion

    def draw(self, place: Place, random: torch.Generator) -> Tensor:
        """Draw B from U(±1/√units)."""
        return feedback_matrix(*place.shape, random=random)

    def matrix(self, place: Place, feedback: Tensor | None, weight: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return B."""
        assert feedback is not None
        return feedback

    def broadcast(self, error: Tensor, labels: Tensor | None) -> Tensor:
        """Return e, its sign, or the one-hot target."""
        if self.name == "drtp":
            assert labels is not None
            return one_hot(labels, error.shape[1], error.dtype)
        return error.sign() if self.name == "sign-dfa" else error

    def learn(self, place: Place, feedback: Tensor | None, weight: Tensor | None, seen: Seen) -> None:  # noqa: ARG002
        """Take a step of bdfa, B ← B − lr dB; other rules do nothing."""
        if self.name != "bdfa":
            return
        assert feedback is not None
        assert seen.output is not None
        assert seen.labels is not None
        target = masked_target(
            self.target, seen.output.to(feedback.dtype), seen.labels, alpha=self.alpha,
            depth=place.total - place.number, probability=self.criterion,
        )  # fmt: skip
        gradient, _ = feedback_gradient(target, feedback, seen.activity.to(feedback.dtype), self.loss)
        feedback.add_(gradient, alpha=-self.lr)


def builtin_rule(name: str, **options: float | str) -> LearningRule:
    """Return a rule of the table as an object.

    Args:
        name: Any but bfa.
        options: For bdfa: lr, target, loss, alpha and criterion, see `FeedbackModel`.

    Raises:
        UserError: For another name.
    """
    if name not in NAMES:
        raise UserError(f"rule={name!r} has no such object; choose one of {', '.join(NAMES)}.")
    return DirectRule(name, **options) if RULES[name].family == "direct" else LayerRule(name)  # type: ignore[arg-type]
