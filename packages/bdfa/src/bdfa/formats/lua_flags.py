"""The original program's command line, ``-dataset MNIST -network mlp.lua``, as a :class:`TrainConfig`.

Spelling, defaults and meaning are those of the original (profile ``faithful``). Where it silently used another
value (relu for an unknown nonlinearity, ce for an unknown criterion, bp for an unknown gradient), this parser
refuses.

Two programs share this vocabulary. In bdfa-torch, the default here, ``-gradient dfa`` (its default too) is
bidirectional direct feedback alignment: rule ``bdfa`` with the target ``code``. In dfa-torch, the older program it was
made from, it is plain DFA; ``--program dfa-torch`` gives that meaning.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reprokit import UserError
from reprokit.config import nearest

from bdfa.config import Step, TrainConfig

DATASETS = {"MNIST": "mnist", "Cifar10": "cifar10", "Cifar100": "cifar100", "STL10": "stl10", "SVHN": "svhn"}
VALIDATION = {"mnist": 10_000, "cifar10": 10_000, "cifar100": 10_000}
NETWORKS = {"mlp.lua": "mlp", "mlp": "mlp", "conv.lua": "conv", "conv": "conv"}
NO_LIMIT = 400.0

Values = dict[str, Any]


def _text(flag: str, value: str) -> str:
    if not value:
        raise UserError(f"-{flag} needs a value.")
    return value


def _integer(flag: str, value: str) -> int:
    number = _number(flag, value)
    if number != int(number):
        raise UserError(f"-{flag} is {value!r}; it must be an integer.")
    return int(number)


def _number(flag: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise UserError(f"-{flag} is {value!r}; it must be a number.") from error
    if not math.isfinite(number):
        raise UserError(f"-{flag} is {value!r}; it must be finite.")
    return number


def _one_of(choices: Mapping[str, Any] | Sequence[str]) -> Callable[[str, str], Any]:
    table = dict(choices) if isinstance(choices, Mapping) else {choice: choice for choice in choices}

    def parse(flag: str, value: str) -> Any:
        if value not in table:
            hint = nearest(value, table)
            raise UserError(f"-{flag} is {value!r}; it must be one of {', '.join(table)}{hint}.")
        return table[value]

    return parse


_boolean = _one_of({"true": True, "false": False, "1": True, "0": False})
_digit = _one_of({"0": 0, "1": 1})
_digit2 = _one_of({"0": 0, "1": 1, "2": 2})

# our own options, with two dashes
OURS: dict[str, Callable[[str, str], Any]] = {
    "program": _one_of(("bdfa-torch", "dfa-torch")),
    "zero-variance": _one_of(("error", "one")),
}

#: flag -> (default, parser); the order of the original's help.
FLAGS: dict[str, tuple[Any, Callable[[str, str], Any]]] = {
    "modelsFolder": ("./Models/", _text),
    "network": ("mlp", _one_of(NETWORKS)),
    "criterion": ("bce", _one_of(("bce", "ce"))),
    "eps": (0.0, _number),
    "dropout": (0, _digit2),
    "batchnorm": (0, _digit2),
    "nonlin": ("tanh", _one_of({"tanh": "tanh", "sigm": "sigmoid", "relu": "relu"})),
    "num_layers": (2, _integer),
    "num_hidden": (800, _integer),
    "bias": (1, _digit),
    "rfb_mag": (0.0, _number),
    "LR": (1e-4, _number),
    "LRDecay": (0.0, _number),
    "weightDecay": (0.0, _number),
    "momentum": (0.0, _number),
    "batchSize": (64, _integer),
    "optimization": (
        "rmsprop",
        _one_of(("sgd", "rmsprop", "adam", "adamax", "adagrad", "adadelta", "asgd", "nag", "rprop")),
    ),
    "epoch": (300, _integer),
    "epoch_step": (-1, _integer),
    "gradient": ("dfa", _one_of(("bp", "fa", "dfa", "bfa", "bdfa"))),
    "maxInNorm": (NO_LIMIT, _number),
    "maxOutNorm": (NO_LIMIT, _number),
    "accGradient": (0, _digit),
    "threads": (None, _integer),
    "type": (None, _one_of(("float", "cuda"))),
    "devid": (1, _integer),
    "nGPU": (1, _integer),
    "constBatchSize": (False, _boolean),
    "load": (None, _text),
    "save": (None, _text),
    "dataset": ("mnist", _one_of(DATASETS)),
    "datapath": (None, _text),
    "normalization": ("scale", _one_of(("simple", "scale", "channel", "image"))),
    "format": ("rgb", _one_of(("rgb", "yuv"))),
    "whiten": (False, _boolean),
    "augment": (False, _boolean),
    "preProcDir": (None, _text),
    "validate": (False, _boolean),
    "visualize": (0, _digit),
    "seed": (1, _integer),  # the original has none
}
PROGRAMS: dict[str, Mapping[str, str]] = {
    "bdfa-torch": {"dfa": "bdfa"},
    "dfa-torch": {},
}  # program -> its names of rules that are called differently here
BARE = ("whiten", "augment", "validate", "constBatchSize")  # may be given without a value


def parse_flags(arguments: Sequence[str]) -> TrainConfig:
    """Read a command line in the original's spelling.

    Args:
        arguments: What follows ``th Main.lua``, e.g. ``["-dataset", "MNIST", "-LR", "1e-4"]``. ``-flag
            value``,
            ``-flag=value`` and two dashes are understood. ``--program bdfa-torch`` (default) or ``dfa-torch``
            says whose vocabulary they use; ``--zero-variance one`` is that of ``bdfa train``.

    Returns:
        The equivalent configuration, profile ``faithful``.

    Raises:
        UserError: For an unknown flag or value (with the nearest known one), or one given twice.
    """
    values: Values = {name: default for name, (default, _) in FLAGS.items()}
    given: set[str] = set()
    remaining = list(arguments)
    if remaining[:1] and remaining[0].endswith("Main.lua"):
        remaining.pop(0)
    while remaining:
        name, value = _take(remaining)
        if name in given:
            raise UserError(f"-{name} is given twice.")
        given.add(name)
        parse = OURS[name] if name in OURS else FLAGS[name][1]
        values[name] = parse(name, value)
    rules = PROGRAMS[values.pop("program", "bdfa-torch")]
    values["gradient"] = rules.get(values["gradient"], values["gradient"])
    return _to_config(values, given)


def _take(remaining: list[str]) -> tuple[str, str]:
    word = remaining.pop(0)
    name, equals, value = word.lstrip("-").partition("=")
    if not word.startswith("-") or name not in (*FLAGS, *OURS):
        hint = nearest(name, FLAGS) if word.startswith("-") else "; flags begin with - and take one value"
        raise UserError(f"{word!r} is not a flag of the original program{hint}.")
    if equals:
        return name, value
    if name in BARE and (not remaining or remaining[0].lower() not in ("true", "false", "0", "1")):
        return name, "true"
    if not remaining:
        raise UserError(f"-{name} needs a value.")
    return name, remaining.pop(0)


def _to_config(values: Values, given: set[str]) -> TrainConfig:
    if values["nGPU"] != 1:
        raise UserError(
            f"-nGPU is {values['nGPU']}; only one device is supported (the original's was broken)."
        )
    if values["network"] == "mlp" and values["num_layers"] < 1:
        raise UserError(f"-num_layers is {values['num_layers']}; it must be at least 1.")
    number: int = values["epoch_step"]
    step: Step = "auto" if number == 0 else "none" if number == -1 else number
    if number < -1:
        raise UserError(f"-epoch_step is {number}; it must be -1 (none), 0 (auto) or a positive number.")
    return TrainConfig(
        profile="faithful",
        rule=values["gradient"],
        seed=values["seed"],
        loss=values["criterion"],
        adv_eps=values["eps"],
        adv_mode="accumulate" if values["accGradient"] else "replace",
        optim=values["optimization"],
        lr=values["LR"],
        lr_decay=values["LRDecay"],
        lr_step=step,
        weight_decay=values["weightDecay"],
        momentum=values["momentum"],
        batch_size=values["batchSize"],
        drop_last=values["constBatchSize"],
        epochs=values["epoch"],
        fb_scale=values["rfb_mag"] or "auto",
        **_norms(values),
        **_network(values),
        **_data(values),
        **_running(values, given),
    )


def _norms(values: Values) -> Values:
    """The names mean the opposite of what they say. The limits act only if one of them is below 400; <= 0 is off."""
    active = min(values["maxInNorm"], values["maxOutNorm"]) < NO_LIMIT
    limits = {"max_norm_in": values["maxOutNorm"], "max_norm_out": values["maxInNorm"]}
    return {name: limit if active and limit > 0 else None for name, limit in limits.items()}


def _network(values: Values) -> Values:
    convolutional = values["network"] == "conv"
    dropout = ("none", "full", "conv" if convolutional else "input")[values["dropout"]]
    batchnorm = ("none", "all", "conv2" if convolutional else "all")[values["batchnorm"]]
    return {
        "model": values["network"],
        "hidden": (values["num_hidden"],) * max(values["num_layers"], 1),
        "act": values["nonlin"],
        "bias": bool(values["bias"]),
        "dropout": dropout,
        "batchnorm": batchnorm,
    }


def _data(values: Values) -> Values:
    held_out = 0
    if values["validate"]:
        held_out = VALIDATION.get(values["dataset"], 0)
        if not held_out:
            warnings.warn(
                f"-validate has no effect on {values['dataset']}, as in the original.", stacklevel=4
            )
    return {
        "dataset": values["dataset"],
        "data_dir": Path(values["datapath"]) if values["datapath"] else None,
        "normalize": values["normalization"],
        "zero_variance": values.get("zero-variance", "error"),
        "color": values["format"],
        "whiten": "zca" if values["whiten"] else "none",
        "augment": values["augment"],
        "cache_dir": Path(values["preProcDir"]) if values["preProcDir"] else None,
        "val_split": held_out,
    }


def _running(values: Values, given: set[str]) -> Values:
    device = "auto"
    if values["type"] == "float":
        device = "cpu"
    elif values["type"] == "cuda" or "devid" in given:
        device = f"cuda:{values['devid'] - 1}"
    return {
        "device": device,
        "threads": values["threads"],
        "init_from": Path(values["load"]) if values["load"] else None,
        "out": Path(values["save"]) if values["save"] else None,
        "visualize": bool(values["visualize"]),
    }


def usage() -> str:
    """Return one line per flag with its default, for ``bdfa th -help``."""
    head = "bdfa th [Main.lua] -flag value ...   (the original program's flags; see bdfa train for ours)"
    return "\n".join(
        [
            head,
            *(
                f"  -{name:<14} {'false' if d is False else 'automatic' if d is None else d}"
                for name, (d, _) in FLAGS.items()
            ),
            "  --program       bdfa-torch (-gradient dfa is its BDFA); dfa-torch: the older program's plain DFA",
            "  --zero-variance one: pixels that never vary (MNIST's borders, -normalization image) are divided by one",
        ]
    )
