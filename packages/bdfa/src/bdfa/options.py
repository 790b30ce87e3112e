"""What the options of a training run may be: lists of choices, ranges, and combinations that make no sense."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, get_args

from reprokit import UserError

if TYPE_CHECKING:
    from bdfa.config import TrainConfig

Rule = Literal["bp", "fa", "dfa", "bfa", "bdfa", "usf", "brsf", "frsf", "kolen-pollack", "sign-dfa", "drtp"]
Optimizer = Literal[
    "sgd", "rmsprop", "adam", "adamax", "adagrad", "adadelta", "asgd", "nag", "rprop"
]  # the Torch optim functions that work with stochastic gradients
Normalize = Literal["none", "scale", "simple", "channel", "image"]
Target = Literal["code", "logit", "onehot", "paper", "center"]

RULES: tuple[str, ...] = get_args(Rule)
IGNORES_MOMENTUM = ("rmsprop", "adam", "adamax", "adagrad", "adadelta", "asgd", "rprop")
HONOURS_RATE_DECAY = ("sgd", "adam", "adagrad", "nag")


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The allowed name most like ``name``, as a hint ``"; did you mean 'x'?"``, or nothing."""
    found = difflib.get_close_matches(name.lower(), {item.lower(): item for item in allowed}, 1, 0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _require(holds: bool, option: str, value: object, allowed: str) -> None:
    if not holds:
        raise UserError(f"--{option.replace('_', '-')} is {value!r}; it must be {allowed}.")


def check_ranges(config: TrainConfig) -> None:
    """Refuse values outside of what each option allows."""
    for name, allowed in _choices().items():
        value = getattr(config, name)
        if value is not None and value not in allowed:
            hint = nearest(str(value), allowed)
            _require(False, name, value, f"one of {', '.join(allowed)}{hint}")
    _require(bool(config.hidden), "hidden", config.hidden, "at least one width")
    _require(all(width > 0 for width in config.hidden), "hidden", config.hidden, "positive widths")
    for name in ("batch_size",):
        _require(getattr(config, name) >= 1, name, getattr(config, name), "a positive integer")
    for name in ("val_split", "angles_every", "checkpoint_steps"):
        _require(getattr(config, name) >= 0, name, getattr(config, name), "zero or a positive integer")
    for name in ("train_size", "threads"):
        value = getattr(config, name)
        _require(value is None or value >= 1, name, value, "a positive integer")
    for name in ("lr_decay", "weight_decay", "adv_eps", "fb_alpha", "fb_lr"):
        value = getattr(config, name)
        _require(value is None or (math.isfinite(value) and value >= 0), name, value, "a number >= 0")
    for name in ("max_norm_in", "max_norm_out"):
        value = getattr(config, name)
        _require(value is None or (math.isfinite(value) and value > 0), name, value, "a positive number")
    for name in ("p_in", "p_hidden", "p_conv", "momentum", "dampening"):
        value = getattr(config, name)
        _require(value is None or 0 <= value < 1, name, value, "at least 0 and less than 1")
    _require(math.isfinite(config.lr) and config.lr > 0, "lr", config.lr, "a positive number")
    _require(config.epochs >= -1, "epochs", config.epochs, "at least 0, or -1 for no bound")
    step = config.lr_step
    _require(isinstance(step, str) or step >= 1, "lr_step", step, "none, auto or a positive number of epochs")
    scale = config.fb_scale
    valid_scale = isinstance(scale, str) or (math.isfinite(scale) and scale > 0)
    _require(valid_scale, "fb_scale", scale, "auto or a positive number")
    _require(0 <= config.seed < 2**63, "seed", config.seed, "between 0 and 2**63 - 1")


def _choices() -> dict[str, tuple[str, ...]]:
    """Allowed values of the fields with a fixed list."""
    return {
        "rule": RULES,
        "profile": ("fixed", "faithful"),
        "batchnorm": ("none", "all", "conv2"),
        "dropout": ("none", "full", "input", "conv"),
        "init": ("auto", "uniform", "zero"),
        "fb_dist": ("uniform", "normal", "orthogonal"),
        "fb_target": get_args(Target),
        "fb_loss": ("logistic", "mse"),
        "fb_order": ("sequential", "simultaneous"),
        "loss": ("bce", "ce"),
        "reduction": ("auto", "sum", "mean"),
        "optim": get_args(Optimizer),
        "adv_mode": ("replace", "accumulate"),
        "adv_clean_rule": ("bp", "same"),
        "normalize": get_args(Normalize),
        "zero_variance": ("error", "one"),
        "color": ("rgb", "yuv"),
        "whiten": ("none", "zca", "pca"),
        "engine": ("auto", "module", "fast"),
        "dtype": ("float32", "float64"),
    }


def check_combinations(config: TrainConfig) -> None:
    """Refuse options that contradict each other or have no effect."""
    if not config.faithful and config.momentum > 0 and config.optim in IGNORES_MOMENTUM:
        raise UserError(
            f"--momentum {config.momentum:g} has no effect with --optim {config.optim}; use sgd or nag, "
            "leave it out, or take --profile faithful, where it is ignored as in the original."
        )
    if not config.faithful and config.lr_decay > 0 and config.optim not in HONOURS_RATE_DECAY:
        raise UserError(
            f"--lr-decay {config.lr_decay:g} has no effect with --optim {config.optim}; use "
            f"{', '.join(HONOURS_RATE_DECAY)}, leave it out, or take --profile faithful."
        )
    if config.optim == "nag" and config.momentum == 0:
        raise UserError("--optim nag needs --momentum above 0.")
    if config.rule == "bfa" and config.model != "mlp":
        raise UserError(
            f"--rule bfa is defined for the mlp only, not for --model {config.model}; use bdfa, or build a "
            "FeedbackModel with your own feedback module."
        )
    if config.resume is not None and config.init_from is not None:
        raise UserError("--resume and --init-from exclude each other; resume already brings the weights.")
