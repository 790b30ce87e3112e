r"""`FeedbackModel`: any network, trained by any rule, with ``loss.backward(); optimizer.step()``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from reprokit import UserError
from reprokit.config import derived_seed
from torch import Tensor, nn

from bdfa.checks import real, whole
from bdfa.model import forks  # noqa: F401  # forked children compute with one thread
from bdfa.model.criteria import check_labels
from bdfa.model.networks import example_input as network_example
from bdfa.model.outputs import Path, put, score_path, take
from bdfa.rules.bdfa import FeedbackLearner, check_target
from bdfa.rules.bfa import OUTPUTS, GenerativeFeedback, attach_generative_feedback
from bdfa.rules.conversion import (
    convert,
    convert_layer,
    convert_layer_own,
    convert_own,
    plain_layers,
    revert,
)
from bdfa.rules.dfa import BoundRule, DirectFeedback, FanIn, follow_loss_scale
from bdfa.rules.distributed import group_of_pass, share
from bdfa.rules.fa import feedback_layers, forward_weights
from bdfa.rules.initialisation import Distribution, generator
from bdfa.rules.isolation import (
    check_layers,
    check_pieces,
    check_widths,
    hand_on,
    refusing_reentrant_checkpoints,
    runs_late,
    warn_of_copies,
)
from bdfa.rules.protocol import LearningRule, Place
from bdfa.rules.table import Rule, get_rule
from bdfa.rules.tap_choice import TapChoice, choose_taps, probe, tap_widths
from bdfa.rules.taps import Recorder, tap

BDFA_RATE, BFA_RATE = (
    5e-5,
    1e-4,
)  # steps of the learning feedback: the original's constant, and the weights' default


def attach_feedback(
    model: nn.Module,
    rule: Rule | LearningRule,
    *,
    criterion: str,
    profile: str,
    scale: float,
    lr: float | None,
    target: str | None,
    loss: str,
    alpha: float,
    manual: bool,
    order: str,
    output: str,
    feedback: GenerativeFeedback | None,
    seed: int | None,
) -> tuple[DirectFeedback | GenerativeFeedback | None, FeedbackLearner | None]:
    """Give a network the feedback of its rule, in place; the arguments are those of `FeedbackModel`.

    Returns:
        (feedback module or None, learner of the direct feedback or None).

    Raises:
        UserError: For an object that is not a module, a network that already has feedback or that the rule
            cannot train, or options out of range.
    """
    _check_network(model)
    if feedback is not None and rule.family != "bidirectional":
        raise UserError(f"feedback= is for rule 'bfa'; rule {rule.name!r} makes its own.")
    if not isinstance(rule, Rule):
        if rule.family == "direct":
            follow_loss_scale()
            return DirectFeedback(), None
        convert_own(model, rule, seed=seed, first=profile == "faithful" and _starts_with_convolution(model))
        return None, None
    if rule.family == "direct":
        if rule.source != "error":
            follow_loss_scale()
        if not rule.learns_feedback:
            return DirectFeedback(), None
        return DirectFeedback(), FeedbackLearner(
            target=target or ("code" if profile == "faithful" else "center"), loss=loss,
            lr=BDFA_RATE if lr is None else lr, alpha=alpha, criterion=criterion, manual=manual,
        )  # fmt: skip
    if rule.family == "layer":
        faithful = profile == "faithful"
        first = faithful and _starts_with_convolution(model)
        convert(model, rule.name, scale=scale, seed=seed, first=first, copy=faithful)
    elif rule.family == "bidirectional":
        rate = BFA_RATE if lr is None else lr
        return attach_generative_feedback(
            model, feedback, seed=seed, scale=scale, order=order, output=output, lr=rate, manual=manual
        ), None
    return None, None


def _check_network(model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise UserError(f"model is a {type(model).__name__}; give a torch.nn.Module.")
    carrying = list(feedback_layers(model))
    if carrying:
        raise UserError(
            f"layer {carrying[0]!r} already carries a feedback weight; wrap a fresh copy of the network (copy.deepcopy "
            "it before the first FeedbackModel or convert)."
        )


def _starts_with_convolution(model: nn.Module) -> bool:
    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    return bool(layers) and isinstance(layers[0], nn.Conv2d)


Profile = Literal["fixed", "faithful"]


class FeedbackModel(nn.Module):
    """Wrap a network so that its gradients are those of a learning rule.

    The network is changed in place (taps or feedback layers); its parameters and their names stay. Feedback
    matrices are buffers below ``feedback``, so they are saved but never seen by an optimiser.

    Args:
        model: Network returning logits (batch, class) or (batch, time, class), alone, first in a tuple, or named
            ``logits`` in a dictionary or dataclass, as Hugging Face networks do.
        rule: Name of a rule, see `bdfa.rules.table`, or a `bdfa.rules.LearningRule` of your own, which draws
            its own feedback; the options feedback_*, target_scale and feedback are for named rules only.
        taps: Feedback points of the direct rules: ``"auto"``, layer names, or ``taps(name, module) -> bool``.
        example: An input batch (or tuple or dictionary of inputs) to find shapes with; if it is missing and the
            network does not state ``input_shape``, the first forward pass is used.
        criterion: ``"bce"`` or ``"ce"``, the loss applied to the scores. It decides the probability in target
            ``"paper"`` and, under ``faithful`` with ``"ce"``, appends a log-softmax whose gradient is
            broadcast (DEV-2).
        profile: ``"fixed"``, or ``"faithful"`` for the original's behaviour.
        feedback_scale: Half-width X of the feedback's range (original ``rfb_mag``); 0 is automatic.
        feedback_distribution: Distribution of direct feedback, see `feedback_matrix`.
        feedback_lr: Step of the learning feedback; default 5e-5 for bdfa, 1e-4 for bfa.
        feedback_target: Target of bdfa, see `bdfa.rules.bdfa`; default ``"center"``, under ``faithful``
            ``"code"``.
        feedback_loss: ``"logistic"`` or ``"mse"`` (bdfa).
        feedback_alpha: Weight of the output in the targets of bdfa.
        feedback_update: ``"auto"`` updates bdfa inside ``backward`` and bfa once the optimiser has moved the
            weights; ``"manual"`` collects gradients until `feedback_step`.
        feedback_order: bfa: ``"sequential"`` (the feedback learns through the new weights) or
            ``"simultaneous"``.
        feedback_output: bfa: nonlinearity at the generated input, ``"identity"``, or ``"sigmoid"`` for inputs in 0..1.
        feedback: bfa: a `GenerativeFeedback` of your own.
        target_scale: drtp: factor of the one-hot target.
        seed: Seed of all feedback; None takes one from torch's global generator.

    Raises:
        UserError: For unknown names, unusable taps, or a network the rule cannot train.

    Example:
        >>> import bdfa, torch
        >>> model = bdfa.FeedbackModel(bdfa.mlp(4, (8,), 3), rule="dfa")
        >>> logits = model(torch.zeros(2, 4))
        >>> bdfa.Criterion("bce")(logits, torch.tensor([0, 1])).backward()
    """

    def __init__(
        self,
        model: nn.Module,
        rule: str | Rule | LearningRule = "dfa",
        *,
        taps: TapChoice = "auto",
        example: Tensor | tuple[Any, ...] | Mapping[str, Any] | None = None,
        criterion: str = "bce",
        profile: Profile = "fixed",
        feedback_scale: float = 0.0,
        feedback_distribution: Distribution = "uniform",
        feedback_lr: float | None = None,
        feedback_target: str | None = None,
        feedback_loss: str = "logistic",
        feedback_alpha: float = 0.25,
        feedback_update: Literal["auto", "manual"] = "auto",
        feedback_order: Literal["sequential", "simultaneous"] = "sequential",
        feedback_output: Literal["identity", "sigmoid"] = "identity",
        feedback: GenerativeFeedback | None = None,
        target_scale: float = 1.0,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        self.rule = get_rule(rule)
        self._own = None if isinstance(self.rule, Rule) else self.rule
        _check_option("criterion", criterion, ("bce", "ce"))
        _check_option("profile", profile, ("fixed", "faithful"))
        _check_option("feedback_update", feedback_update, ("auto", "manual"))
        _check_option("feedback_order", feedback_order, ("sequential", "simultaneous"))
        _check_option("feedback_output", feedback_output, OUTPUTS)
        target_scale = real("target_scale", target_scale)
        feedback_scale = real("feedback_scale", feedback_scale, least=0)
        _check_option("feedback_distribution", feedback_distribution, ("uniform", "normal", "orthogonal"))
        if feedback_lr is not None:
            feedback_lr = real("feedback_lr", feedback_lr, least=0)
        if seed is not None:
            seed = whole("seed", seed, 0, 2**64 - 1)
        if feedback_target is not None or feedback_loss != "logistic":
            check_target(feedback_target or "center", feedback_loss)
        self.model, self.criterion, self.profile = model, criterion, profile
        self.log_probabilities = profile == "faithful" and criterion == "ce"
        self.target_scale = target_scale
        self._taps, self._recorder, self._ready = taps, Recorder(), False
        self._bypass = False
        self._learning: frozenset[Path] = frozenset()  # places in the output that depend on weights
        self._started = False  # whether the constructor is done
        self._group: Any = None  # ranks that share the feedback
        self._checked: set[bool] = set()  # modes whose first pass has been checked
        self._labelled: set[bool] = set()  # modes whose first labels have been checked
        self._draw: dict[str, Any] = {"scale": feedback_scale, "distribution": feedback_distribution}
        self._seed = seed
        self.feedback, self.learner = attach_feedback(
            model, self.rule, criterion=criterion, profile=profile, scale=feedback_scale, lr=feedback_lr,
            target=feedback_target, loss=feedback_loss, alpha=feedback_alpha,
            manual=feedback_update == "manual", order=feedback_order, output=feedback_output,
            feedback=feedback, seed=seed,
        )  # fmt: skip
        shapes = network_example(model) if example is None else example
        if shapes is not None and not isinstance(shapes, Tensor | tuple | list | Mapping):
            raise UserError(
                f"example is a {type(shapes).__name__}; give an input batch, or a tuple or dictionary of inputs."
            )
        if shapes is not None:
            try:
                named = dict(shapes) if isinstance(shapes, Mapping) else {}
                self._prepare(
                    () if named else (shapes,) if isinstance(shapes, Tensor) else tuple(shapes), named
                )
            except UserError:
                if self.rule.family == "layer":
                    revert(model)
                raise
        self._started = True

    @property
    def tap_names(self) -> list[str]:
        """Layers that carry a feedback point, from the input up; empty before the first forward pass."""
        return list(self.feedback.names) if isinstance(self.feedback, DirectFeedback) else []

    def forward_parameters(self) -> list[nn.Parameter]:
        """Parameters of the network itself; the ones to give an optimiser."""
        return list(self.model.parameters())

    def forward(self, *inputs: Any, labels: Tensor | None = None, **keywords: Any) -> Any:
        """Run the network.

        Args:
            inputs: Inputs of the network.
            labels: Class indices, shape of the scores without the class dimension; needed in training by
                rules that use the label (bfa, bdfa, drtp). -100 marks scores that are left out. They are not
                passed to the network.
            keywords: Keyword arguments of the network.

        Returns:
            What the network returns, with the rule's class scores in it: logits, or log-probabilities under
            ``faithful`` with ce. A tuple, dictionary or dataclass stays what it is. Under direct rules, a loss
            on anything but the scores is refused in its backward pass.

        Raises:
            UserError: When labels are missing or wrong, or the network cannot be tapped (first pass).
        """
        if not self._ready:
            self._prepare(inputs, keywords)
        if not torch.compiler.is_compiling():
            self._join_ranks()
        if self._bypass or self.rule.family == "backpropagation" or not torch.is_grad_enabled():
            return self._run(inputs, keywords)[0]
        if self.rule.family == "layer":
            output, _, scores = self._run(inputs, keywords)
            if self.training not in self._checked and not torch.compiler.is_compiling():
                check_layers(self.model, scores)
                self._checked.add(self.training)
            return output
        if isinstance(self.feedback, GenerativeFeedback):
            return self._forward_generative(self.feedback, inputs, labels, keywords)
        return self._forward_direct(inputs, labels, keywords)

    def _join_ranks(self) -> None:
        """In the first pass inside a DDP wrapper, take over the feedback of its first rank.

        Raises:
            UserError: For bfa, whose feedback network would learn on each rank by itself.
        """
        group = group_of_pass()
        if group is self._group or group is None:
            return
        if self._own is not None:
            raise UserError(
                f"rule {self._own.name!r} is your own and would learn on each rank of DistributedDataParallel by "
                "itself; train it on one device."
            )
        if isinstance(self.feedback, GenerativeFeedback):
            raise UserError(
                "rule 'bfa' cannot run under DistributedDataParallel: its feedback network would learn on each rank by "
                "itself; train it on one device, or use rule='bdfa'."
            )
        if isinstance(self.feedback, DirectFeedback):
            share(self.feedback.matrices, group)
        layers = feedback_layers(self.model).values()
        share([layer.feedback for layer in layers if hasattr(layer, "feedback")], group)  # type: ignore[misc]
        self._group = group

    def _run(self, inputs: Any, keywords: dict[str, Any]) -> tuple[Any, Path, Tensor]:
        """The network's output, the place of its scores, and the scores, as log-probabilities where asked for."""
        output = self.model(*inputs, **keywords)
        path = score_path(output)
        scores = take(output, path)
        if self.log_probabilities:
            scores = torch.log_softmax(scores, -1)
            output = put(output, path, scores)
        return output, path, scores

    def _forward_direct(self, inputs: Any, labels: Tensor | None, keywords: dict[str, Any]) -> Any:
        assert isinstance(self.feedback, DirectFeedback)
        compiling = torch.compiler.is_compiling()
        with ExitStack() as stack:
            if self.training not in self._checked and not compiling:
                stack.enter_context(refusing_reentrant_checkpoints(self.model))
            recorded = stack.enter_context(self._recorder.recording("cut"))
            output, path, scores = self._run(inputs, keywords)
            self._recorder.check_untouched()
        if not compiling:
            values = (*inputs, *keywords.values())
            check_pieces(self.model, scores, recorded, self.feedback.names, values)
            self._checked.add(self.training)
        labels = self._needed_labels(labels, scores, (*inputs, *keywords.values()))
        activations = [recorded[name] for name in self.feedback.names]
        matrices = [matrix.data for matrix in self.feedback.matrices]
        if not compiling:
            check_widths(self.feedback.names, activations, matrices, scores.dim() - 1)
        if self._own is not None:
            bound = BoundRule(self._own, self.feedback.places(), self.training)
            ruled = FanIn.apply(self._own, bound, len(matrices), labels, scores, *activations, *matrices)
            return hand_on(output, path, ruled, self._learning)  # type: ignore[arg-type]
        assert isinstance(self.rule, Rule)
        if self.rule.source == "target" and self.target_scale != 1.0:
            matrices = [matrix * self.target_scale for matrix in matrices]
        learner = None
        if self.learner is not None and self.training:
            learner = self.learner.bind(matrices, group_of_pass() if not compiling else None)
        source = self.rule.source
        ruled = FanIn.apply(source, learner, len(matrices), labels, scores, *activations, *matrices)
        return hand_on(output, path, ruled, self._learning)  # type: ignore[arg-type]

    def _forward_generative(
        self, feedback: GenerativeFeedback, inputs: Any, labels: Tensor | None, keywords: dict[str, Any]
    ) -> Tensor:
        if not self.training:
            return self._run(inputs, keywords)[0]
        feedback.catch_up()
        _, _, scores = self._run(inputs, keywords)
        labels = self._needed_labels(labels, scores, ())
        learner = feedback.bind(*inputs, *keywords.values())
        return FanIn.apply("error", learner, 0, labels, scores)  # type: ignore[no-any-return]

    def _needed_labels(self, labels: Tensor | None, scores: Tensor, inputs: Sequence[Any]) -> Tensor | None:
        """Checked flat labels; None where the pass needs none. In evaluation mode they are optional."""
        target = isinstance(self.rule, Rule) and self.rule.source == "target"
        optional = not self.training and (labels is None or not (target or self._own))
        if not self.rule.needs_labels or optional:
            return None
        if labels is None:
            raise UserError(
                f"rule {self.rule.name!r} uses the labels while training; call model(inputs, labels=labels)."
            )
        check_labels(labels, scores.shape[-1], scores.shape[:-1])
        if self.training not in self._labelled and not torch.compiler.is_compiling():
            self._labelled.add(self.training)
            warn_of_copies(inputs, labels)
        return labels.reshape(-1).long()

    def _prepare(self, inputs: Any, keywords: dict[str, Any]) -> None:
        """Run `_build`, outside of the graph when compiling; a decorator would cost every import 2 seconds."""
        if torch.compiler.is_compiling():
            torch._dynamo.graph_break()
            torch.compiler.disable(self._build)(inputs, keywords)  # type: ignore[reportCallIssue]
        else:
            self._build(inputs, keywords)

    def _build(self, inputs: Any, keywords: dict[str, Any]) -> None:
        """Find the taps and draw their matrices; runs once."""
        if isinstance(self.feedback, DirectFeedback):
            seen = probe(self.model, inputs, keywords)
            self._learning = seen.learning
            places = choose_taps(self.model, seen, self._taps)
            widths, classes = tap_widths(places, seen), seen.scores.shape[-1]
            like = next(self.model.parameters())
            random = generator(self._seed)
            self.feedback.build(list(places), widths, classes, like, self._own, random=random, **self._draw)
            for name, place in places.items():
                tap(self.model.get_submodule(name), self._recorder, name, place)
        elif not isinstance(self.feedback, GenerativeFeedback):
            lazy = self._started
            with forward_weights(self.model):  # brsf would draw random numbers
                scores = probe(self.model, inputs, keywords).scores
                check_layers(self.model, scores)
            if self.rule.family == "layer":
                self._convert_late(scores, lazy)
        self._ready = True

    def _convert_late(self, scores: Tensor, lazy: bool) -> None:
        """Give feedback to the first registered layer too, if it is not the first to run."""
        for name, layer in plain_layers(self.model).items():
            if not runs_late(self.model, layer, scores):
                continue
            if lazy and (self._own or self.rule.name == "kolen-pollack"):
                raise UserError(
                    f"layer {name!r} is registered first but runs behind others, so its feedback, a parameter, would "
                    "come after the optimiser was made; give example= an input batch."
                )
            seed = None if self._seed is None else derived_seed(self._seed, "late layer", name)
            if self._own is not None:
                count = len(feedback_layers(self.model)) + 1
                place = Place(name, count - 1, count, tuple(layer.weight.shape))  # type: ignore[union-attr]
                convert_layer_own(layer, self._own, place, generator(seed))
                continue
            convert_layer(
                layer, self.rule.name, self._draw["scale"], generator(seed), copy=self.profile == "faithful"
            )

    def feedback_step(self) -> None:
        """Apply the collected feedback gradients now (bdfa and bfa; others have none)."""
        if self.learner is not None and isinstance(self.feedback, DirectFeedback):
            self.learner.step(self.feedback.matrices)
        elif isinstance(self.feedback, GenerativeFeedback):
            self.feedback.step()

    @contextmanager
    def true_gradient(self, *, first_layer: bool = True) -> Iterator[None]:
        """Inside the ``with`` block ``backward`` computes ordinary back-propagation.

        Args:
            first_layer: False leaves the first feedback layer on its own feedback weight, as the original's
                container does in adversarial steps (profile ``faithful``, DEV-6).
        """
        before, self._bypass = self._bypass, True
        with ExitStack() as stack:
            stack.enter_context(forward_weights(self.model, 0 if first_layer else 1))
            try:
                yield
            finally:
                self._bypass = before

    @contextmanager
    def activations(self) -> Iterator[dict[str, Tensor]]:
        """Inside the ``with`` block forward passes are ordinary and the tapped activations are recorded."""
        with self.true_gradient(), self._recorder.recording("keep") as recorded:
            yield recorded

    def generate(self, labels: Tensor) -> Tensor:
        """Images that the feedback network of bfa generates from labels, shape (labels, *input).

        Raises:
            UserError: For another rule, or labels out of range.
        """
        if not isinstance(self.feedback, GenerativeFeedback):
            raise UserError(f"rule {self.rule.name!r} has no generative feedback; only 'bfa' can generate.")
        return self.feedback.generate(labels)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles forget the ranks and share again in their first pass."""
        return {**super().__getstate__(), "_group": None}  # type: ignore[misc]

    def state_dict(self, *args: Any, **keywords: Any) -> Any:
        """Weights and feedback; bfa first applies a feedback phase that is due."""
        if isinstance(self.feedback, GenerativeFeedback):
            self.feedback.catch_up()
        return super().state_dict(*args, **keywords)

    def feedback_names(self) -> list[str]:
        """Names of the layers that own layer feedback (rules fa, usf, ...)."""
        return list(feedback_layers(self.model))


def _check_option(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{name}={value!r} is unknown; choose one of {', '.join(map(repr, allowed))}.")
