"""Every option of a training run, typed, checked and printable; the defaults are the original's constants.

``profile="faithful"`` restores the original's protocol (best epoch chosen on the test set, Adam created anew
every epoch, a burn-in of 50 steps whatever the sequence's length, ragged batches of events dropped); ``"fixed"``, the
default, corrects it. The deviations are listed in the package's README.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, cast

from reprokit import UserError
from reprokit.config import content_of, nearest
from reprokit.own_code import is_import_path, source_note
from reprokit.types import TimeUnit
from tyro.conf import Suppress

from dalton.names import (
    ALIASES,
    BURN_IN,
    CONVOLUTIONS,
    LOSSES,
    METHODS,
    SETTINGS,
    EngineName,
    Loss,
    Method,
    Reader,
    Setting,
    dataset_name,
)


@dataclass(frozen=True)
class RunOptions:
    """All options of a run but the three that the original sweeps."""

    method: str = "dalton"
    """surrgd, tfr or dalton; one of the original's names, e.g. DALTON_RTRL_SCNN; or an import path
    package.module:factory of your own rule (--rule is the same option), see dalton.rules.LearningRule."""
    setting: str = "bptt"
    """bptt: whole sequence, one update per batch; online: one update per time-step; rtrl: online with
    eligibility traces."""
    profile: str = "fixed"
    """fixed, or faithful: the original's protocol, mistakes included."""
    seed: int = 0
    """Seed of weights, sample order, dropout, augmentation and windows."""

    # data
    dataset: str = "mnist"
    """mnist, fashion-mnist, cifar10, digits; n-mnist, dvs-gesture, cifar10-dvs, digits-events; the original's
    names; or a path: images or event recordings in class folders or a .zip of them, .npz of images or frames."""
    steps: int | None = None
    """Time-steps of 1 ms in training; none: the data set's own (mnist 40, fashion-mnist 50, cifar10 60, ...)."""
    test_steps: int | None = None
    """Time-steps in evaluation; none: the data set's own, or those given by --steps."""
    time_window: int = 1000
    """Length of an event frame, microseconds."""
    augment: bool = False
    """Random crops, flips and rotations of training images (the original's USE_TRANSFORMS)."""
    validation: float | None = None
    """Share of the training samples held out to choose the best epoch; none: 0.1, faithful: 0."""
    train_size: int | None = None
    """Use only this many training samples (after the validation split)."""
    test_size: int | None = None
    """Use only this many test samples."""
    subset: Path | None = None
    """JSON file whose lists train and test number the samples to use, in order; test numbers may continue those
    of the training set."""
    shuffle: bool = True
    """Draw a new order of the training samples every epoch."""
    reader: str = "reprokit"
    """reprokit, or tonic: its data sets and downloads of n-mnist, dvs-gesture, cifar10-dvs."""
    cache_dir: Path | None = None
    """Folder for prepared event recordings and decoded images; none: the data cache."""
    sensor: tuple[int, int] | None = None
    """Height and width of the sensor of own recordings; none: from the largest addresses."""
    time_unit: str = "us"
    """Unit of the times in own .npy, .npz and .csv recordings: us, ms or s."""
    denoise_us: int | None = None
    """Noise filter of event recordings: time in microseconds for which an event lets its neighbours pass; 0: no
    filter; none: 100000, but no filter for own recordings."""
    spatial_factor: float | None = None
    """Factor on x and y of events; none: 0.25 for DVS128 Gesture and CIFAR10-DVS, 1 for others."""
    allow_loss: bool = False
    """Warn if more than 5 % of own data are lost, instead of refusing."""

    # network
    arch: str = "A1"
    """A1 to A5, or an import path package.module:name of your own Architecture."""
    downsample: str = "avgpool"
    """avgpool, maxpool or stride."""
    threshold: float = 1.0
    """Firing threshold of the spiking neurons."""
    surrogate_scale: float = 5.0
    """k of the surrogate derivative 1 / (1 + k|v - threshold|)^2."""
    reset: str = "hard"
    """hard: to 0; soft: by the threshold."""
    readout_init: str = "uniform"
    """Class matrix and readouts: uniform in ±1/√n or normal with deviation 2/√n."""
    weight_scale: float = 2.0
    """Deviation of the dense layers' initial weights times √n."""
    convolution: str = "full"
    """Digits of the convolutions: full, or faster on a GPU tf32 or bf16 (sums in float32), in the torch engine."""
    init_weights: Path | None = None
    """An .npz file of initial weights by name (conv1, ..., dense1, ..., out, readout_conv1, ...)."""

    # learning
    loss: str = "mse"
    """mse, or ce (surrgd and tfr only)."""
    lr: float = 1e-3
    """Adam's learning rate; dalton online with --tau-cur of 5 ms or more needs a smaller one, 1e-4."""
    lr_decay: float = 0.5
    """Factor on the learning rate every --lr-decay-epochs epochs."""
    lr_decay_epochs: int = 30
    """Epochs between two decays; 0: never."""
    reset_optimizer_each_epoch: bool | None = None
    """Forget Adam's moments every epoch; none: only under faithful."""
    burn_in: int | None = None
    """Steps without updates and outputs, online and rtrl only; none: 50, or a quarter of a shorter sequence;
    faithful: 50."""
    transfer_masks: bool = False
    """dalton: pass dropout and clipping masks through the target recursion."""
    epochs: int = 10
    """Passes over the training samples."""
    batch_size: int = 50
    """Samples a batch."""

    # running
    engine: str = "auto"
    """native (compiled), torch, or auto."""
    device: str = "auto"
    """auto, cpu, cuda:K, or the original's GPU number K (without that GPU: the CPU, with a warning)."""
    threads: int | None = None
    """CPU threads; none: torch's own choice."""
    dtype: str = "float32"
    """Floating-point type."""
    checkpoint_epochs: int = 1
    """Checkpoint every K epochs."""
    checkpoint_batches: int = 0
    """Checkpoint every K batches too; 0: only between epochs."""
    dumps: bool = False
    """Write the original's files of predictions and class outputs every epoch (hickle layout)."""
    out: Path | None = None
    """Run directory; none: below runs/. The same command resumes it."""


CHOICES: dict[str, tuple[str, ...]] = {
    "method": METHODS,
    "setting": SETTINGS,
    "profile": ("fixed", "faithful"),
    "downsample": ("avgpool", "maxpool", "stride"),
    "reset": ("hard", "soft"),
    "readout_init": ("uniform", "normal"),
    "loss": LOSSES,
    "convolution": CONVOLUTIONS,
    "dtype": ("float32", "float64"),
    "engine": ("auto", "native", "torch"),
    "reader": ("reprokit", "tonic"),
    "time_unit": ("us", "ms", "s"),
}
LONG_TAU = 5e-3  # s, a time constant from which on dalton online needs a smaller learning rate
SAFE_RATE = 3e-4
# These decide where and how fast a run computes, not its numbers.
BY_CONTENT = ("dataset", "subset", "init_weights")  # files: their content counts, not their location
_NOT_CONTENT = (
    "out",
    "threads",
    "device",
    "checkpoint_batches",
    "checkpoint_epochs",
    "cache_dir",
    "dumps",
    "allow_loss",
)
# Options added after version 0.1 are left out of the content if they have the old meaning, so that run ids stay the
# same.
_LATER = {"reader": "reprokit", "sensor": None, "time_unit": "us", "denoise_us": None, "spatial_factor": None,
          "rule_source": None, "convolution": "full"}  # fmt: skip


@dataclass(frozen=True)
class TrainConfig(RunOptions):
    """Options of one training run; the original's method and data-set names are translated."""

    tau_cur: float | None = 1e-3
    """Time constant of the synaptic current, s; None: no filter."""
    gain: float = 2.0
    """Encoder gain alpha."""
    bias: float = 0.0
    """Encoder bias beta, the same for all pixels."""
    rule_source: Annotated[str | None, Suppress] = None
    """Import path of a rule of your own and the first 16 digits of the SHA-256 of its file."""

    def __post_init__(self) -> None:
        """Translate names and check every value and combination.

        Raises:
            UserError: Naming the option, its value and what is allowed.
        """
        _check_types(self)
        if self.method.upper() in ALIASES:
            method, setting = ALIASES[self.method.upper()]
            object.__setattr__(self, "method", method)
            # The original's name implies the setting; a different explicit one is a contradiction.
            if self.setting not in ("bptt", setting):
                raise UserError(
                    f"--method implies the setting {setting}, but --setting is {self.setting!r}; leave one out."
                )
            object.__setattr__(self, "setting", setting)
        note = source_note(self.method, "--rule", self.rule_source) if self.own_rule else None
        object.__setattr__(self, "rule_source", note)
        object.__setattr__(self, "dataset", dataset_name(self.dataset))
        object.__setattr__(self, "arch", _arch_name(self.arch))
        _check_values(self)
        _check_combinations(self)

    @property
    def faithful(self) -> bool:
        """Whether to follow the original's protocol."""
        return self.profile == "faithful"

    @property
    def method_name(self) -> Method:
        """``method`` of this package, for type checkers."""
        return cast("Method", self.method)

    @property
    def own_rule(self) -> bool:
        """Whether the method is an import path rather than the name of one of this package's methods."""
        return is_import_path(self.method)

    @property
    def setting_name(self) -> Setting:
        """``setting``, for type checkers."""
        return cast("Setting", self.setting)

    @property
    def loss_name(self) -> Loss:
        """``loss``, for type checkers."""
        return cast("Loss", self.loss)

    @property
    def engine_name(self) -> EngineName:
        """``engine``, for type checkers."""
        return cast("EngineName", self.engine)

    @property
    def reader_name(self) -> Reader:
        """``reader``, for type checkers."""
        return cast("Reader", self.reader)

    @property
    def time_unit_name(self) -> TimeUnit:
        """``time_unit``, for type checkers."""
        return cast("TimeUnit", self.time_unit)

    @property
    def online(self) -> bool:
        """True when weights are updated every time-step (settings online and rtrl)."""
        return self.setting != "bptt"

    def resolved_validation(self) -> float:
        """Share of the training samples held out (DEV-21)."""
        if self.validation is not None:
            return self.validation
        return 0.0 if self.faithful else 0.1

    def resolved_optimizer_reset(self) -> bool:
        """Whether Adam starts anew every epoch (DEV-20)."""
        chosen = self.reset_optimizer_each_epoch
        return self.faithful if chosen is None else chosen

    def resolved_burn_in(self, steps: int) -> int:
        """Burn-in for sequences of ``steps`` time-steps; 0 for bptt (DEV-22).

        Raises:
            UserError: The burn-in leaves no step to learn from.
        """
        if not self.online:
            return 0
        if self.burn_in is None:
            burn_in = BURN_IN if self.faithful else min(BURN_IN, steps // 4)
        else:
            burn_in = self.burn_in
        if burn_in >= steps:
            default = " (the original's)" if self.burn_in is None else ""
            raise UserError(
                f"--burn-in is {burn_in}{default}, but the sequences have {steps} time-steps, so nothing would be "
                f"learnt; choose a --burn-in below {steps} or more --steps."
            )
        return burn_in

    @property
    def too_fast(self) -> bool:
        """Whether dalton online loses accuracy with this learning rate (measured, see the README).

        The current filter amplifies by 1 / (1 - exp(-dt / tau)), 5 to 20 times for such a tau, and the gradient of one
        step is applied in every step.
        """
        online = (self.method, self.setting) == ("dalton", "online")
        return online and (self.tau_cur or 0) >= LONG_TAU and self.lr > SAFE_RATE

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch (from 1): decayed at the start of each epoch divisible by the interval."""
        decays = epoch // self.lr_decay_epochs if self.lr_decay_epochs else 0
        return self.lr * self.lr_decay**decays

    def content(self) -> dict[str, Any]:
        """The options that determine the run's numbers, ready for JSON; the run id is computed from them.

        Files enter by the hash of their content, so that a run can be repeated elsewhere.
        """
        given = {name: value for name, value in asdict(self).items() if name not in _NOT_CONTENT}
        kept = content_of(given, since_0_1=_LATER)
        kept["dataset"] = Path(self.dataset).name if Path(self.dataset).exists() else self.dataset
        for name in ("subset", "init_weights"):
            kept[name] = _digest(name, kept[name])
        return kept


def _arch_name(arch: str) -> str:
    """``1``, ``a1`` and ``A1`` are the same."""
    text = str(arch)
    return f"A{text}" if text.isdigit() else text.upper() if ":" not in text else text


def _digest(name: str, path: Path | None) -> str | None:
    if path is None:
        return None
    if not path.is_file():
        raise UserError(f"--{name.replace('_', '-')} {path} is not a file; give the path of an existing one.")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "True or False",
    "str": "a word",
    "Path": "a path",
}


def _check_types(config: TrainConfig) -> None:
    """Refuse values of the wrong type; NumPy's numbers become Python's."""
    for field in fields(config):
        value = getattr(config, field.name)
        kind, _, optional = str(field.type).partition(" | ")
        if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
            value = value.item()
            object.__setattr__(config, field.name, value)
        if (value is None and optional) or field.name in ("arch", "rule_source"):
            continue
        if kind.startswith("tuple"):
            given = tuple(value) if isinstance(value, tuple | list) else ()
            fine = len(given) == 2 and all(type(one) is int for one in given)
            _require(fine, field.name, value, "two positive integers, height and width")
            object.__setattr__(config, field.name, given)
            continue
        fine = {
            "int": type(value) is int,
            "float": isinstance(value, int | float) and not isinstance(value, bool),
            "bool": type(value) is bool,
            "str": isinstance(value, str) or (field.name == "dataset" and isinstance(value, Path)),
            "Path": isinstance(value, str | Path),
        }[kind]
        _require(fine, field.name, value, _WORDS[kind] + (", or None" if optional else ""))
    object.__setattr__(config, "dataset", str(config.dataset))


def _require(holds: bool, option: str, value: object, allowed: str) -> None:
    if not holds:
        raise UserError(f"--{option.replace('_', '-')} is {value!r}; it must be {allowed}.")


def _check_values(config: TrainConfig) -> None:
    for name, allowed in CHOICES.items():
        value = getattr(config, name)
        if value not in allowed and not (name == "method" and is_import_path(value)):
            names = (*allowed, *ALIASES) if name == "method" else allowed
            more = ", or an import path package.module:factory" if name == "method" else ""
            _require(False, name, value, f"one of {', '.join(names)}{more}{nearest(str(value), names)}")
    for name in ("batch_size", "checkpoint_epochs", "time_window"):
        _require(getattr(config, name) >= 1, name, getattr(config, name), "a positive integer")
    for name in ("epochs", "lr_decay_epochs", "checkpoint_batches", "burn_in", "denoise_us"):
        value = getattr(config, name)
        _require(value is None or value >= 0, name, value, "zero or a positive integer")
    for name in ("steps", "test_steps", "train_size", "test_size", "threads"):
        value = getattr(config, name)
        _require(value is None or value >= 1, name, value, "a positive integer")
    for name in ("gain", "threshold", "surrogate_scale", "weight_scale", "lr", "tau_cur"):
        value = getattr(config, name)
        also = " or None" if name == "tau_cur" else ""
        fine = value is None or (math.isfinite(value) and value > 0)
        _require(fine, name, value, f"a positive number{also}")
    factor, sensor = config.spatial_factor, config.sensor
    _require(factor is None or 0 < factor <= 1, "spatial_factor", factor, "above 0 and at most 1")
    _require(sensor is None or min(sensor) >= 1, "sensor", sensor, "two positive integers, height and width")
    _require(math.isfinite(config.bias), "bias", config.bias, "a finite number")
    _require(0 < config.lr_decay <= 1, "lr_decay", config.lr_decay, "above 0 and at most 1")
    share = config.validation
    _require(share is None or 0 <= share < 1, "validation", share, "at least 0 and below 1")
    _require(0 <= config.seed < 2**63, "seed", config.seed, "between 0 and 2**63 - 1")


def _check_combinations(config: TrainConfig) -> None:
    if config.method == "surrgd" and config.online:
        raise UserError(
            f"--setting {config.setting} is not defined for --method surrgd; choose tfr or dalton, or bptt."
        )
    if config.method == "dalton" and config.loss == "ce":
        raise UserError(
            "--loss ce is not defined for --method dalton, whose targets are real numbers; use --loss mse."
        )
    if ":" in config.arch and config.downsample != TrainConfig.downsample:
        raise UserError(
            f"--downsample is {config.downsample}, but your own Architecture decides how it pools; leave it "
            "out."
        )
    if config.burn_in is not None and not config.online:
        raise UserError(
            f"--burn-in is {config.burn_in}, which acts in online and rtrl only; leave it out, or choose a --setting."
        )
    if config.transfer_masks and config.method != "dalton" and not config.own_rule:
        raise UserError(f"--transfer-masks acts in --method dalton only; leave it out for {config.method}.")
    if config.convolution != "full":
        for option, refused in (("dtype", "float64"), ("engine", "native")):
            if getattr(config, option) == refused:
                raise UserError(
                    f"--convolution is {config.convolution}, which --{option} {refused} does not compute; leave one "
                    "of them out."
                )
    if config.lr_decay_epochs == 0 and config.lr_decay != TrainConfig.lr_decay:
        raise UserError(
            f"--lr-decay is {config.lr_decay:g}, but --lr-decay-epochs 0 never decays; leave one of them out."
        )
    if config.steps is not None:
        config.resolved_burn_in(config.steps)
    for name in ("subset", "init_weights"):
        _digest(name, getattr(config, name))
