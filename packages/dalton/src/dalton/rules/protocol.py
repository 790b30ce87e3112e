"""What a learning rule is: which weights it trains, what it remembers, and one pass that leaves their gradients.

The three rules of the package use nothing else (`dalton.rules.RULES`). A rule of your own is an object of this form,
for `dalton.train_step`, or what ``--rule package.module:factory`` makes.
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
        name: What messages and summaries call it.
        settings: In which it is defined, among bptt, online and rtrl.
        losses: Of class outputs it is defined for, among mse and ce.
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

        Online and in rtrl a batch has one sequence of passes, a time-step each. In bptt it has one pass, and parts of a
        batch are worked on in several threads at once: what changes belongs into the memory.

        Args:
            network: The network.
            samples: Samples side by side.
        """
        ...

    def __call__(self, work: Pass, x: Any) -> Tensor:
        """Run a pass forward and leave losses and gradients; returns class outputs (time, batch, class).

        Leaves ``work.gradients[name]``, the gradient of the loss with respect to each weight, in its shape, summed over
        samples and time-steps (`Pass.add_gradient`; none where ``work.need_gradients`` is False), and a loss for each
        layer that has one (`Pass.add_loss`).

        Args:
            work: Workspace of the pass: network, engine, layers, labels, memory.
            x: Encoder spikes, a signal in the engine's form; ``work.engine.dense`` gives (time, batch, channel, height,
                width).
        """
        ...


@dataclass(frozen=True)
class BuiltinRule:
    """A rule of this package: a function of a pass, and what it is defined for."""

    name: str
    function: Callable[[Pass, Any], Tensor]
    settings: tuple[Setting, ...] = SETTINGS
    losses: tuple[Loss, ...] = LOSSES
    trains_out: bool = False

    def trained(self, network: SpikingCNN) -> list[str]:
        """Return the spiking layers, and ``out`` where it is trained too."""
        return [*network.layer_names, *(["out"] if self.trains_out else [])]

    def begin(self, network: SpikingCNN, samples: int) -> None:
        """Remember nothing; the traces of rtrl are kept by the training step."""

    def __call__(self, work: Pass, x: Any) -> Tensor:
        """Run the function."""
        return self.function(work, x)


def check_rule(rule: Any, source: str) -> LearningRule:
    """Return a learning rule whose members are there.

    Args:
        rule: The object.
        source: Where it is from, the beginning of the message.

    Raises:
        UserError: A method or an attribute is missing or impossible.
    """
    lacking = [name for name in METHODS if not callable(getattr(rule, name, None))]
    if isinstance(rule, type) or lacking:
        what = (
            "is a class" if isinstance(rule, type) else f"is a {type(rule).__name__} without {lacking[0]}()"
        )
        raise UserError(f"{source} {what}; give an object with the methods {', '.join(METHODS)}.")
    if not isinstance(getattr(rule, "name", None), str):
        raise UserError(f"{source} has no name; give it one, a text.")
    for name, allowed in (("settings", SETTINGS), ("losses", LOSSES)):
        value = getattr(rule, name, None)
        if not isinstance(value, tuple | list) or not value or not set(value) <= set(allowed):
            raise UserError(f"{source} has {name} {value!r}; give some of {', '.join(allowed)}.")
    return rule


def load_rule(path: str) -> LearningRule:
    """Return what the factory ``package.module:factory`` makes, called without arguments.

    Raises:
        UserError: It cannot be imported or called, or makes no learning rule.
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
        UserError: A rule of the user's own leaves outputs or gradients that do not fit the network.
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
