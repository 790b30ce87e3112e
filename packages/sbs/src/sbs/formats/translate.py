"""Translate the original's configuration files into ours, and find what a user's CONFIG means.

What the "fixed" profile changes, each listed in the README:

* DEV-21: the batch size is taken as written; "faithful" rounds it down to a multiple of the thread count.
* DEV-20: every image draws its own augmentation; "faithful" draws once per batch.
* DEV-5: weights are clamped before they are normalised; "faithful" normalises first.
* DEV-23: ``learning_step`` N continues after N of ``learning_step_max`` updates, but writes into a run
  directory and never overwrites the files it started from.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np
from reprokit.errors import UserError

from sbs.config import (
    Augmentation,
    DataConfig,
    LayerConfig,
    LearningConfig,
    NetworkConfig,
    Pair,
    Profile,
    StartConfig,
    TrainConfig,
    check,
    read_toml,
    with_profile,
)
from sbs.formats.original_config import Dialect, OriginalConfig, read_original
from sbs.presets import PRESETS, preset

DATA_NAMES = {"MNIST": "mnist", "MNIST_FASHION": "fashion-mnist", "CIFAR10": "cifar10"}
CHANNELS = {"mnist": 1, "fashion-mnist": 1, "cifar10": 3}
VARIED = ("flip_p", "jitter_brightness", "jitter_contrast", "jitter_saturation", "jitter_hue")
SCHEDULE_NAMES = {"ReduceLROnPlateau": "plateau", "SbSLRScheduler": "sbs", "None": "none"}


def read_config(
    source: str, profile: Profile | None = None, dialect: Dialect | None = None, *, to_train: bool = False
) -> tuple[TrainConfig, list[str]]:
    """Return the configuration that ``source`` names, with its profile's quirks, and remarks for the user.

    Args:
        source: A preset, one of our .toml files, a run (its folder or ``config.json``), or one of the original's
            .json files.
        profile: Replaces the configuration's own; "fixed" for the original's files, which have none.
        dialect: Version of the original that wrote the .json; None: detect it.
        to_train: Refuse a file that switches learning off.

    Raises:
        UserError: There is nothing of that name, or a file cannot be read or interpreted.
    """
    path = Path(source)
    ours = path.name in ("config.json", "options.json")
    if source not in PRESETS and path.suffix == ".json" and not ours:
        original = read_original(path, dialect)
        if to_train and not original.learning_parameters.learning_active:  # DEV-26: the original did nothing
            raise UserError(f"{path}: learning_active is false; there is nothing to train, use sbs evaluate")
        return from_original(original, path.stem, profile or "fixed")
    if source in PRESETS:
        config = preset(source)
    elif ours or path.suffix == ".toml":
        config = read_toml(path)
    elif (path / "config.json").is_file():
        config = read_toml(path / "config.json")
    else:
        config = preset(source)
    if profile:
        config = dataclasses.replace(config, profile=profile)
    return with_profile(config), []


def from_original(
    original: OriginalConfig, name: str = "original", profile: Profile = "fixed"
) -> tuple[TrainConfig, list[str]]:
    """Return our configuration and remarks on anything interpreted differently from what the file may suggest.

    Args:
        original: The file's content.
        name: Label of the run.
        profile: "fixed" or "faithful".

    Raises:
        UserError: Learning is switched off, or ``learning_step`` is not below ``learning_step_max``.
    """
    notes: list[str] = []
    if original.learning_step >= original.learning_step_max:
        raise UserError(
            f"learning_step is {original.learning_step} and learning_step_max {original.learning_step_max}; "
            "nothing is left to do, raise learning_step_max"
        )
    _check_ignored(original, notes)
    source = _data_source(original, notes)
    _check_channels(original, source)
    config = TrainConfig(
        name=name,
        profile=profile,
        data=DataConfig(source, on_off=original.on_off, offset=float(np.finfo(np.float32).eps)),
        augmentation=_augmentation(original),
        network=_network(original, notes),
        learning=_learning(original),
        threads=original.threads,
        test_every=original.learning_parameters.test_every_x_learning_steps,
        test_during_learning=original.learning_parameters.test_during_learning,
        start=_start(original),
    )
    check(config, name)
    return with_profile(config), notes


def _check_ignored(original: OriginalConfig, notes: list[str]) -> None:
    """Refuse requests in a file that neither the original nor we fulfil; report those without effect.

    Raises:
        UserError: A key that would change nothing.
    """
    given, old, learning = original.given, original.dialect == "v1", original.learning_parameters
    for name in ("mean", "the_size"):
        if getattr(original.image_statistics, name):
            raise UserError(
                f"image_statistics.{name} is {getattr(original.image_statistics, name)}; it is computed from the "
                "training images, leave the list empty"
            )
    batches = learning.number_of_batches_for_one_update
    if old and batches not in (1, original.batches_per_update):
        raise UserError(
            f"learning_parameters.number_of_batches_for_one_update is {batches}, but a V1 file updates after "
            f"update_after_x_batch = {original.update_after_x_batch:g} batches; set that key instead"
        )
    if (
        not old
        and "update_after_x_batch" in given
        and math.ceil(original.update_after_x_batch) not in (1, batches)
    ):
        raise UserError(
            f"update_after_x_batch is {original.update_after_x_batch:g}, but a V1.1 file updates after "
            f"number_of_batches_for_one_update = {batches} batches; set that key instead"
        )
    if "results_path" in given:
        notes.append(f"results_path {original.results_path!r} is not used; results lie in the run directory")
    if "learning_parameters.overload_path" in given and not Path(learning.overload_path).is_dir():
        notes.append(
            f"overload_path {learning.overload_path!r} is not a folder; training starts from new weights"
        )
    varied = [
        name for name in VARIED if f"augmentation.{name}" in given and getattr(original.augmentation, name)
    ]
    if original.data_mode == "MNIST" and varied:
        notes.append(f"MNIST images are only cropped, as by the original; {', '.join(varied)} have no effect")


def _check_channels(original: OriginalConfig, source: str) -> None:
    """Raise `UserError` if the first layer's number of channels is not that of the images."""
    from sbs.data.storage import stored_channels  # loads torch

    channels = CHANNELS[source] if source in CHANNELS else stored_channels(source)
    seen = channels * (2 if original.on_off else 1)
    expected = original.network_structure.forward_neuron_numbers[0][0]
    if expected != seen:
        split = f", {seen} after the on/off split" if original.on_off else ""
        raise UserError(
            f"network_structure.forward_neuron_numbers[0] expects {expected} inputs, but images of {source} have "
            f"{channels} channel{'s' if channels > 1 else ''}{split}; give {seen}"
        )


def _data_source(original: OriginalConfig, notes: list[str]) -> str:
    from sbs.data.storage import STORAGE_NAMES  # loads torch

    folder = Path(original.data_path)
    if any((folder / name).exists() for name in STORAGE_NAMES):
        return original.data_path
    name = DATA_NAMES[original.data_mode]
    notes.append(f"data_path {original.data_path!r} holds no pattern files; the data set {name!r} is used")
    return name


def _augmentation(original: OriginalConfig) -> Augmentation:
    given = original.augmentation
    if original.data_mode == "MNIST":
        return Augmentation(crop=given.crop_width_in_pixel)
    return Augmentation(
        crop=given.crop_width_in_pixel,
        flip=given.flip_p,
        brightness=given.jitter_brightness,
        contrast=given.jitter_contrast,
        saturation=given.jitter_saturation,
        hue=given.jitter_hue,
    )


def _network(original: OriginalConfig, notes: list[str]) -> NetworkConfig:
    given, learning = original.network_structure, original.learning_parameters
    layers = []
    for index, pooling in enumerate(given.is_pooling_layer):
        if pooling and given.w_trainable[index]:
            notes.append(
                f"layer {index} is a pooling layer; its weights stay fixed although w_trainable is true"
            )
        layers.append(
            LayerConfig(
                kind="sbs-pool" if pooling else "sbs",
                neurons=given.forward_neuron_numbers[index][1],
                kernel=_pair(given.forward_kernel_size[index]),
                stride=_pair(given.strides[index]),
                dilation=_pair(given.dilation[index]),
                padding=_pair(given.padding[index]),
                learn_weights=given.w_trainable[index] and not pooling,
                learn_epsilon=given.eps_xy_trainable[index],
                average_epsilon=bool(given.eps_xy_mean) and given.eps_xy_mean[index],
            )
        )
    return NetworkConfig(
        layers=tuple(layers),
        number_of_spikes=original.number_of_spikes,
        epsilon_0=original.epsilon_0,
        epsilon_xy=learning.eps_xy_intitial,
        epsilon_t="cooldown",
        cooldown_after=original.cooldown_after_number_of_spikes,
        cooldown_reduction=original.reduction_cooldown,
        epsilon_per_kernel=original.dialect == "v1.1",
        alpha_iterations=learning.alpha_number_of_iterations,
        weight_noise=learning.weight_noise_amplitude,
        gradient=original.dialect,
    )


def _learning(original: OriginalConfig) -> LearningConfig:
    given = original.learning_parameters
    return LearningConfig(
        updates=original.learning_step_max - original.learning_step,
        batch_size=original.batch_size,
        batches_per_update=original.batches_per_update,
        loss="mixed",
        mse_weight=given.loss_coeffs_mse,
        kl_weight=given.loss_coeffs_kldiv,
        loss_form=original.dialect,
        optimizer="adam",
        weight_rate=given.learning_rate_gamma_w,
        epsilon_rate=given.learning_rate_gamma_eps_xy,
        weight_threshold=given.learning_rate_threshold_w,
        weight_threshold_per_channel=False,
        epsilon_threshold=given.learning_rate_threshold_eps_xy,
        schedule=SCHEDULE_NAMES[given.lr_schedule_name],  # type: ignore[arg-type]
        schedule_every=1,
        schedule_on_error=original.dialect == "v1.1" and given.lr_scheduler_use_performance,
        weight_factor=given.lr_scheduler_factor_w,
        weight_patience=given.lr_scheduler_patience_w,
        weight_tau=given.lr_scheduler_tau_w,
        epsilon_factor=given.lr_scheduler_factor_eps_xy,
        epsilon_patience=given.lr_scheduler_patience_eps_xy,
        epsilon_tau=given.lr_scheduler_tau_eps_xy,
    )


def _start(original: OriginalConfig) -> StartConfig:
    overload = original.learning_parameters.overload_path
    return StartConfig(
        overload=overload if Path(overload).is_dir() else "",
        step=original.learning_step,
        weight_path=original.weight_path if original.learning_step else "",
        epsilon_path=original.eps_xy_path if original.learning_step else "",
    )


def _pair(values: list[int]) -> Pair:
    first, second = values
    return first, second
