"""Ready configurations: the networks of the original program and a small one for a first look.

* mnist-v1, the original's example: SbS 2->32 5x5, pool, 32->64 5x5, pool, 64->1024 3x3, ->10; 1200 spikes.
* mnist-v2, its later settings: SbS 1->32 5x5, mean pool, 32->64 5x5, mean pool, ->96 3x3, ->10; 1600 spikes.
* cifar10-v2, the same with 3 input channels, a 4x4 third kernel and 4800 spikes.
* digits-smoke, of this package: SbS 1->16 3x3, mean pool, ->32 3x3, ->10 on 8x8 images; 200 spikes.
"""

from dataclasses import replace

from reprokit.config import nearest
from reprokit.errors import UserError

from sbs.config import (
    Augmentation,
    DataConfig,
    LayerConfig,
    LearningConfig,
    NetworkConfig,
    TrainConfig,
)


def _sbs(neurons: int, kernel: int, *, learn_epsilon: bool = False) -> LayerConfig:
    return LayerConfig("sbs", neurons, (kernel, kernel), learn_epsilon=learn_epsilon)


def mnist_v1() -> TrainConfig:
    """Return the MNIST example of the original's first version: 1000 updates of 480 images."""
    pool = LayerConfig("sbs-pool", kernel=(2, 2), stride=(2, 2), learn_weights=False, learn_epsilon=True)
    network = NetworkConfig(
        layers=(
            _sbs(32, 5, learn_epsilon=True),
            pool,
            _sbs(64, 5, learn_epsilon=True),
            pool,
            _sbs(1024, 3, learn_epsilon=True),
            _sbs(10, 1, learn_epsilon=True),
        ),
        number_of_spikes=1200,
        epsilon_xy=0.1,
        epsilon_t="cooldown",
        cooldown_after=1000,
        weight_noise=0.01,
        gradient="v1",
    )
    learning = LearningConfig(
        updates=1000,
        batch_size=480,
        batches_per_update=1,
        loss="mixed",
        loss_form="v1",
        optimizer="adam",
        weight_rate=0.025,
        epsilon_rate=2.5e-5,
        weight_threshold=1e-4,
        weight_threshold_per_channel=False,
        schedule_every=1,
        epsilon_patience=10,
    )
    return TrainConfig(
        name="mnist-v1",
        data=DataConfig("mnist", on_off=True),
        network=network,
        learning=learning,
        test_every=50,
    )


def mnist_v2() -> TrainConfig:
    """Return the MNIST network of the original's second version, trained for 3 epochs (375 updates of 480).

    The original's rate was 0.01 for 200 epochs; for a short training it starts at 0.03 and falls to 0 (DEV-25).
    """
    pool = LayerConfig("average-pool", kernel=(2, 2), stride=(2, 2), learn_weights=False)
    network = NetworkConfig(layers=(_sbs(32, 5), pool, _sbs(64, 5), pool, _sbs(96, 3), _sbs(10, 1)))
    learning = LearningConfig(
        updates=375, loss="mixed", weight_rate=0.03, schedule="cosine", schedule_every=1
    )
    return TrainConfig(name="mnist-v2", data=DataConfig("mnist"), network=network, learning=learning)


def cifar10_v2() -> TrainConfig:
    """Return the CIFAR-10 network of the original's second version."""
    base = mnist_v2()
    layers = list(base.network.layers)
    layers[4] = _sbs(96, 4)
    network = replace(base.network, layers=tuple(layers), number_of_spikes=4800)
    jitter = Augmentation(flip=0.5, brightness=0.5, contrast=0.1, saturation=0.1, hue=0.15)
    return replace(
        base,
        name="cifar10-v2",
        data=DataConfig("cifar10"),
        network=network,
        augmentation=jitter,
        learning=replace(
            base.learning, updates=10400, weight_rate=0.01, schedule="plateau", schedule_every=104
        ),
        test_every=104,
    )


def digits_smoke() -> TrainConfig:
    """Return a network for scikit-learn's 8x8 digits that trains in seconds."""
    pool = LayerConfig("average-pool", kernel=(2, 2), stride=(2, 2), learn_weights=False)
    network = NetworkConfig(layers=(_sbs(16, 3), pool, _sbs(32, 3), _sbs(10, 1)), number_of_spikes=200)
    learning = LearningConfig(
        updates=120, batch_size=64, batches_per_update=1, loss="mixed", schedule_every=20, weight_rate=0.06
    )
    return TrainConfig(
        name="digits-smoke",
        augmentation=Augmentation(crop=0),
        network=network,
        learning=learning,
        test_every=50,
    )


PRESETS = {
    "digits-smoke": digits_smoke,
    "mnist-v1": mnist_v1,
    "mnist-v2": mnist_v2,
    "cifar10-v2": cifar10_v2,
}


def preset(name: str) -> TrainConfig:
    """Return the preset called ``name``.

    Raises:
        UserError: There is no preset of that name.
    """
    if name not in PRESETS:
        raise UserError(
            f"no preset, run, .json or .toml file called {name!r}{nearest(name, PRESETS)}; "
            f"presets are {', '.join(PRESETS)}"
        )
    return PRESETS[name]()
