"""The two ways to take a training step: autograd for any network, :class:`FastMLP` for perceptrons.

Both train a list of networks (the module engine a list of one), return the scores of the step, and save and
restore their whole state as arrays. The training loop does not know which of them it uses.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from reprokit import UserError
from reprokit.config import derived_seed
from torch import Tensor, nn

from bdfa.config import TrainConfig
from bdfa.data.loading import Portion
from bdfa.engines.build import build_criterion, build_model, build_optimiser, dropout_probabilities
from bdfa.engines.fast_mlp import FastMLP
from bdfa.engines.fast_signals import GenerativeSignals
from bdfa.engines.resident_step import ResidentStep
from bdfa.model.networks import NONLINEARITIES
from bdfa.rules.adversarial import adversarial_backward
from bdfa.rules.bfa import GenerativeFeedback
from bdfa.rules.feedback_model import FeedbackModel
from bdfa.rules.max_norm import renorm, renorm_original

FAST_RULES = ("bp", "fa", "dfa", "bdfa", "bfa", "sign-dfa", "drtp")
FAST_OPTIMISERS = ("sgd", "rmsprop", "adam")
Arrays = dict[str, np.ndarray]
State = dict[str, Any]


class Engine(Protocol):
    """What the training loop needs."""

    models: list[FeedbackModel]

    def step(self, images: Tensor, labels: Tensor, number: int) -> Tensor:
        """Train on one batch; returns the scores (network, sample, class) before the update."""
        ...

    def scores(self, images: Tensor) -> Tensor:
        """Scores (network, sample, class) in evaluation mode."""
        ...

    def resident(
        self, portion: Portion, batch_size: int, note: Callable[[Tensor, Tensor], None]
    ) -> ResidentStep | None:
        """A step on a portion of the data by sample indices, for a GPU; None where `step` is used.

        Args:
            portion: Data on the networks' device.
            batch_size: Samples of a batch; others go to `step`.
            note: Called with the scores of each step as `step` returns them, and the labels; works in place.
        """
        ...

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next steps."""
        ...

    def optimiser_state(self) -> tuple[Arrays, State]:
        """State of the optimisers: tensors, and numbers."""
        ...

    def load_optimiser_state(self, arrays: Arrays, state: State) -> None:
        """Continue from a state of the optimisers."""
        ...


def fast_obstacle(config: TrainConfig) -> str:
    """Say why the fast engine cannot run a configuration; empty if it can."""
    reasons = {
        f"--model {config.model}": config.model != "mlp",
        f"--rule {config.rule}": config.rule not in FAST_RULES,
        f"--act {config.act}": config.act not in NONLINEARITIES,
        f"--optim {config.optim}": config.optim not in FAST_OPTIMISERS,
        "batch normalisation": config.batchnorm != "none",
        "dropout": any(dropout_probabilities(config)),
        "--adv-eps": config.adv_eps > 0,
        "max-norm limits": config.max_norm_in is not None or config.max_norm_out is not None,
        "--no-bias under --profile faithful": config.faithful and not config.bias,
        "--no-decay-bias": config.weight_decay > 0 and not config.decay_bias,
        "--compile": config.compile,
    }
    return ", ".join(name for name, holds in reasons.items() if holds)


def make_engine(
    configs: Sequence[TrainConfig], input_shape: tuple[int, ...], classes: int, device: torch.device
) -> Engine:
    """Make the engine that trains some networks of one shape together.

    Raises:
        UserError: When ``engine="fast"`` or several networks are combined with an option that only the module engine
            has.
    """
    first = configs[0]
    obstacle = fast_obstacle(first)
    if obstacle and (first.engine == "fast" or len(configs) > 1):
        raise UserError(
            f"the fast engine does not support {obstacle}; use --engine module, one network at a time."
        )
    models = [build_model(config, input_shape, classes, device) for config in configs]
    if first.engine == "module" or obstacle:
        return ModuleEngine(first, models[0])
    return FastEngine(configs, models)


class ModuleEngine:
    """Any network, by ``loss.backward(); optimiser.step()``.

    Args:
        config: Options of the run.
        model: Its wrapped network.
    """

    def __init__(self, config: TrainConfig, model: FeedbackModel) -> None:
        self.config, self.models = config, [model]
        self.criterion = build_criterion(config, model)
        self.optimiser = build_optimiser(config, model.forward_parameters(), config.lr)
        self.optimisers = [self.optimiser]
        if isinstance(model.feedback, GenerativeFeedback):
            fb_lr = config.resolved_fb_lr()
            model.feedback.optimiser = build_optimiser(config, model.feedback.weights, fb_lr)
            self.optimisers.append(model.feedback.optimiser)
        random = any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules())
        self.random = random or config.rule == "brsf"
        self.forward: Any = torch.compile(model) if config.compile else model

    def step(self, images: Tensor, labels: Tensor, number: int) -> Tensor:
        """Train on one batch, see :class:`Engine`."""
        config, model = self.config, self.models[0]
        model.train()
        if self.random:
            torch.manual_seed(derived_seed(config.seed, "step", number))
        self.optimiser.zero_grad(set_to_none=True)
        limited = config.max_norm_in is not None or config.max_norm_out is not None
        if config.adv_eps > 0:
            scores = adversarial_backward(
                model, self.criterion, images, labels, eps=config.adv_eps,
                accumulate=config.adv_mode == "accumulate", clean_rule=config.adv_clean_rule,
            ).scores  # fmt: skip
        else:
            scores = self.forward(images, labels=labels)
            loss = self.criterion(scores, labels)
            if limited and config.faithful:
                weights = [parameter.data for parameter in model.forward_parameters()]
                renorm_original(weights, config.max_norm_in or 0.0, config.max_norm_out or 0.0)
            loss.backward()
        self.optimiser.step()
        if limited and (not config.faithful or config.adv_eps > 0):
            renorm(model.forward_parameters(), incoming=config.max_norm_in, outgoing=config.max_norm_out)
        if config.faithful and not config.bias:
            _zero_biases(model)
        return scores.detach()[None]

    def resident(
        self, portion: Portion, batch_size: int, note: Callable[[Tensor, Tensor], None]
    ) -> ResidentStep | None:
        """Return None: autograd needs every step, see :class:`Engine`."""
        del portion, batch_size, note
        return None

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Scores in evaluation mode, see :class:`Engine`."""
        self.models[0].eval()
        return self.models[0](images)[None]

    def set_rate(self, rate: float) -> None:
        """Set the rate of the weights and, in proportion, of a feedback network."""
        share = rate / self.config.lr
        for optimiser, base in zip(
            self.optimisers, (self.config.lr, self.config.resolved_fb_lr()), strict=False
        ):
            for group in optimiser.param_groups:
                fixed = self.config.faithful and self.config.optim == "asgd"
                group["lr"] = group["lr"] if fixed else base * share

    def optimiser_state(self) -> tuple[Arrays, State]:
        """State of the optimisers, see :class:`Engine`."""
        arrays: Arrays = {}
        state: State = {}
        for number, optimiser in enumerate(self.optimisers):
            for index, values in optimiser.state_dict()["state"].items():
                for key, value in values.items():
                    name = f"{number}/{index}/{key}"
                    if isinstance(value, Tensor):
                        arrays[name] = value.cpu().numpy().copy()
                    else:
                        state[name] = value
        return arrays, state

    def load_optimiser_state(self, arrays: Arrays, state: State) -> None:
        """Continue from a state of the optimisers."""
        for number, optimiser in enumerate(self.optimisers):
            full = optimiser.state_dict()
            entries: dict[int, dict[str, Any]] = {}
            for name, value in {**arrays, **state}.items():
                owner, index, key = name.split("/", 2)
                if int(owner) == number:
                    tensor = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
                    entries.setdefault(int(index), {})[key] = tensor
            optimiser.load_state_dict({**full, "state": entries})


@torch.no_grad()
def _zero_biases(model: FeedbackModel) -> None:
    for module in model.model.modules():
        bias = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter):
            bias.zero_()


class FastEngine:
    """Perceptrons of one shape trained together without a graph.

    Args:
        configs: Options, equal but for rule, seed and feedback.
        models: Their wrapped networks.
    """

    def __init__(self, configs: Sequence[TrainConfig], models: list[FeedbackModel]) -> None:
        self.configs, self.models = list(configs), models
        first = configs[0]
        momentum = first.momentum if first.optim == "sgd" else 0.0
        self.fast = FastMLP(
            models, optimiser=first.optim, lr=first.lr, momentum=momentum, dampening=first.dampening,
            weight_decay=first.weight_decay, lr_decay=first.lr_decay if first.optim != "rmsprop" else 0.0,
            feedback_optimiser=first.optim, criterion=build_criterion(first, models[0]),
            batch_size=first.batch_size, check=False,
        )  # fmt: skip

    def step(self, images: Tensor, labels: Tensor, number: int) -> Tensor:
        """Train on one batch, see :class:`Engine`."""
        del number
        return self._joint(self.fast.step(images, labels))

    def resident(
        self, portion: Portion, batch_size: int, note: Callable[[Tensor, Tensor], None]
    ) -> ResidentStep | None:
        """On a GPU, a step as one CUDA graph, see :class:`Engine`; elsewhere, and with augmentation, None."""
        if portion.labels.device.type != "cuda" or portion.pending is not None or len(portion) < batch_size:
            return None
        return ResidentStep(
            self.fast,
            portion.images,
            portion.labels,
            batch_size=batch_size,
            note=lambda scores, labels: note(self._joint(scores), labels),
        )

    def scores(self, images: Tensor) -> Tensor:
        """Scores in evaluation mode, see :class:`Engine`."""
        scores = self._joint(self.fast.forward(images))
        # a copy: the next call overwrites the buffer
        return torch.log_softmax(scores, -1) if self.fast.log_probabilities else scores.clone()

    def _joint(self, scores: Tensor) -> Tensor:
        return scores[None] if scores.dim() == 2 else scores

    def set_rate(self, rate: float) -> None:
        """Set the rate of the weights and, in proportion, of feedback networks."""
        self.fast.lr = rate
        for part, rule in self.fast.groups:
            if isinstance(rule, GenerativeSignals):
                config = self.configs[part.start]
                rule.update.lr = config.resolved_fb_lr() * rate / config.lr

    def optimiser_state(self) -> tuple[Arrays, State]:
        """State of the optimisers, see :class:`Engine`."""
        arrays: Arrays = {}
        state: State = {}
        for part, values in self.fast.state_dict().items():
            for key, value in values.items():
                if isinstance(value, Tensor):
                    arrays[f"{part}/{key}"] = value.cpu().numpy().copy()
                else:
                    state[f"{part}/{key}"] = value
        return arrays, state

    def load_optimiser_state(self, arrays: Arrays, state: State) -> None:
        """Continue from a state of the optimisers."""
        device = next(self.models[0].parameters()).device
        states: dict[str, dict[str, Any]] = {}
        for name, value in {**arrays, **state}.items():
            part, key = name.split("/", 1)
            moved = torch.from_numpy(value).to(device) if isinstance(value, np.ndarray) else value
            states.setdefault(part, {})[key] = moved
        self.fast.load_state_dict(states)


def model_arrays(models: Sequence[FeedbackModel]) -> Arrays:
    """Weights, feedback and batch-norm statistics of all networks, named ``network/parameter``."""
    return {
        f"{index}/{name}": value.detach().cpu().numpy().copy()
        for index, model in enumerate(models)
        for name, value in model.state_dict().items()
    }


def load_model_arrays(models: Sequence[FeedbackModel], arrays: Arrays, source: object) -> None:
    """Copy weights and feedback into networks of the same shapes, in place.

    Raises:
        UserError: When names or shapes differ.
    """
    for index, model in enumerate(models):
        prefix = f"{index}/"
        found = {
            name.removeprefix(prefix): torch.from_numpy(value)
            for name, value in arrays.items()
            if name.startswith(prefix)
        }
        try:
            model.load_state_dict(found)
        except RuntimeError as error:
            detail = " ".join(str(error).split())[:300]
            raise UserError(
                f"{source} does not fit this network ({detail}); use a run of the same network."
            ) from error


def warn_engine(config: TrainConfig) -> None:
    """Warn once when a perceptron takes the slower engine because of an option."""
    obstacle = fast_obstacle(config)
    if config.engine == "auto" and config.model == "mlp" and obstacle:
        warnings.warn(f"the fast engine does not support {obstacle}; training with autograd.", stacklevel=3)
