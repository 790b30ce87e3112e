"""The original program's configuration files (JSON with comments), read unchanged and checked key by key.

One object with the sub-objects ``network_structure``, ``learning_parameters``, ``augmentation`` and
``image_statistics``. Comments (``//``, ``#``, ``/* */``) and trailing commas are allowed, as the original's
reader allowed them. An unknown key is an error that names the nearest valid one. Two versions of the original
wrote such files: V1 (2022-05-01) and V1.1 (2022-05-08); `OriginalConfig.dialect` says to which one a file
belongs.
"""

import difflib
import json
import math
import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from reprokit.errors import UserError

from sbs.formats.json_comments import strip_comments

Dialect = Literal["v1", "v1.1"]

V11_KEYS = frozenset(
    {
        "results_path",
        "augmentation.use_on_off_filter",
        "learning_parameters.lr_scheduler_use_performance",
        "learning_parameters.lr_scheduler_tau_w",
        "learning_parameters.lr_scheduler_tau_eps_xy",
    }
)

V2_KEYS = ("layer_type", "epoch_id", "epoch_id_max")
V2_PRESETS = {"MNIST_FASHION": "mnist-v2 --data.source fashion-mnist", "CIFAR10": "cifar10-v2"}


@dataclass(frozen=True)
class NetworkStructure:
    """One list entry per layer; the length of ``is_pooling_layer`` is the number of layers."""

    number_of_output_neurons: int = 0
    forward_neuron_numbers: list[list[int]] = field(default_factory=list)
    is_pooling_layer: list[bool] = field(default_factory=list)
    forward_kernel_size: list[list[int]] = field(default_factory=list)
    strides: list[list[int]] = field(default_factory=list)
    dilation: list[list[int]] = field(default_factory=list)
    padding: list[list[int]] = field(default_factory=list)
    w_trainable: list[bool] = field(default_factory=list)
    eps_xy_trainable: list[bool] = field(default_factory=list)
    eps_xy_mean: list[bool] = field(default_factory=list)


@dataclass(frozen=True)
class LearningParameters:
    """Loss, optimiser and schedule.

    A learning rate <= 0 means torch's 1e-3, a patience <= 0 means no schedule.
    """

    learning_active: bool = True
    loss_coeffs_mse: float = 0.5
    loss_coeffs_kldiv: float = 1.0
    optimizer_name: str = "Adam"
    learning_rate_gamma_w: float = -1.0
    learning_rate_gamma_eps_xy: float = -1.0
    learning_rate_threshold_w: float = 1e-5
    learning_rate_threshold_eps_xy: float = 1e-5
    lr_schedule_name: str = "ReduceLROnPlateau"
    lr_scheduler_use_performance: bool = True
    lr_scheduler_factor_w: float = 0.75
    lr_scheduler_patience_w: int = -1
    lr_scheduler_tau_w: int = 10
    lr_scheduler_factor_eps_xy: float = 0.75
    lr_scheduler_patience_eps_xy: int = -1
    lr_scheduler_tau_eps_xy: int = 10
    number_of_batches_for_one_update: int = 1
    overload_path: str = "./Previous"
    weight_noise_amplitude: float = 0.01
    eps_xy_intitial: float = 0.1
    test_every_x_learning_steps: int = 50
    test_during_learning: bool = True
    alpha_number_of_iterations: int = 0


@dataclass(frozen=True)
class OriginalAugmentation:
    """Crop width per side in pixels, flip probability and the four colour jitter amplitudes."""

    crop_width_in_pixel: int = 2
    flip_p: float = 0.5
    jitter_brightness: float = 0.5
    jitter_contrast: float = 0.1
    jitter_saturation: float = 0.1
    jitter_hue: float = 0.15
    use_on_off_filter: bool = True


@dataclass(frozen=True)
class ImageStatistics:
    """Mean per channel and size after the crop; the program fills both, files leave them empty."""

    mean: list[float] = field(default_factory=list)
    the_size: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class OriginalConfig:
    """One configuration file of the original.

    ``given`` has the dotted names of the keys that the file really contains, because defaults differ between V1
    and V1.1.
    """

    network_structure: NetworkStructure = field(default_factory=NetworkStructure)
    learning_parameters: LearningParameters = field(default_factory=LearningParameters)
    augmentation: OriginalAugmentation = field(default_factory=OriginalAugmentation)
    image_statistics: ImageStatistics = field(default_factory=ImageStatistics)
    data_mode: str = ""
    data_path: str = "./"
    batch_size: int = 500
    learning_step: int = 0
    learning_step_max: int = 10000
    number_of_cpu_processes: int = -1
    number_of_spikes: int = 0
    cooldown_after_number_of_spikes: int = 0
    reduction_cooldown: float = 25.0
    epsilon_0: float = 1.0
    update_after_x_batch: float = 1.0
    weight_path: str = "./Weights/"
    eps_xy_path: str = "./EpsXY/"
    results_path: str = "./Results"
    dialect: Dialect = "v1"
    given: frozenset[str] = frozenset()

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.network_structure.is_pooling_layer)

    @property
    def threads(self) -> int:
        """Number of threads; values below 1 mean all cores of this computer."""
        return self.number_of_cpu_processes if self.number_of_cpu_processes >= 1 else (os.cpu_count() or 1)

    @property
    def batches_per_update(self) -> int:
        """Batches whose gradients are added up before the weights change.

        V1 updates after ``batch_size * update_after_x_batch`` patterns; V1.1 counts
        ``number_of_batches_for_one_update``.
        """
        if self.dialect == "v1.1":
            return self.learning_parameters.number_of_batches_for_one_update
        return max(1, math.ceil(self.update_after_x_batch))

    @property
    def on_off(self) -> bool:
        """Whether images are split into on and off channels (V1: always)."""
        return self.augmentation.use_on_off_filter


def read_original(path: str | Path, dialect: Dialect | None = None) -> OriginalConfig:
    """Read one configuration file of the original program.

    Args:
        path: The JSON file.
        dialect: Force "v1" or "v1.1"; by default V1.1 if the file has a key or schedule that only V1.1
            knows.

    Raises:
        UserError: A missing or malformed file, an unknown key, a wrong type, a wrong list length or an invalid value.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the configuration {path}: {error}") from error
    return parse_original(text, source=str(path), dialect=dialect)


def parse_original(
    text: str, source: str = "configuration", dialect: Dialect | None = None
) -> OriginalConfig:
    """Parse the text of a configuration file; see `read_original`."""
    try:
        data = json.loads(strip_comments(text), object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as error:
        raise UserError(f"{source}, line {error.lineno}: not valid JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, or endless brackets
        raise UserError(f"{source}: not valid JSON ({error})") from error
    except _DuplicateKeyError as error:
        raise UserError(
            f"{source}: the key {error.args[0]!r} appears twice in one object; keep one"
        ) from error
    if not isinstance(data, dict):
        raise UserError(f"{source}: expected one JSON object {{...}}, found {type(data).__name__}")
    _refuse_version_2(data, source)
    given: set[str] = set()
    values = _object(OriginalConfig, data, "", source, given)
    found: Dialect = dialect or ("v1.1" if _is_v11(values, given) else "v1")
    if found == "v1.1" and "cooldown_after_number_of_spikes" not in given:
        values["cooldown_after_number_of_spikes"] = -1
    config = OriginalConfig(**values, dialect=found, given=frozenset(given))
    check_original(config, source)
    return config


def _refuse_version_2(data: Mapping[str, Any], source: str) -> None:
    """Name the preset that replaces a file of the original's second version."""
    parts = [data, *(part for part in data.values() if isinstance(part, dict))]
    if found := next((key for key in V2_KEYS for part in parts if key in part), None):
        name = V2_PRESETS.get(str(data.get("data_mode")), "mnist-v2")
        raise UserError(
            f"{source}: the key {found!r} belongs to the original's second version, whose files are not read; its "
            f"network is the preset {name}, for example sbs train {name}"
        )


class _DuplicateKeyError(Exception):
    pass


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _DuplicateKeyError(key)
        result[key] = value
    return result


def _object(kind: type, data: Mapping[str, Any], prefix: str, source: str, given: set[str]) -> dict[str, Any]:
    """Return the checked constructor arguments of ``kind`` found in ``data``."""
    hints = get_type_hints(kind)
    valid = [item.name for item in fields(kind) if item.name not in ("dialect", "given")]
    values: dict[str, Any] = {}
    for key, value in data.items():
        name = prefix + key
        if key not in valid:
            raise UserError(f"{source}: unknown key {name!r}; {_nearest(key, prefix, valid)}")
        given.add(name)
        hint = hints[key]
        if is_dataclass(hint):
            if not isinstance(value, dict):
                raise UserError(f"{source}: {name} must be an object {{...}}, not {value!r}")
            values[key] = hint(**_object(hint, value, name + ".", source, given))  # type: ignore[operator]
        else:
            values[key] = _value(hint, value, name, source)
    return values


def _nearest(key: str, prefix: str, valid: list[str]) -> str:
    """Return half a sentence: the section to which a misplaced key belongs, or the most similar valid key."""
    sections = {"": OriginalConfig} | {
        name + ".": hint for name, hint in get_type_hints(OriginalConfig).items() if is_dataclass(hint)
    }
    for section, kind in sections.items():
        if section != prefix and key in {item.name for item in fields(kind)}:
            return f"it belongs in {section.rstrip('.') or 'the top level'}"
    (best,) = difflib.get_close_matches(key, valid, n=1, cutoff=0.0)
    return f"the nearest valid key is {prefix + best!r}"


def _value(hint: Any, value: Any, name: str, source: str) -> Any:
    if get_origin(hint) is list:
        if not isinstance(value, list):
            raise UserError(f"{source}: {name} must be a list, not {value!r}")
        (inner,) = get_args(hint)
        return [_value(inner, item, f"{name}[{index}]", source) for index, item in enumerate(value)]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number:
        if not math.isfinite(value):
            raise UserError(f"{source}: {name} must be finite, not {value!r}")
        return float(value)
    if hint is int and number and float(value).is_integer():
        return int(value)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    expected = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}[hint]
    raise UserError(f"{source}: {name} must be {expected}, not {value!r}")


def _is_v11(values: Mapping[str, Any], given: set[str]) -> bool:
    learning = values.get("learning_parameters", LearningParameters())
    return bool(V11_KEYS & given) or learning.lr_schedule_name != "ReduceLROnPlateau"


LEAST = {
    0: (
        "learning_step",
        "learning_parameters.weight_noise_amplitude",
        "learning_parameters.loss_coeffs_mse",
        "learning_parameters.loss_coeffs_kldiv",
        "learning_parameters.learning_rate_threshold_w",
        "learning_parameters.learning_rate_threshold_eps_xy",
        "learning_parameters.alpha_number_of_iterations",
        "augmentation.crop_width_in_pixel",
        "augmentation.jitter_brightness",
        "augmentation.jitter_contrast",
        "augmentation.jitter_saturation",
        "augmentation.jitter_hue",
        "augmentation.flip_p",
    ),
    1: (
        "batch_size",
        "number_of_spikes",
        "learning_parameters.number_of_batches_for_one_update",
        "learning_parameters.test_every_x_learning_steps",
    ),
}
POSITIVE = (
    "epsilon_0",
    "reduction_cooldown",
    "update_after_x_batch",
    "learning_parameters.eps_xy_intitial",
)
LARGEST = {"augmentation.flip_p": 1, "augmentation.jitter_hue": 0.5}
CHOICES = {
    "data_mode": ("MNIST", "MNIST_FASHION", "CIFAR10"),
    "learning_parameters.optimizer_name": ("Adam",),
    "learning_parameters.lr_schedule_name": ("ReduceLROnPlateau", "SbSLRScheduler", "None"),
}


def check_original(config: OriginalConfig, source: str) -> None:
    """Raise `UserError` for the first invalid value or list of the wrong length.

    Args:
        config: The parsed file.
        source: Name of the file; the message begins with this.
    """
    _check_lists(config.network_structure, source)
    _check_chain(config.network_structure, source)

    def demand(name: str, holds: Callable[[Any], bool], allowed: str) -> None:
        value = operator.attrgetter(name)(config)
        if not holds(value):
            raise UserError(f"{source}: {name} is {value!r}; it must be {allowed}")

    for least, names in LEAST.items():
        for name in names:
            demand(name, lambda value, least=least: value >= least, f"{least} or more")
    for name in POSITIVE:
        demand(name, lambda value: value > 0, "greater than 0")
    for name, largest in LARGEST.items():
        demand(name, lambda value, largest=largest: value <= largest, f"at most {largest}")
    for name, choices in CHOICES.items():
        demand(name, lambda value, choices=choices: value in choices, f"one of {', '.join(choices)}")


def _check_lists(network: NetworkStructure, source: str) -> None:
    layers = len(network.is_pooling_layer)
    if layers == 0:
        raise UserError(f"{source}: network_structure.is_pooling_layer is empty; give one entry per layer")
    smallest = {
        "forward_neuron_numbers": 1,
        "forward_kernel_size": 1,
        "strides": 1,
        "dilation": 1,
        "padding": 0,
    }
    for item in fields(network):
        value = getattr(network, item.name)
        if not isinstance(value, list) or (item.name == "eps_xy_mean" and not value):
            continue
        name = f"network_structure.{item.name}"
        if len(value) != layers:
            raise UserError(
                f"{source}: {name} has {len(value)} entries but is_pooling_layer has {layers}; "
                "give one per layer"
            )
        if item.name not in smallest:
            continue
        for index, pair in enumerate(value):
            if len(pair) != 2 or min(pair) < smallest[item.name]:
                raise UserError(
                    f"{source}: {name}[{index}] is {pair}; "
                    f"give two whole numbers of at least {smallest[item.name]}"
                )


def _check_chain(network: NetworkStructure, source: str) -> None:
    neurons = network.forward_neuron_numbers
    for index, (inputs, outputs) in enumerate(neurons):
        name = f"network_structure.forward_neuron_numbers[{index}]"
        if network.is_pooling_layer[index] and inputs != outputs:
            raise UserError(f"{source}: {name} is [{inputs}, {outputs}]; a pooling layer needs equal numbers")
        if index and inputs != neurons[index - 1][1]:
            raise UserError(
                f"{source}: {name} expects {inputs} inputs "
                f"but layer {index - 1} has {neurons[index - 1][1]} neurons"
            )
    if neurons[-1][1] != network.number_of_output_neurons:
        raise UserError(
            f"{source}: network_structure.number_of_output_neurons is {network.number_of_output_neurons} "
            f"but the last layer has {neurons[-1][1]} neurons"
        )
