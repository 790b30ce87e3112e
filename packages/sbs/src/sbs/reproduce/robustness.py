"""How well an SbS network and a plain one of the same size tolerate noise on images and weights, and lost spikes.

The plain network has the same kernels and numbers of neurons, so the same number of weights, and no biases:
convolution, max(x, 0), average pooling. It is trained on as many images, by Adam and the cross-entropy.

| kind | SbS | plain network |
| --- | --- | --- |
| input | N(0, level) is added to each pixel in 0..1, the sum clipped to 0..1 | the same images |
| weights | w max(1 + level N(0, 1), 0), columns normalised again | w (1 + level N(0, 1)) |
| lost | (1 - level) of the spikes per position and layer | each input of a layer is 0 with probability level |

Without biases, a factor on all values does not change the class, so the remaining inputs need no scaling.
"""

import copy
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reprokit.files import write_file
from reprokit.files.reading import guarded
from reprokit.plots import colour, new_figure, save_figure, style
from reprokit.run.ledger import Row
from torch import Tensor, nn

from sbs.config import TrainConfig
from sbs.data.images import Dataset, Images
from sbs.model.networks import sbs_layers
from sbs.streams import AUGMENTATION, WEIGHTS, SampleOrder, derived_seed, torch_generator
from sbs.training.evaluation import Evaluation, evaluate
from sbs.training.runs import InputShape, Model

ROBUSTNESS = "sbs-robustness"  # the claim of its rows
LEVELS = {
    "input": (0.0, 0.1, 0.2, 0.3, 0.5),
    "weights": (0.0, 0.1, 0.2, 0.4, 0.8),
    "lost": (0.0, 0.25, 0.5, 0.75, 0.9),
}
NETWORKS = ("sbs", "plain")
TEST_IMAGES = 2000  # the first ones
BATCH, RATE = 120, 1e-3  # of the plain network's training
_AXES = {
    "input": "deviation of the noise on pixels",
    "weights": "relative deviation of the weights",
    "lost": "share of spikes or values lost",
}


def identity(config: TrainConfig, network: str, kind: str, level: float) -> dict[str, Any]:
    """Return the identity of a row: the training, which of the two networks, and what is done to it."""
    about = {"robustness": kind, "level": level, "of": network, "first_test_images": TEST_IMAGES}
    return {**config.content(), **about}


def plain_network(config: TrainConfig, shape: InputShape) -> nn.Sequential:
    """Return the plain network of an SbS network's size.

    It maps ``(sample, channel, height, width)`` to ``(sample, class, 1, 1)``.

    Args:
        config: The SbS network; its fixed pooling layers become average pooling.
        shape: The input.
    """
    stages: list[nn.Module] = []
    channels = shape.channels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, WEIGHTS))
        for layer in config.network.layers:
            if layer.kind != "sbs":
                stages.append(nn.AvgPool2d(layer.kernel, layer.stride, layer.padding))
                continue
            stages.append(
                nn.Conv2d(
                    channels,
                    layer.neurons,
                    layer.kernel,
                    layer.stride,
                    layer.padding,
                    layer.dilation,
                    bias=False,
                )
            )
            stages.append(nn.ReLU())
            channels = layer.neurons
    return nn.Sequential(*stages[:-1])


def train_plain(config: TrainConfig, dataset: Dataset, file: Path) -> nn.Sequential:
    """Train the plain network on as many images as the SbS network sees; an existing one is only read.

    Args:
        config: The SbS network and its training.
        dataset: The images.
        file: The file of its weights, .npz.

    Raises:
        UserError: The file is damaged, or of another network.
    """
    shape = InputShape.of(config, dataset)
    network, presentation = plain_network(config, shape), shape.presentation(config)
    weights = [(f"weights_{k}", value) for k, value in enumerate(network.parameters())]
    if file.exists():
        with (
            guarded(file, "weights of a plain network", "delete it, and the network is trained again"),
            np.load(file) as found,
        ):
            for name, value in weights:
                value.data.copy_(torch.from_numpy(found[name]))
        return network
    learning = config.learning
    images = learning.updates * learning.batch_size * learning.batches_per_update
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    order = SampleOrder(len(dataset.train), config.seed)
    for number in range(max(1, images // BATCH)):
        shown, labels = dataset.train.batch(order.batch(number, min(BATCH, len(dataset.train))))
        inputs = presentation.train(shown, torch_generator(config.seed, AUGMENTATION, number))
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(inputs).flatten(1), labels).backward()
        optimiser.step()
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value.detach().numpy() for name, value in weights})  # type: ignore[arg-type]
    write_file(file, buffer.getvalue())
    return network


def measure(
    model: Model, plain: nn.Sequential, images: Images, network: str, kind: str, level: float
) -> Evaluation:
    """Classify images with one of the two networks after something was done to it or to them.

    Args:
        model: The SbS network.
        plain: The plain one.
        images: The images.
        network: ``sbs`` or ``plain``.
        kind: ``input``, ``weights`` or ``lost``.
        level: The amount.
    """
    seed, subject = model.config.seed, model.network if network == "sbs" else plain
    spikes: int | None = None
    if kind == "input":
        images = _noisy(images, level, seed)
    elif kind == "weights":
        subject = _changed(subject, level, seed)
    elif network == "sbs":
        spikes = max(1, round((1 - level) * model.config.network.number_of_spikes))
    else:
        subject = _losing(subject, level)
    return evaluate(subject, model.presentation, images, seed=seed, number_of_spikes=spikes)


def _noisy(images: Images, level: float, seed: int) -> Images:
    shown = images.images.astype(np.float32) / np.float32(images.largest)
    noise = np.random.default_rng([seed, 0]).standard_normal(shown.shape, np.float32)
    noisy = np.clip(shown + np.float32(level) * noise, 0, 1).astype(np.float32)
    return Images(noisy, images.labels, 1.0)


@torch.no_grad()
def _changed(network: nn.Module, level: float, seed: int) -> nn.Module:
    """Return a copy with multiplied weights; the same draws in each level."""
    changed, drawn = copy.deepcopy(network), torch.Generator().manual_seed(seed)
    for layer in sbs_layers(changed):
        if not layer.is_pooling_layer:
            layer.weights = layer.weights * (1 + level * _normal(layer.weights, drawn)).clamp(min=0)
    if not sbs_layers(changed):
        for weight in changed.parameters():
            weight.mul_(1 + level * _normal(weight, drawn))
    return changed


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator)


def _losing(network: nn.Module, level: float) -> nn.Module:
    """Return a copy whose layers receive each value with probability 1 - level, else 0."""

    def lose(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        return inputs[0] * (torch.rand_like(inputs[0]) >= level)

    changed = copy.deepcopy(network)
    for layer in changed.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_pre_hook(lose)
    return changed


def metrics(config: TrainConfig, network: str, kind: str, level: float, result: Evaluation) -> dict[str, Any]:
    """Return the study's own columns for one measurement."""
    spikes = config.network.number_of_spikes
    spikes = max(1, round((1 - level) * spikes)) if kind == "lost" else spikes
    learning = config.learning
    return {
        "network": config.name if network == "sbs" else f"{config.name}-plain",
        "profile": config.profile,
        "loss": learning.loss if network == "sbs" else "cross-entropy",
        "updates": learning.updates,
        "number_of_spikes": spikes if network == "sbs" else None,
        "test_images": result.total,
        "test_accuracy": result.accuracy,
    }


@style()
def draw_robustness(rows: Iterable[Row], path: Path) -> list[Path]:
    """Draw accuracy against the level, with a panel for each kind and a line for each of the two networks.

    Args:
        rows: Rows of the ledger; those of others are left out.
        path: The figure, without its suffix.

    Returns:
        The files; none without such rows.
    """
    lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        if row["claim"] == ROBUSTNESS:
            key = (row["config"]["robustness"], row["config"]["of"])
            lines.setdefault(key, []).append((row["config"]["level"], row["test_accuracy"]))
    if not lines:
        return []
    figure, panels = new_figure(1, len(LEVELS), width="page", height=2.3, sharey=True)
    table = []
    for panel, kind in zip(panels, LEVELS, strict=True):
        for network, shade in zip(NETWORKS, (colour("sbs"), colour("bp")), strict=True):
            points: Sequence[tuple[float, float]] = sorted(lines.get((kind, network), ()))
            panel.plot([x for x, _ in points], [y for _, y in points], "o-", color=shade, label=network)
            table += [{"kind": kind, "network": network, "level": x, "accuracy": y} for x, y in points]
        panel.set(xlabel=_AXES[kind])
    panels[0].set_ylabel("correct test images in percent")
    panels[0].legend(loc="lower left")
    return save_figure(figure, path, table=table)


def weights_in(network: nn.Module) -> int:
    """Return the number of trained weights of one of the networks."""
    layers = sbs_layers(network)
    if layers:
        return sum(layer.weights.numel() for layer in layers if not layer.is_pooling_layer)
    return sum(math.prod(value.shape) for value in network.parameters())
