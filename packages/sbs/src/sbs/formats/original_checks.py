"""What must hold between the values of one of the original's configuration files."""

import operator
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from reprokit import UserError

if TYPE_CHECKING:
    from sbs.formats.original_config import NetworkStructure, OriginalConfig


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


def check_original(config: "OriginalConfig", source: str) -> None:
    """Raise `UserError` for the first impossible value or list of the wrong length.

    Args:
        config: The parsed file.
        source: Name of the file, the beginning of the message.
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


def _check_lists(network: "NetworkStructure", source: str) -> None:
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


def _check_chain(network: "NetworkStructure", source: str) -> None:
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
