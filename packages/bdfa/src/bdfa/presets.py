"""Named configurations: the paper's table, the original README's examples, the three-epoch study."""

from __future__ import annotations

from reprokit import UserError
from reprokit.config import nearest

from bdfa.config import TrainConfig

PAPER_DEPTHS, PAPER_WIDTHS = (1, 2, 3), (400, 800)


def _paper(depth: int, width: int) -> TrainConfig:
    """Luo, Fu & Glass v4, table 1: tanh, constant rate 1e-4, 300 epochs, batch 128, 50,000 training images.

    The optimiser is not stated; plain SGD is the original program's default and fits the speed of its curves.
    """
    return TrainConfig(
        hidden=(width,) * depth, optim="sgd", lr=1e-4, batch_size=128, epochs=300, train_size=50_000
    )


PRESETS: dict[str, TrainConfig] = {
    **{
        f"paper-mnist-{depth}x{width}": _paper(depth, width)
        for depth in PAPER_DEPTHS
        for width in PAPER_WIDTHS
    },
    "study-mnist-2x800": TrainConfig(epochs=3),
    "readme-mnist": TrainConfig(rule="dfa", profile="faithful"),
    "readme-mnist-adversarial": TrainConfig(rule="dfa", profile="faithful", adv_eps=0.08),
    "readme-cifar10-conv": TrainConfig(
        rule="dfa", profile="faithful", model="conv", dataset="cifar10", lr=5e-5, whiten="zca"
    ),
    "readme-cifar100-conv": TrainConfig(
        rule="dfa", profile="faithful", model="conv", dataset="cifar100", lr=2.5e-5, whiten="zca"
    ),
    "smoke": TrainConfig(dataset="digits", hidden=(64, 64), lr=1e-3, batch_size=32, epochs=5),
}


def preset(name: str) -> TrainConfig:
    """Look up a preset.

    Raises:
        UserError: When there is no preset of that name.
    """
    if name not in PRESETS:
        raise UserError(
            f"preset {name!r} is unknown{nearest(name, PRESETS)}; choose one of {', '.join(PRESETS)}."
        )
    return PRESETS[name]
