"""Everything a training run depends on, typed and checked; shared by command line, TOML file and ledger."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from reprokit.config import read_config_file, rebuild
from reprokit.errors import UserError

Profile = Literal["fixed", "faithful"]
Engine = Literal["auto", "kernel", "reference"]
RUN_OPTIONS = ("out", "engine", "device", "tensorboard")  # in options.json, in addition to the configuration
Pair = tuple[int, int]


@dataclass(frozen=True)
class LayerConfig:
    """One stage of the network.

    Attributes:
        kind: "sbs" (weights learned), "sbs-pool" (an SbS layer with the fixed pooling weights) or
            "average-pool" (torch).
        neurons: Number of neurons J; pooling stages keep the channel count and ignore it.
        kernel: Kernel height and width.
        stride: Step between positions.
        dilation: Distance between kernel elements.
        padding: Zeros added on each side.
        number_of_spikes: Spikes per position; 0: the network's number.
        learn_weights: Whether the weights are trained.
        learn_epsilon: Whether epsilon_xy is trained.
        average_epsilon: Whether epsilon_xy is replaced by its mean after every update.
    """

    kind: Literal["sbs", "sbs-pool", "average-pool"] = "sbs"
    neurons: int = 0
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Pair = (0, 0)
    number_of_spikes: int = 0
    learn_weights: bool = True
    learn_epsilon: bool = False
    average_epsilon: bool = False


@dataclass(frozen=True)
class NetworkConfig:
    """The stack of layers and the h dynamics they share.

    Attributes:
        layers: The stages, first to last.
        number_of_spikes: Spikes per position and layer.
        epsilon_0: Global factor of the update step.
        epsilon_xy: Initial update step per position.
        epsilon_t: Time course of the step: "power" = (t+1)^-exponent, "cooldown" = 1, divided by the
            reduction from spike ``cooldown_after`` on, "constant" = 1.
        exponent: Exponent of "power".
        cooldown_after: Index of the first damped spike; negative switches the cooldown off.
        cooldown_reduction: Divisor of damped spikes.
        epsilon_per_kernel: One epsilon per position and kernel element (V1.1) instead of per position.
        forgetting_offset: V2's pull towards the uniform distribution, 0 is off.
        alpha_iterations: Iterations of spatial attention, 0 is off.
        weight_noise: Initial weights are uniform in (1, 1 + weight_noise), then normalised.
        gradient: Version of the original that the backward rule follows.
    """

    layers: tuple[LayerConfig, ...] = ()
    number_of_spikes: int = 1600
    epsilon_0: float = 1.0
    epsilon_xy: float = 1.0
    epsilon_t: Literal["power", "cooldown", "constant"] = "power"
    exponent: float = 0.5
    cooldown_after: int = -1
    cooldown_reduction: float = 25.0
    epsilon_per_kernel: bool = False
    forgetting_offset: float = 0.0
    alpha_iterations: int = 0
    weight_noise: float = 0.1
    gradient: Literal["v1", "v1.1", "v2"] = "v2"


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are presented.

    Attributes:
        source: Data set name or path, see `sbs.load_dataset`.
        on_off: Split channels into on and off parts.
        offset: Added to every intensity without the split.
        limit_train: Use only this many training images, 0 for all: the first ones, or for own data the same share of
            every class.
        limit_test: The same for test images.
    """

    source: str = "digits"
    on_off: bool = False
    offset: float = 1e-20
    limit_train: int = 0
    limit_test: int = 0


@dataclass(frozen=True)
class Augmentation:
    """Variation of training images; zeros switch a part off.

    Attributes:
        crop: Pixels cut from each side: an image shrinks by ``2 * crop`` per axis. Training images are cut
            at a random place, test images in the centre.
        flip: Probability of a horizontal flip.
        brightness: Factor drawn from ``[max(0, 1 - brightness), 1 + brightness]``.
        contrast: As brightness.
        saturation: As brightness.
        hue: Rotation drawn from ``[-hue, hue]``, in full circles, at most 0.5.
        once_per_batch: Draw once per batch, as the original did, instead of once per sample.
    """

    crop: int = 2
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    once_per_batch: bool = False

    def __post_init__(self) -> None:
        if self.crop < 0:
            raise UserError(f"augmentation crop is {self.crop}; give 0 or more pixels")
        for name, largest in (
            ("flip", 1.0),
            ("brightness", None),
            ("contrast", None),
            ("saturation", None),
            ("hue", 0.5),
        ):
            value = getattr(self, name)
            if not value >= 0 or (largest is not None and value > largest):
                allowed = "0 or more" if largest is None else f"between 0 and {largest}"
                raise UserError(f"augmentation {name} is {value}; it must be {allowed}")

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width after the crop.

        Raises:
            UserError: Nothing of the image would be left.
        """
        cropped = height - 2 * self.crop, width - 2 * self.crop
        if min(cropped) < 1:
            raise UserError(
                f"a crop of {self.crop} pixels per side leaves nothing of {height}x{width} images"
            )
        return cropped


@dataclass(frozen=True)
class LearningConfig:
    """Loss, optimiser, schedule and length of training.

    Attributes:
        updates: Number of weight updates.
        batch_size: Images per forward pass.
        batches_per_update: Batches whose gradients are added up before an update.
        loss: "mixed" (squared error and Kullback-Leibler) or "cross-entropy" (soft-max over h).
        mse_weight: Weight of the squared error in the mixed loss.
        kl_weight: Weight of the divergence in the mixed loss.
        loss_form: Version of the original that the mixed loss follows.
        optimizer: "adam" (with clamping and normalisation after the step) or "multiplicative" (V2: W *= 1 +
            tanh/2).
        weight_rate: Learning rate of the weights; <= 0 means torch's 1e-3.
        epsilon_rate: Learning rate of epsilon_xy; <= 0 means torch's 1e-3.
        weight_threshold: Smallest weight after an update.
        weight_threshold_per_channel: Divide the threshold by the layer's input channels (V2).
        epsilon_threshold: Smallest epsilon after an update.
        constraint: Order after the step: "clamp-first" or the original's "norm-first".
        schedule: "plateau" (ReduceLROnPlateau), "sbs" (V1.1's low-pass schedule), "cosine" (from the given
            rate to 0 over all updates) or "none".
        schedule_every: Updates between two steps of the schedule; the mean loss since the last step is used.
        schedule_on_error: Feed the schedule with the training error in percent instead of the loss.
        weight_factor: Factor of the plateau schedule for weights.
        weight_patience: Patience for weights; <= 0 switches the schedule off.
        weight_tau: Time constant of "sbs" for weights.
        epsilon_factor: Factor of the plateau schedule for epsilon_xy.
        epsilon_patience: Patience for epsilon_xy; <= 0 switches the schedule off.
        epsilon_tau: Time constant of "sbs" for epsilon_xy.
    """

    updates: int = 375
    batch_size: int = 24
    batches_per_update: int = 20
    loss: Literal["mixed", "cross-entropy"] = "cross-entropy"
    mse_weight: float = 0.5
    kl_weight: float = 1.0
    loss_form: Literal["v1", "v1.1", "v2"] = "v2"
    optimizer: Literal["adam", "multiplicative"] = "multiplicative"
    weight_rate: float = 0.01
    epsilon_rate: float = -1.0
    weight_threshold: float = 1e-3
    weight_threshold_per_channel: bool = True
    epsilon_threshold: float = 1e-5
    constraint: Literal["clamp-first", "norm-first"] = "clamp-first"
    schedule: Literal["plateau", "sbs", "cosine", "none"] = "plateau"
    schedule_every: int = 125
    schedule_on_error: bool = False
    weight_factor: float = 0.75
    weight_patience: int = 10
    weight_tau: int = 10
    epsilon_factor: float = 0.75
    epsilon_patience: int = -1
    epsilon_tau: int = 10


@dataclass(frozen=True)
class StartConfig:
    """Initial weights; files of `overload` take precedence over those of `step`, as in the original.

    Attributes:
        overload: Folder with at most one ``Weight_L<layer>*.npy`` / ``EpsXY_L<layer>*.npy`` per layer; "" is
            none.
        step: Continue from the original's files ``..._S<step>.npy``; 0 starts fresh.
        weight_path: Folder of ``Weight_L<layer>_S<step>.npy``.
        epsilon_path: Folder of ``EpsXY_L<layer>_S<step>.npy``.
    """

    overload: str = ""
    step: int = 0
    weight_path: str = ""
    epsilon_path: str = ""


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Attributes:
        name: Label of the configuration, kept in the ledger.
        profile: "fixed" (default) or "faithful" (the original's quirks: one random draw per batch, batch
            size rounded to the thread count, normalise before clamp).
        data: Images.
        augmentation: Variation of training images.
        network: Layers and dynamics.
        learning: Loss, optimiser and schedule.
        seed: Seed of everything random.
        threads: Threads of the kernel and of torch.
        test_every: Updates between tests; 0 tests only at the end.
        test_during_learning: Whether to test before the end at all.
        checkpoint_every: Updates between checkpoints.
        start: Weights to start from.
    """

    name: str = "digits-smoke"
    profile: Profile = "fixed"
    data: DataConfig = field(default_factory=DataConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    seed: int = 0
    threads: int = 1
    test_every: int = 125
    test_during_learning: bool = True
    checkpoint_every: int = 10
    start: StartConfig = field(default_factory=StartConfig)

    def content(self) -> dict[str, Any]:
        """Return nested plain values, the form written to ``config.json`` and hashed into the run id."""
        return dataclasses.asdict(self)


def idle(config: TrainConfig) -> dict[str, str]:
    """Return the settings that have no effect because of others, by their full names, each with the reason."""
    network, learning, found = config.network, config.learning, {}

    def without(reason: str, room: str, *names: str) -> None:
        found.update({f"{room}{name}": reason for name in names})

    if not any(layer.learn_epsilon for layer in network.layers):
        why = "no layer has learn_epsilon"
        without(why, "learning.epsilon_", "rate", "threshold", "factor", "patience", "tau")
        if not (config.start.step or config.start.overload):
            without(why, "network.", "epsilon_per_kernel")
    if network.layers and all(
        layer.number_of_spikes for layer in network.layers if layer.kind != "average-pool"
    ):
        without("every layer has its own number", "network.", "number_of_spikes")
    if learning.loss == "cross-entropy":
        without("learning.loss is cross-entropy", "learning.", "mse_weight", "kl_weight", "loss_form")
    why = f"learning.schedule is {learning.schedule}"
    if learning.schedule in ("none", "cosine"):
        without(why, "learning.", "schedule_on_error", "weight_factor", "weight_patience", "weight_tau")
        without(why, "learning.epsilon_", "factor", "patience", "tau")
    if learning.schedule == "none":
        without(why, "learning.", "schedule_every")
    if learning.schedule == "plateau":
        without(why, "learning.", "weight_tau", "epsilon_tau")
    if network.epsilon_t != "power":
        without(f"network.epsilon_t is {network.epsilon_t}", "network.", "exponent")
    if network.epsilon_t == "constant":
        without("network.epsilon_t is constant", "network.", "cooldown_after", "cooldown_reduction")
    elif network.cooldown_after < 0:
        without("network.cooldown_after is negative", "network.", "cooldown_reduction")
    if config.data.on_off:
        without("data.on_off splits the images", "data.", "offset")
    if not config.test_during_learning:
        without("test_during_learning is false", "", "test_every")
    if not config.start.step:
        without("start.step is 0", "start.", "weight_path", "epsilon_path")
    return found


def with_profile(config: TrainConfig) -> TrainConfig:
    """Return the configuration with the original's quirks set if its profile is "faithful"."""
    if config.profile == "fixed":
        return config
    return dataclasses.replace(
        config,
        augmentation=dataclasses.replace(config.augmentation, once_per_batch=True),
        learning=dataclasses.replace(
            config.learning,
            constraint="norm-first",
            batch_size=rounded_batch_size(config.learning.batch_size, config.threads),
        ),
    )


def rounded_batch_size(batch_size: int, threads: int) -> int:
    """Return the original's batch size: rounded down to a multiple of ``threads``, at least ``threads``."""
    return max(batch_size // threads * threads, threads)


def check(config: TrainConfig, source: str = "configuration") -> None:
    """Raise `UserError` if a value is invalid; layer shapes are checked when the network is built."""
    learning, network = config.learning, config.network
    positive = {
        "network.number_of_spikes": network.number_of_spikes,
        "network.epsilon_0": network.epsilon_0,
        "network.epsilon_xy": network.epsilon_xy,
        "network.cooldown_reduction": network.cooldown_reduction,
        "learning.updates": learning.updates,
        "learning.batch_size": learning.batch_size,
        "learning.batches_per_update": learning.batches_per_update,
        "learning.schedule_every": learning.schedule_every,
        "threads": config.threads,
        "checkpoint_every": config.checkpoint_every,
    }
    not_negative = {
        "network.weight_noise": network.weight_noise,
        "network.alpha_iterations": network.alpha_iterations,
        "data.offset": config.data.offset,
        "data.limit_train": config.data.limit_train,
        "data.limit_test": config.data.limit_test,
        "learning.mse_weight": learning.mse_weight,
        "learning.kl_weight": learning.kl_weight,
        "learning.weight_threshold": learning.weight_threshold,
        "learning.epsilon_threshold": learning.epsilon_threshold,
        "seed": config.seed,
        "test_every": config.test_every,
        "start.step": config.start.step,
    }
    for name, value in positive.items():
        if not value > 0:
            raise UserError(f"{source}: {name} is {value}; it must be greater than 0")
    for name, value in not_negative.items():
        if not value >= 0:
            raise UserError(f"{source}: {name} is {value}; it must be 0 or more")
    if not learning.mse_weight + learning.kl_weight > 0:
        raise UserError(
            f"{source}: learning.mse_weight and learning.kl_weight are both 0; the loss would vanish"
        )
    if not network.layers:
        raise UserError(f"{source}: network.layers is empty; give at least one [[network.layers]] table")
    _check_layers(network.layers, source)


def _check_layers(layers: tuple[LayerConfig, ...], source: str) -> None:
    for index, layer in enumerate(layers):
        name = f"{source}: network.layers[{index}]"
        if layer.kind == "sbs" and layer.neurons < 1:
            raise UserError(f"{name}.neurons is {layer.neurons}; an sbs layer needs at least 1")
        if layer.number_of_spikes < 0:
            raise UserError(
                f"{name}.number_of_spikes is {layer.number_of_spikes}; give 1 or more, or 0 for the default"
            )
        for part, least in (("kernel", 1), ("stride", 1), ("dilation", 1), ("padding", 0)):
            if min(getattr(layer, part)) < least:
                raise UserError(
                    f"{name}.{part} is {getattr(layer, part)}; both numbers must be at least {least}"
                )
    if layers[-1].kind != "sbs":
        raise UserError(
            f"{source}: the last entry of network.layers is {layers[-1].kind!r}; it must be 'sbs'"
        )


def from_mapping(values: Mapping[str, Any], source: str = "configuration") -> TrainConfig:
    """Build a `TrainConfig` from nested plain values (a parsed TOML or config.json file).

    Raises:
        UserError: An unknown key, a wrong type or an invalid value, named with its full key.
    """
    config = rebuild(TrainConfig, values, source)
    check(config, source)
    return config


def read_toml(path: str | Path) -> TrainConfig:
    """Read our own configuration file; keys are the attributes of `TrainConfig` and its parts.

    Raises:
        UserError: A missing or malformed file, an unknown key or an invalid value.
    """
    config = read_config_file(TrainConfig, path, ignore=RUN_OPTIONS)
    check(config, str(path))
    return config
