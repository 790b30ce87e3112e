"""The interface of a learning rule: the weights it trains, what it remembers, and a pass that leaves their gradients.

The three rules of the package use nothing else (`dalton.rules.RULES`). Your own rule is an object of this form,
given to `dalton.train_step` or made by ``--rule package.module:factory``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from reprokit import UserError
from reprokit.own_code import load_factory
from torch import Tensor

from dalton.model.network import SpikingCNN
from dalton.names import LOSSES, SETTINGS, Loss, Setting
from dalton.rules.workspace import Pass

METHODS = ("trained", "begin", "__call__")


class LearningRule(Protocol):
    """A learning rule.

    Attributes:
        name: Its name in messages and summaries.
        settings: Those for which it is defined, among bptt, online and rtrl.
        losses: Losses of class outputs for which it is defined, among mse and ce.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    @property
    def settings(self) -> Sequence[Setting]:
        """See the class."""
        ...

    @property
    def losses(self) -> Sequence[Loss]:
        """See the class."""
        ...

    def trained(self, network: SpikingCNN) -> Sequence[str]:
        """Return the names of the weights it trains, among those of the layers and ``out``."""
        ...

    def begin(self, network: SpikingCNN, samples: int) -> Any:
        """Return what the rule remembers from pass to pass of one sequence, `Pass.memory`; None for nothing.

        In online and rtrl, a batch is a sequence of passes, one per time-step. In bptt it is a single pass, and
        several threads may work on parts of the batch at once, so changing values belong in the memory.

        Args:
            network: The network.
            samples: Number of samples.
        """
        ...

    def __call__(self, work: Pass, x: Any) -> Tensor:
        """Run a pass forward and leave losses and gradients; returns class outputs (time, batch, class).

        Leaves ``work.gradients[name]``, the gradient of the loss with respect to each weight, in its shape, summed over
        samples and time-steps (`Pass.add_gradient`; none where ``work.need_gradients`` is False), and a loss for each
        layer that has one (`Pass.add_loss`).

        Args:
            work: Workspace of the pass: network, engine, layers, labels, memory.
            x: Encoder spikes, a signal in the engine's form; ``work.engine.dense`` turns it into (time, batch, channel,
                height, width).
        """
        ...


@dataclass(frozen=True)
class BuiltinRule:
    """A rule of this package: a function of a pass, and the settings and losses it is defined for."""

    name: str
    function: Callable[[Pass, Any], Tensor]
    settings: tuple[Setting, ...] = SETTINGS
    losses: tuple[Loss, ...] = LOSSES
    trains_out: bool = False

    def trained(self, network: SpikingCNN) -> list[str]:
        """Return the spiking layers, and ``out`` if it is trained too."""
        return [*network.layer_names, *(["out"] if self.trains_out else [])]

    def begin(self, network: SpikingCNN, samples: int) -> None:
        """Remember nothing; the training step keeps the traces of rtrl."""

    def __call__(self, work: Pass, x: Any) -> Tensor:
        """Run the function."""
        return self.function(work, x)


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
    if not isinstance(getattr(rule, "name", None), str):
        raise UserError(f"{source} has no name; give it one, a string.")
    for name, allowed in (("settings", SETTINGS), ("losses", LOSSES)):
        value = getattr(rule, name, None)
        if not isinstance(value, tuple | list) or not value or not set(value) <= set(allowed):
            raise UserError(f"{source} has {name} {value!r}; give some of {', '.join(allowed)}.")
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


def checked_pass(rule: LearningRule, work: Pass, x: Any) -> Tensor:
    """Run a pass of a rule; returns class outputs (time, batch, class).

    Raises:
        UserError: A user's own rule leaves outputs or gradients that do not fit the network.
    """
    outputs = rule(work, x)
    if isinstance(rule, BuiltinRule):
        return outputs
    network, trained = work.network, set(rule.trained(work.network))
    shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
    wanted = (len(work.labels), network.classes)
    if not isinstance(outputs, Tensor) or outputs.dim() != 3 or tuple(outputs.shape[1:]) != wanted:
        raise UserError(
            f"rule {rule.name!r} returns {shape}; give class outputs (time, {wanted[0]}, {wanted[1]})."
        )
    for name, gradient in work.gradients.items():
        if name not in trained:
            raise UserError(
                f"rule {rule.name!r} leaves a gradient of {name!r}, which its trained() does not name."
            )
        if gradient.shape != network.weight(name).shape:
            raise UserError(
                f"rule {rule.name!r} leaves a gradient of shape {tuple(gradient.shape)} for {name}; it must be "
                f"{tuple(network.weight(name).shape)}."
            )
    missing = sorted(trained - set(work.gradients)) if work.need_gradients else []
    if missing:
        raise UserError(
            f"rule {rule.name!r} leaves no gradient of {', '.join(missing)}, which its trained() names."
        )
    if unknown := sorted(set(work.losses) - set(network.layer_names)):
        raise UserError(
            f"rule {rule.name!r} leaves a loss of {unknown[0]!r}; the layers are {', '.join(network.layer_names)}."
        )
    return outputs
