"""Why few spikes are enough for one network and not for another: accuracy against spikes, ours and the original's.

The network that was trained with 1600 spikes in 3 epochs misclassifies many images with 400, unlike the
original's weights after 200 epochs. Each variant changes one setting of the training: the number of spikes (a quarter),
the decay of epsilon_t, the smallest weight (which bounds how sparse weights become), or the forgetting of h; the longer
trainings of the plan are tested in the same way. Without any training, the study's network is tested with larger steps,
epsilon_0 times 2 and 4: a few spikes then move h as far as many otherwise do. The original's weights are read from the
user's file and never copied.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from reprokit.errors import UserError
from reprokit.plots import colour, new_figure, save_figure, style
from reprokit.run.identity import digest_file
from reprokit.run.ledger import Row
from torch import nn

from sbs.config import TrainConfig
from sbs.data.images import Dataset
from sbs.formats.weights import load_npz, load_overload
from sbs.model.networks import sbs_layers
from sbs.training.runs import InputShape, Model

PART = "spike-curve"
RECORDED = "original"  # of the claim and network of the original's weights
STEPS = (2.0, 4.0)  # factors of epsilon_0 in the test
WORDS = {
    **{f"step-{factor:g}": f"epsilon_0 times {factor:g} in the test" for factor in STEPS},
    "few-spikes": "a quarter of the spikes in training",
    "slow-decay": "epsilon_t decays as t^-1/4",
    "sparse": "smallest weight a hundredth",
    "forgetting": "forgetting 0.1",
    RECORDED: "the original's weights",
}


def variants(base: TrainConfig) -> dict[str, TrainConfig]:
    """Return the trainings with one setting changed, each with its own name."""
    network, learning = base.network, base.learning
    changed = {
        "few-spikes": replace(
            base, network=replace(network, number_of_spikes=max(1, network.number_of_spikes // 4))
        ),
        "slow-decay": replace(base, network=replace(network, exponent=network.exponent / 2)),
        "sparse": replace(base, learning=replace(learning, weight_threshold=learning.weight_threshold / 100)),
        "forgetting": replace(base, network=replace(network, forgetting_offset=0.1)),
    }
    return {name: replace(config, name=f"{base.name}-{name}") for name, config in changed.items()}


def recorded_model(config: TrainConfig, weights: Path, dataset: Dataset) -> Model:
    """Return a network with the weights of a file or folder.

    Args:
        config: Layers, dynamics and presentation.
        weights: An .npz file with ``weights_L<layer>``, or a folder with the original's ``Weight_L<layer>*.npy``.
        dataset: The images shown.

    Raises:
        UserError: The file cannot be read or does not fit the layers.
    """
    _check_there(weights)
    shape = InputShape.of(config, dataset)
    network = shape.network(config)
    if weights.is_dir():
        load_overload(network, weights)
    else:
        load_npz(network, weights)
    return Model(network, config, shape, 0)


def recorded_identity(config: TrainConfig, weights: Path, count: int) -> dict[str, Any]:
    """Return the identity of a row of recorded weights: digests of their files, the images, and the number of spikes.

    Raises:
        UserError: The file or folder does not exist, or cannot be read.
    """
    _check_there(weights)
    files = sorted(weights.glob("*.npy")) if weights.is_dir() else [weights]
    content = config.content()
    shown = {name: content[name] for name in ("network", "data", "augmentation", "seed")}
    digests = {file.name if weights.is_dir() else "weights": digest_file(file) for file in files}
    return {**shown, "weights": digests, "tested_with_spikes": count}


def _check_there(weights: Path) -> None:
    if not weights.exists():
        raise UserError(
            f"--weights {weights} does not exist; give an .npz file with weights_L0, weights_L1, ..., or a folder "
            "with the original's Weight_L*.npy"
        )


@contextmanager
def larger_steps(network: nn.Module, factor: float) -> Iterator[None]:
    """Multiply epsilon_0 of every SbS layer inside the block."""
    layers = sbs_layers(network)
    before = [layer.epsilon_0 for layer in layers]
    try:
        for layer, value in zip(layers, before, strict=True):
            layer.epsilon_0 = value * factor
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer.epsilon_0 = value


def is_variant(network: str) -> bool:
    """Whether a name belongs to a variant of a study's network, or to the original's weights."""
    return any(network.endswith(f"-{name}") for name in WORDS)


def line_of(row: Row) -> str:
    """Return the line that a row belongs to: the name of its network, or that of a longer training's claim."""
    name = row["claim"].removeprefix("sbs-").removesuffix("-spikes")
    return name if name.startswith(f"{row['network']}-") else row["network"]


@style()
def draw_curves(rows: Iterable[Row], base: str, path: Path) -> list[Path]:
    """Draw accuracy against the number of spikes, a line for each training of the study's network and each variant.

    Args:
        rows: Rows of the ledger, of one scale.
        base: Name of the study's network.
        path: The figure, without its suffix.

    Returns:
        The files written; none if fewer than two networks have several points.
    """
    if is_variant(base):
        return []
    words = {base: "as in the study"} | {f"{base}-{name}": text for name, text in WORDS.items()}
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        name = line_of(row)
        if row["network"] == base and name != base:
            words[name] = f"{row['updates']} updates, {row['loss']} loss"
        if name in words:
            lines.setdefault(name, []).append((row["number_of_spikes"], row["test_accuracy"]))
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    if len(lines) < 2:
        return []
    figure, (axes,) = new_figure(width="page", height=3.2)
    table = []
    free = ["C0", "C1", "C2", "C4", "C5", "C6", "C7"]  # of the style; C3 is the colour of the study's network
    shades = {f"{base}-{name}": shade for name, shade in zip(WORDS, free, strict=True)}
    shades |= {base: colour("sbs"), f"{base}-{RECORDED}": colour("published")}
    for name, points in sorted(lines.items()):
        counts, values = zip(*sorted(points), strict=True)
        # longer trainings have the colour of the study's network
        shade, dashes = shades.get(name, shades[base]), "-" if name in shades else "--"
        # the study's own line is wide: a setting without effect lies on it
        width = 3.5 if name == base else 1.2
        axes.plot(
            counts, values, marker="o", label=words[name], color=shade, linestyle=dashes, linewidth=width
        )
        table += [{"network": name, "spikes": count, "accuracy": value} for count, value in sorted(points)]
    ticks: Sequence[int] = sorted({line["spikes"] for line in table})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set(
        xlabel="spikes per position and layer in the test",
        ylabel="correct test images in percent",
        title=base,
    )
    axes.legend(loc="lower right")
    return save_figure(figure, path, table=table)
