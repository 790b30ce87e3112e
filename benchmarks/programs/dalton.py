"""Training steps of dalton: every method and setting by every engine, and plain autograd through the module.

A step is one batch of 50 images, 40 time-steps, Adam included; online and rtrl take 40 updates.
"""

from __future__ import annotations

import os
from typing import Any

import dalton
import numpy as np
import torch
from reprokit import UserError, load_images
from torch.nn import functional as F

from benchmarks.programs.torch_steps import Batches, Step, in_turn, waiting

BATCH, STEPS = 50, 40


def images() -> tuple[str, np.ndarray, np.ndarray]:
    """Return name, 1000 images, float32 in [0, 1], and labels.

    They are MNIST where a mirror or a cache has it, else the embedded digits enlarged to 28 x 28.
    """
    os.environ.setdefault("REPROKIT_OFFLINE", "1")
    name = "MNIST"
    try:
        train = load_images("mnist").train
        pixels, labels = train.images[:1000], train.labels[:1000]
    except UserError as error:
        print(f"MNIST is not available ({error}); the embedded digits stand in.")
        small, name = load_images("digits").train, "enlarged digits"
        large = np.kron(small.images[:1000], np.ones((1, 1, 3, 3), np.uint8))
        pixels, labels = np.pad(large, ((0, 0), (0, 0), (2, 2), (2, 2))), small.labels[:1000]
    return name, pixels.astype(np.float32) / pixels.max(), labels.astype(np.int64)


class Steps:
    """Training steps of one architecture; each has its own network, the same every time, and its own batches.

    Args:
        arch: Its name.
        downsample: "avgpool", "maxpool" or "stride".
        device: PyTorch's device.
        steps: Time-steps.
        batch: Images.
        data: Name, images and labels; None: those of `images`.
    """

    def __init__(
        self,
        arch: str,
        downsample: str = "avgpool",
        device: str = "cpu",
        steps: int = STEPS,
        batch: int = BATCH,
        data: tuple[str, np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.arch, self.downsample, self.device = arch, downsample, torch.device(device)
        self.steps, self.batch = steps, batch
        self.data, self.images, self.labels = images() if data is None else data

    def network(self) -> dalton.SpikingCNN:
        """Return the same network every time."""
        network = dalton.SpikingCNN(self.arch, self.images.shape[1:], seed=0, downsample=self.downsample)
        return network.to(self.device)

    def ours(self, method: Any, setting: Any, engine: Any) -> Step:
        """Return a training step of ours."""
        network, stream = self.network(), torch.Generator().manual_seed(0)
        optimizer = torch.optim.Adam(dalton.trainable(network, method).values(), lr=1e-3)
        batches = self.batches()

        def step() -> None:
            dalton.train_step(
                method, network, optimizer, *batches(), self.steps, setting, burn_in=0, generator=stream,
                engine=engine,
            )  # fmt: skip

        return waiting(step, self.device)

    def autograd(self) -> Step:
        """Return surrgd as plain autograd through the module."""
        network = self.network()
        optimizer, batches = torch.optim.Adam(network.parameters(), lr=1e-3), self.batches()

        def step() -> None:
            inputs, labels = batches()
            optimizer.zero_grad()
            outputs = network(inputs, self.steps)
            (outputs - F.one_hot(labels, 10).to(outputs.dtype)).square().mean().backward()
            optimizer.step()

        return waiting(step, self.device)

    def batches(self) -> Batches:
        """Return batches from the first image on."""
        return in_turn(self.images, self.labels, self.device, self.batch)

    def gradients(self, method: Any, setting: Any, engine: Any) -> dict[str, torch.Tensor]:
        """Return the gradients of the first batch in float64, without dropout; "autograd" is an engine too.

        In float32 a potential at the threshold may fire in one engine and not in the other, whose sums have another
        order, and the gradients of a deep network then differ by per cents; in float64 that is as good as impossible.
        """
        network = self.network().double()
        inputs, labels = self.batches()()
        if engine == "autograd":
            outputs = network(inputs.double(), self.steps, dropout_masks={})
            (outputs - F.one_hot(labels, 10).to(outputs.dtype)).square().mean().backward()
        else:
            dalton.train_step(
                method, network, None, inputs.double(), labels, self.steps, setting, burn_in=0, update=False,
                engine=engine, dropout_masks={},
            )  # fmt: skip
        return {name: p.grad for name, p in dalton.trainable(network, method).items() if p.grad is not None}

    def weights(self) -> int:
        """Return how many weights are trained."""
        return sum(weight.numel() for weight in dalton.trainable(self.network(), "surrgd").values())

    def operations(self, backward: bool = True) -> float:
        """Return the operations of all convolutions and matrices over all time-steps, 2 for a multiply-add.

        Dense ones: spikes are sparse, and a program that uses it may stay below. The backward pass needs as many for
        the gradients of the weights and, except in the lowest layer, as many for what is sent down.
        """
        network, total = self.network(), 0.0
        for number, layer in enumerate(network.layers):
            taps = float(np.prod(layer.weight_shape))
            places = 1.0
            if layer.kind == "conv":
                places = float(
                    np.prod([(n - layer.weight_shape[-1]) // layer.stride + 1 for n in layer.input_shape[1:]])
                )
            total += taps * places * (1 + (2 if number else 1) * backward)
        return 2 * self.batch * self.steps * (total + 3 * network.out.numel())
