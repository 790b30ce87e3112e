"""The slice of sbs on a GPU: five weight updates of the V2 network, forward and backward, timed after a first one.

    python -m benchmarks.programs.gpu_sbs --device cuda [--data mnist]
    python -m benchmarks.programs.gpu_sbs --device cpu --tiny

An epoch is 125 updates of 480 images with 1600 spikes per position; the preset adds up 20 batches of 24 for an
update, here 480 images are one batch, whose gradient is the same sum. Cropping the images and moving them to the
device are part of the time; the first update, which compiles the kernels, is its own figure. Before that, a
million spikes drawn by the kernels are compared with the core's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from sbs import build_network, load_dataset, preset
from sbs.data.encoding import Presentation
from sbs.data.images import Dataset, Images
from sbs.engines import kernel
from sbs.engines.agreement import count_draws
from sbs.training.learner import Learner

from benchmarks.programs.gpu_slice import print_slice

TARGET = 60_000  # images, an epoch
SIZES = {"updates": 5, "batch": 480, "spikes": 1600, "neurons": 0}
TINY = {"updates": 1, "batch": 2, "spikes": 3, "neurons": 2}


def generated(images: int, side: int = 28) -> Dataset:
    """Return images as dark as MNIST's: a fifth of the pixels is lit."""
    stream = np.random.default_rng(0)
    lit = stream.random((images, 1, side, side)) < 0.2
    pixels = np.where(lit, stream.integers(1, 256, lit.shape), 0).astype(np.uint8)
    part = Images(pixels, np.arange(images) % 10, 255.0)
    return Dataset("generated", part, part, 10, (0.1,))


def slice_(device: str = "cuda", tiny: bool = False, data: str = "") -> dict[str, Any]:
    """Time some updates of the V2 network.

    Args:
        device: PyTorch's device.
        tiny: The smallest sizes, to try the flow.
        data: A data set's name or path; empty: generated images.

    Returns:
        ``what``, ``seconds`` of the slice, ``slices`` that make an epoch, ``compile_seconds`` of the first update, and
        on a GPU what `sbs.engines.agreement.count_draws` counts.
    """
    sizes = TINY if tiny else SIZES
    batch, place = sizes["batch"], torch.device(device)
    config = preset("mnist-v2")
    layers = config.network.layers
    if sizes["neurons"]:
        layers = (*(replace(layer, neurons=sizes["neurons"]) for layer in layers[:-1]), layers[-1])
    stages = replace(config.network, layers=layers, number_of_spikes=sizes["spikes"])
    images = load_dataset(data) if data else generated(batch)
    height, width = config.augmentation.size(*images.train.images.shape[2:])
    network = build_network(stages, channels=images.train.images.shape[1], size=(height, width), classes=10)
    network.to(place)
    learner = Learner(network, stages, replace(config.learning, batch_size=batch, batches_per_update=1))
    presentation = Presentation(config.augmentation, images.mean, offset=config.data.offset)
    generator = torch.Generator().manual_seed(0)

    def update(number: int) -> float:
        began = time.perf_counter()
        chosen = np.arange(number * batch, (number + 1) * batch) % len(images.train.images)
        pixels, labels = images.train.batch(chosen)
        learner.accumulate(presentation.train(pixels, generator).to(place), labels.to(place))
        learner.step()
        if place.type != "cpu":
            torch.accelerator.synchronize(place)
        return time.perf_counter() - began

    on_gpu = kernel.on_gpu("auto", place)
    agreement = asdict(count_draws(place)) if on_gpu else None
    first = update(0)
    return {
        "package": "sbs",
        "what": f"V2 network, {sizes['updates']} updates of {batch} images, {sizes['spikes']} spikes, "
        f"forward + backward, {images.name}",
        "seconds": sum(update(number) for number in range(1, sizes["updates"] + 1)),
        "slices": TARGET / (sizes["updates"] * batch),
        "compile_seconds": first,
        "engine": "triton" if on_gpu else f"kernel {kernel.kernel_instructions()}",
        "device": device,
        "agreement": agreement,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the slice as one line of JSON."""
    print_slice(slice_, __doc__ or "", arguments, data=True)


if __name__ == "__main__":
    main()
