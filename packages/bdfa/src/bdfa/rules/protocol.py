r"""The interface of a learning rule: four methods define the feedback, and what becomes of the error on its way down.

A rule belongs to one of two families. With ``"layer"``, every `nn.Linear` and `nn.Conv2d` but the first to run sends
its error back through its own matrix F instead of its weights W,

    dW = δ^T x,    dx = δ F,    F = matrix(feedback, W),

with ``"direct"``, the error e of the output goes to every tapped layer at once,

    signal at h_k = broadcast(e, y) B_k,    B_k = matrix(feedback).

`draw` makes the feedback once, `learn` changes it after each backward pass. `bdfa.rules.builtin` has the rules
of `bdfa.rules.table` in this form; the engines compute the same numbers faster. bfa is the exception: its
feedback is a second network that generates the whole input from the labels, so no layer or tap has a matrix to return.
That network learns through the updated forward weights, after the optimiser's step, when no method of this interface is
called.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol

import torch
from reprokit import UserError
from reprokit.own_code import load_factory
from torch import Tensor

METHODS = ("draw", "matrix", "broadcast", "learn")


class Place(NamedTuple):
    """Where feedback enters a network.

    Attributes:
        name: The layer's, or the tap's.
        number: Its position, counted from 0 at the input.
        total: Number of places.
        shape: Shape of the matrix: that of W, (out, in) or (out, in/groups, height, width); direct rules: (class,
            unit).
    """

    name: str
    number: int
    total: int
    shape: tuple[int, ...]


class Seen(NamedTuple):
    """What a place saw in one pass; none of it carries a gradient.

    Attributes:
        activity: Layer rules: the layer's input x (sample, ...). Direct rules: h_k, (sample, unit).
        error: Layer rules: δ at the layer's output. Direct rules: what `broadcast` returned, (sample, class).
        output: Direct rules: the network's scores o, (sample, class); None in layer rules.
        labels: Direct rules: class indices, int64 (sample,), -100 where a sample is left out, or None; None in layer
            rules.
    """

    activity: Tensor
    error: Tensor
    output: Tensor | None = None
    labels: Tensor | None = None


class LearningRule(Protocol):
    """A learning rule of your own: an object for `FeedbackModel`, or ``--rule package.module:factory``.

    Attributes:
        name: Its name in messages and summaries.
        family: ``"layer"`` or ``"direct"``, see the module.
        needs_labels: Whether a training pass needs ``labels=``; direct rules only.
    """

    name: str
    family: Literal["layer", "direct"]
    needs_labels: bool

    def draw(self, place: Place, random: torch.Generator) -> Tensor | None:
        """Return the feedback of a place before the first pass, or None if the place keeps none.

        Args:
            place: The place; called from the input up.
            random: Source of all random numbers, seeded by the run.

        Returns:
            A tensor, which is saved with the network; a `torch.nn.Parameter` of the weight's shape also gets the
            gradient of the weight (layer rules).
        """
        ...

    def matrix(self, place: Place, feedback: Tensor | None, weight: Tensor | None) -> Tensor:
        """Return the matrix that the error goes through, of shape ``place.shape``.

        Args:
            place: The place.
            feedback: What `draw` returned, as `learn` has changed it.
            weight: Layer rules: the layer's current weight, without autograd history. Direct rules: None.
        """
        ...

    def broadcast(self, error: Tensor, labels: Tensor | None) -> Tensor:
        """Return the signal sent to all taps, (sample, class); direct rules only.

        Args:
            error: e = ∂loss/∂scores, (sample, class).
            labels: Class indices, int64 (sample,), or None.
        """
        ...

    def learn(self, place: Place, feedback: Tensor | None, weight: Tensor | None, seen: Seen) -> None:
        """Change the feedback in place after a training pass has sent its signal; called without gradients."""
        ...


def is_own(rule: object) -> bool:
    """Tell whether an object is a `LearningRule`, and not a name or a class."""
    return not isinstance(rule, type) and all(callable(getattr(rule, name, None)) for name in METHODS)


def check_rule(rule: Any, source: str) -> LearningRule:
    """Return a learning rule after checking that it is complete.

    Args:
        rule: The object.
        source: Where it comes from; the message begins with this.

    Raises:
        UserError: A method or an attribute is missing or invalid.
    """
    lacking = [name for name in METHODS if not callable(getattr(rule, name, None))]
    if isinstance(rule, type) or lacking:
        what = (
            "is a class" if isinstance(rule, type) else f"is a {type(rule).__name__} without {lacking[0]}()"
        )
        raise UserError(f"{source} {what}; give an object with the methods {', '.join(METHODS)}.")
    for name, allowed in (("family", ("layer", "direct")), ("needs_labels", (True, False))):
        if getattr(rule, name, None) not in allowed:
            shown = " or ".join(map(repr, allowed))
            raise UserError(f"{source} has {name}={getattr(rule, name, None)!r}; it must be {shown}.")
    if not isinstance(getattr(rule, "name", None), str):
        raise UserError(f"{source} has no name; give it one, a string.")
    return rule


def load_rule(path: str) -> LearningRule:
    """Return what the factory ``package.module:factory`` makes, called without arguments.

    Raises:
        UserError: It cannot be imported or called, or does not return a learning rule.
    """
    factory = load_factory(path, "--rule")
    try:
        made = factory()
    except TypeError as error:
        raise UserError(
            f"--rule {path} cannot be called without arguments ({error}); give one that can."
        ) from error
    return check_rule(made, f"--rule {path}: what it returns")


def drawn(rule: LearningRule, place: Place, random: torch.Generator) -> Tensor | None:
    """Return the checked feedback of a place.

    Raises:
        UserError: `draw` did not return a tensor.
    """
    feedback = rule.draw(place, random)
    if feedback is not None and not isinstance(feedback, Tensor):
        raise UserError(
            f"rule {rule.name!r}: draw returns a {type(feedback).__name__}; give a tensor, or None."
        )
    return feedback


def checked_matrix(
    rule: LearningRule, place: Place, feedback: Tensor | None, weight: Tensor | None
) -> Tensor:
    """Return the matrix of a place.

    Raises:
        UserError: It has the wrong shape.
    """
    found = rule.matrix(place, feedback, weight)
    if not isinstance(found, Tensor) or tuple(found.shape) != place.shape:
        shape = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise UserError(
            f"rule {rule.name!r}: matrix of {place.name} is {shape}; it must have shape {place.shape}."
        )
    return found
