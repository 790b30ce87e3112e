"""Checks of a configuration's values, before anything is built or loaded."""

from reprokit import UserError

from sbs.config import LayerConfig, TrainConfig


def check(config: TrainConfig, source: str = "configuration") -> None:
    """Raise `UserError` if a value is impossible; layer shapes are checked when the network is built."""
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
